//! What can go wrong and where: the words of the schedule, of `--faults` and of the table.

use std::fmt;

/// Between whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Link {
    /// The service's own process.
    Node,
    /// Client to node.
    Client,
    /// Node to provider: submits.
    Submit,
    /// Node to provider: polls, lookups, cancels.
    Ask,
    /// Node to provider: results.
    Download,
    /// What the provider itself does, on a directive in the prompt, and its own process.
    Provider,
    /// Provider to node.
    Webhook,
    /// Node to client: webhooks.
    Notify,
    /// Node to client: the stream of events.
    Stream,
    /// Node to database.
    Database,
    /// Node to storage.
    Storage,
    /// The disk under the node's data folder.
    Disk,
    /// Operator to node: what they decide about submits whose outcome is unknown.
    Operator,
}

impl Link {
    pub const ALL: [Self; 13] = [
        Self::Node,
        Self::Client,
        Self::Submit,
        Self::Ask,
        Self::Download,
        Self::Provider,
        Self::Webhook,
        Self::Notify,
        Self::Stream,
        Self::Database,
        Self::Storage,
        Self::Disk,
        Self::Operator,
    ];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Client => "client",
            Self::Submit => "submit",
            Self::Ask => "ask",
            Self::Download => "download",
            Self::Provider => "provider",
            Self::Webhook => "webhook",
            Self::Notify => "notify",
            Self::Stream => "stream",
            Self::Database => "database",
            Self::Storage => "storage",
            Self::Disk => "disk",
            Self::Operator => "operator",
        }
    }

    /// What the table calls it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Node => "the node itself",
            Self::Client => "client → node",
            Self::Submit => "node → provider, submits",
            Self::Ask => "node → provider, polls and lookups",
            Self::Download => "node → provider, results",
            Self::Provider => "the provider itself",
            Self::Webhook => "provider → node, webhooks",
            Self::Notify => "node → client, webhooks",
            Self::Stream => "node → client, events",
            Self::Database => "node → database",
            Self::Storage => "node → storage",
            Self::Disk => "node → its own disk",
            Self::Operator => "operator → node",
        }
    }
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// SIGKILL, and a new start.
    Kill,
    /// SIGSTOP, and SIGCONT after a while.
    Freeze,
    /// SIGTERM, and a new start.
    Terminate,
    /// The connection is reset; nothing reaches the other side.
    CutBefore,
    /// The other side has it and answers; the connection is reset instead.
    CutAfter,
    /// Half of the answer, then a reset.
    Half,
    /// Half of the request, then a reset on both sides.
    Partial,
    /// The answer comes late.
    Delay,
    /// The request arrives late: mostly after its sender has given it up.
    Hold,
    /// A gateway answers 502; nothing reaches the other side.
    GatewayBefore,
    /// The other side has it and answers; a gateway answers 502 instead.
    GatewayAfter,
    /// The other side has no time: 503 with `Retry-After`.
    Busy,
    /// New connections are refused for a while.
    Refuse,
    /// The message is answered 200 and thrown away.
    Lose,
    /// The message is delivered twice.
    Double,
    /// The message is delivered, and with it forged ones: another token, another body under an old signature.
    Forge,
    /// Every connection is reset.
    CutAll,
    /// Nothing passes for a while.
    Stall,
    /// The server is stopped and started.
    Restart,
    /// The server dies without a word and is started.
    Crash,
    /// The provider refuses a submit by its own words.
    Refusal,
    /// The provider's rate limit.
    Throttle,
    /// The provider accepts and fails.
    Failure,
    /// The provider keeps the answer to a submit to itself for a while.
    Hang,
    /// Polls answered with 500 and garbage.
    BrokenPoll,
    /// The first download is cut short.
    Truncate,
    /// Nothing more can be written for a while.
    Full,
    /// An operator names the provider's own id.
    Adopt,
    /// An operator names an id that the provider does not know, or that is another attempt's.
    Misname,
    /// An operator declares lost what the provider never had.
    Forsake,
}

impl Fault {
    pub const ALL: [Self; 30] = [
        Self::Kill,
        Self::Freeze,
        Self::Terminate,
        Self::CutBefore,
        Self::CutAfter,
        Self::Half,
        Self::Partial,
        Self::Delay,
        Self::Hold,
        Self::GatewayBefore,
        Self::GatewayAfter,
        Self::Busy,
        Self::Refuse,
        Self::Lose,
        Self::Double,
        Self::Forge,
        Self::CutAll,
        Self::Stall,
        Self::Restart,
        Self::Crash,
        Self::Refusal,
        Self::Throttle,
        Self::Failure,
        Self::Hang,
        Self::BrokenPoll,
        Self::Truncate,
        Self::Full,
        Self::Adopt,
        Self::Misname,
        Self::Forsake,
    ];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Freeze => "freeze",
            Self::Terminate => "terminate",
            Self::CutBefore => "cut-before",
            Self::CutAfter => "cut-after",
            Self::Half => "half",
            Self::Partial => "partial",
            Self::Delay => "delay",
            Self::Hold => "hold",
            Self::GatewayBefore => "gateway-before",
            Self::GatewayAfter => "gateway-after",
            Self::Busy => "busy",
            Self::Refuse => "refuse",
            Self::Lose => "lose",
            Self::Double => "double",
            Self::Forge => "forge",
            Self::CutAll => "cut-all",
            Self::Stall => "stall",
            Self::Restart => "restart",
            Self::Crash => "crash",
            Self::Refusal => "refusal",
            Self::Throttle => "throttle",
            Self::Failure => "failure",
            Self::Hang => "hang",
            Self::BrokenPoll => "broken-poll",
            Self::Truncate => "truncate",
            Self::Full => "full",
            Self::Adopt => "adopt",
            Self::Misname => "misname",
            Self::Forsake => "forsake",
        }
    }

    /// What the table calls it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Kill => "kill -9 and start",
            Self::Freeze => "SIGSTOP, SIGCONT",
            Self::Terminate => "SIGTERM and start",
            Self::CutBefore => "reset before it arrived",
            Self::CutAfter => "answer dropped after it was done",
            Self::Half => "half an answer",
            Self::Partial => "half a request",
            Self::Delay => "late answer",
            Self::Hold => "late arrival",
            Self::GatewayBefore => "502 or 503, not forwarded",
            Self::GatewayAfter => "502, after it was done",
            Self::Busy => "503 with Retry-After",
            Self::Refuse => "connections refused for a while",
            Self::Lose => "lost",
            Self::Double => "doubled",
            Self::Forge => "forged ones beside it",
            Self::CutAll => "every connection reset",
            Self::Stall => "stands still for a while",
            Self::Restart => "restart",
            Self::Crash => "crash and recovery",
            Self::Refusal => "explicit refusal",
            Self::Throttle => "rate limit",
            Self::Failure => "accepted, then failed",
            Self::Hang => "submit's answer kept back",
            Self::BrokenPoll => "500 and garbage to polls",
            Self::Truncate => "download cut short",
            Self::Full => "full for a while",
            Self::Adopt => "an id adopted by hand",
            Self::Misname => "a wrong id adopted by hand",
            Self::Forsake => "declared lost by hand",
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Which faults a run may make: all, or those that `--faults` names by fault (`kill`), link (`webhook`) or both (`submit:hold`).
#[derive(Debug, Clone, Default)]
pub struct Chosen(Vec<(Option<Link>, Option<Fault>)>);

impl Chosen {
    /// # Errors
    /// The word that is neither a fault nor a link.
    pub fn parse(list: &str) -> anyhow::Result<Self> {
        let link = |word: &str| Link::ALL.into_iter().find(|link| link.word() == word);
        let fault = |word: &str| Fault::ALL.into_iter().find(|fault| fault.word() == word);
        let mut chosen = Vec::new();
        for word in list.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let pair = match word.split_once(':') {
                Some((first, second)) => (link(first), fault(second)),
                None => (link(word), fault(word)),
            };
            let understood = if word.contains(':') { pair.0.is_some() && pair.1.is_some() } else { pair != (None, None) };
            anyhow::ensure!(understood, "`{word}` is no fault, no link and no link:fault; --help lists them");
            chosen.push(pair);
        }
        Ok(Self(chosen))
    }

    pub fn allows(&self, link: Link, fault: Fault) -> bool {
        let fits = |(l, f): &(Option<Link>, Option<Fault>)| l.is_none_or(|l| l == link) && f.is_none_or(|f| f == fault);
        self.0.is_empty() || self.0.iter().any(fits)
    }
}

//! Deliberate breaks of the path, so that the proof can be shown to fail (`scripts/chaos --prove`). Debug builds only: in a release
//! build every question here is answered no at compile time, and the variable is not read.
//!
//! It must never do more than one named mistake, each of which somebody could make in a later change.

/// One mistake, chosen by `LONGTAKE_SABOTAGE=<word>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// The submit leaves before its intent is committed.
    IntentAfterSubmit,
    /// What a provider told us is acknowledged and not kept.
    EvidenceDropped,
    /// An unknown outcome is taken for one that never left, and is submitted again.
    BlindResubmit,
    /// The first lookup that finds nothing counts as proof that there is nothing.
    EarlyVerdict,
    /// The client gets its 202 while the commit is still to come.
    AnswerBeforeCommit,
    /// An idempotency key is written down in a commit of its own, behind that of the generation it stands for.
    ClaimAfterBirth,
    /// What clients are told is written with the commit behind the one it tells of.
    OutboxLate,
    /// The counts of a batch are written with the commit behind the one that changed them.
    CountsLate,
}

impl Mistake {
    /// Whether this process was started to make it.
    #[must_use]
    pub fn made(self) -> bool {
        #[cfg(debug_assertions)]
        return chosen() == Some(self);
        #[cfg(not(debug_assertions))]
        return false;
    }
}

/// These rows, or those of the commit before, where the mistake is to be late with them by one commit.
#[must_use]
pub fn late(mistake: Mistake, rows: Vec<String>) -> Vec<String> {
    #[cfg(debug_assertions)]
    if mistake.made() {
        static KEPT: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());
        return std::mem::replace(&mut *KEPT.lock().unwrap_or_else(std::sync::PoisonError::into_inner), rows);
    }
    let _ = mistake;
    rows
}

/// Names the mistake.
#[cfg(debug_assertions)]
const VARIABLE: &str = "LONGTAKE_SABOTAGE";

#[cfg(debug_assertions)]
fn chosen() -> Option<Mistake> {
    static CHOSEN: std::sync::OnceLock<Option<Mistake>> = std::sync::OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let word = std::env::var(VARIABLE).ok()?;
        let mistake = named(&word);
        tracing::error!(variable = VARIABLE, word, known = mistake.is_some(), "this process is sabotaged: never use it for work");
        mistake
    })
}

#[cfg(debug_assertions)]
fn named(word: &str) -> Option<Mistake> {
    match word {
        "intent-after-submit" => Some(Mistake::IntentAfterSubmit),
        "evidence-dropped" => Some(Mistake::EvidenceDropped),
        "blind-resubmit" => Some(Mistake::BlindResubmit),
        "early-verdict" => Some(Mistake::EarlyVerdict),
        "answer-before-commit" => Some(Mistake::AnswerBeforeCommit),
        "claim-after-birth" => Some(Mistake::ClaimAfterBirth),
        "outbox-late" => Some(Mistake::OutboxLate),
        "counts-late" => Some(Mistake::CountsLate),
        _ => None,
    }
}

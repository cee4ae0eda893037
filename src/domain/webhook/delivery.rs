//! A delivery: one event on its way to one place, and what follows from each try. Pure.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use url::Url;
use uuid::Uuid;

use super::Endpoint;
use crate::domain::{
    event::{EventId, Told},
    id::{BatchId, DeliveryId, EndpointId, GenerationId},
    time::Timestamp,
};

/// Waits after each failed try, milliseconds, unless configured otherwise: 75 hours in all, the schedule that Standard Webhooks recommends
/// ("Deliverability and reliability"). Long enough for a weekend, and for a certificate to be renewed.
pub const WAITS_MS: [u64; 9] = [5_000, 300_000, 1_800_000, 7_200_000, 18_000_000, 36_000_000, 50_400_000, 72_000_000, 86_400_000];
/// A wait varies by up to this share either way, so that what failed together does not come back together.
const JITTER: f64 = 0.1;
/// A longer `Retry-After` is not believed.
const LONGEST_ASKED: Duration = Duration::from_secs(86_400);
/// Characters of an answer or an error that are kept.
const KEPT: usize = 500;
/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// To be tried.
    Pending,
    /// Answered with 2xx.
    Delivered,
    /// Every try has failed.
    Failed,
    /// Given up: its endpoint is gone or disabled, or its URL not allowed.
    Dropped,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Delivered, Self::Failed, Self::Dropped];

    /// The word in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }

    /// The number in the store; never renumber.
    #[must_use]
    pub const fn number(self) -> i16 {
        match self {
            Self::Pending => 0,
            Self::Delivered => 10,
            Self::Failed => 11,
            Self::Dropped => 12,
        }
    }

    /// Reads the store's number.
    #[must_use]
    pub fn of_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.number() == number)
    }
}

/// One event on its way to one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Id.
    pub id: DeliveryId,
    /// What is told.
    pub told: Told,
    /// Where to.
    pub to: Destination,
    /// Bumped by every try.
    pub version: i32,
    /// State.
    pub state: DeliveryState,
    /// Tries so far.
    pub tries: u16,
    /// Not before.
    pub next_at: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// Last try.
    pub tried_at: Option<Timestamp>,
    /// End.
    pub ended_at: Option<Timestamp>,
    /// HTTP status of the last answer.
    pub status: Option<u16>,
    /// Why the last try failed, where nobody answered.
    pub error: Option<String>,
    /// The beginning of the last answer.
    pub answer: Option<String>,
}

/// Where a delivery goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// To an endpoint, as it is when it is sent.
    Endpoint(EndpointId),
    /// To a URL that was named with a generation or a batch.
    Url(String),
}

impl Delivery {
    /// A delivery that is due.
    #[must_use]
    pub fn of(told: Told, to: Destination, now: Timestamp) -> Self {
        Self {
            id: DeliveryId::fresh(),
            told,
            to,
            version: 0,
            state: DeliveryState::Pending,
            tries: 0,
            next_at: now,
            created_at: now,
            tried_at: None,
            ended_at: None,
            status: None,
            error: None,
            answer: None,
        }
    }

    /// What an endpoint is sent to try it. It is made once and tried once.
    #[must_use]
    pub fn test(endpoint: &Endpoint, now: Timestamp) -> Self {
        let told = Told {
            id: EventId::START,
            project: endpoint.project,
            generation: None::<GenerationId>,
            batch: None::<BatchId>,
            kind: TEST.into(),
            at: now,
        };
        Self::of(told, Destination::Endpoint(endpoint.id), now)
    }

    /// What shares its places: deliveries to one endpoint, or of one project to one host, go out a few at a time.
    #[must_use]
    pub fn target(&self) -> Uuid {
        match &self.to {
            Destination::Endpoint(id) => id.0,
            Destination::Url(url) => {
                let origin = Url::parse(url).map(|url| url.origin().ascii_serialization()).unwrap_or_default();
                let hash = Sha256::digest(format!("{} {origin}", self.told.project));
                let mut bytes = [0; 16];
                bytes.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
                Uuid::from_bytes(bytes)
            }
        }
    }

    /// The id of the message, the same over all tries: a receiver knows by it what it has had.
    #[must_use]
    pub fn message(&self) -> String {
        if self.told.id == EventId::START { self.id.to_string() } else { self.told.id.to_string() }
    }

    /// The same, after this came of a try. `waits_ms` are those between tries, `unit` is a draw in 0..1.
    #[must_use]
    pub fn tried(mut self, reply: &Reply, waits_ms: &[u64], unit: f64, now: Timestamp) -> Self {
        self.tries = self.tries.saturating_add(1);
        self.tried_at = Some(now);
        (self.status, self.error, self.answer) = match reply {
            Reply::Answered { status, body, .. } => (Some(*status), None, Some(cut(body)).filter(|body| !body.is_empty())),
            Reply::Unanswered(why) | Reply::Refused(why) => (None, Some(cut(why)), None),
        };
        let again = if &*self.told.kind == TEST { None } else { wait(self.tries, waits_ms, reply.asked(), unit) };
        let state = match (reply, again) {
            (Reply::Refused(_), _) => DeliveryState::Dropped,
            (reply, _) if reply.success() => DeliveryState::Delivered,
            (reply, _) if reply.gone() => DeliveryState::Dropped,
            (_, Some(_)) => DeliveryState::Pending,
            (_, None) => DeliveryState::Failed,
        };
        self.end(state, now);
        self.next_at = now.plus(again.unwrap_or_default());
        self
    }

    /// The same, given up without a try.
    #[must_use]
    pub fn dropped(mut self, why: &str, now: Timestamp) -> Self {
        self.error = Some(why.to_owned());
        self.end(DeliveryState::Dropped, now);
        self
    }

    fn end(&mut self, state: DeliveryState, now: Timestamp) {
        self.state = state;
        self.ended_at = (state != DeliveryState::Pending).then_some(now);
    }
}

/// The kind of a delivery that only tries an endpoint.
pub const TEST: &str = "webhook.test";

/// What came of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// An answer.
    Answered {
        /// HTTP status; 3xx is a failure like any other that is not 2xx: nothing is followed.
        status: u16,
        /// `Retry-After`.
        asked: Option<Duration>,
        /// The beginning of its body.
        body: String,
    },
    /// None.
    Unanswered(String),
    /// The guard did not let it leave; it never will.
    Refused(String),
}

impl Reply {
    /// Whether it was taken.
    #[must_use]
    pub fn success(&self) -> bool {
        matches!(self, Self::Answered { status: 200..=299, .. })
    }

    /// Whether the receiver wants nothing more.
    #[must_use]
    pub fn gone(&self) -> bool {
        matches!(self, Self::Answered { status: 410, .. })
    }

    /// How long it wants to be left alone.
    #[must_use]
    pub fn asked(&self) -> Option<Duration> {
        match self {
            Self::Answered { asked, .. } => asked.map(|asked| asked.min(LONGEST_ASKED)),
            Self::Unanswered(_) | Self::Refused(_) => None,
        }
    }
}

/// The wait after so many tries; none when there is no further one. `unit` is a draw in 0..1.
fn wait(tries: u16, waits_ms: &[u64], asked: Option<Duration>, unit: f64) -> Option<Duration> {
    let planned = waits_ms.get(usize::from(tries.checked_sub(1)?)).map(|millis| Duration::from_millis(*millis))?;
    let varied = planned.mul_f64(JITTER.mul_add(2.0f64.mul_add(unit, -1.0), 1.0));
    Some(varied.max(asked.unwrap_or_default()))
}

fn cut(text: &str) -> String {
    text.replace('\0', "").chars().take(KEPT).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{NOW, answered, endpoint, told},
        *,
    };
    use crate::domain::id::ProjectId;

    #[test]
    fn a_delivery_is_tried_ten_times_over_three_days() {
        let endpoint = endpoint();
        let mut delivery = Delivery::of(told(endpoint.project, "generation.failed"), Destination::Endpoint(endpoint.id), NOW);
        let mut now = NOW;
        for reply in [answered(500), answered(302), Reply::Unanswered("timeout".to_owned())].iter().cycle().take(10) {
            assert_eq!(delivery.state, DeliveryState::Pending);
            now = delivery.next_at;
            delivery = delivery.tried(reply, &WAITS_MS, 0.5, now);
        }
        assert_eq!((delivery.state, delivery.tries, delivery.ended_at), (DeliveryState::Failed, 10, Some(now)));
        let hours = now.since(NOW).as_secs() / 3_600;
        assert!((74..=76).contains(&hours), "{hours} hours");
        assert_eq!(delivery.message(), "evt_00000000000000000000000000000007");
    }

    #[test]
    fn waits_vary_and_a_receiver_may_ask_for_longer_ones() {
        let spans = [0.0, 0.5, 1.0].map(|unit| wait(2, &WAITS_MS, None, unit).unwrap().as_secs());
        assert_eq!(spans, [270, 300, 330]);
        let asked = Reply::Answered { status: 503, asked: Some(Duration::from_secs(4_000)), body: String::new() };
        assert_eq!(wait(2, &WAITS_MS, asked.asked(), 0.5), Some(Duration::from_secs(4_000)));
        let absurd = Reply::Answered { status: 429, asked: Some(Duration::from_secs(1 << 40)), body: String::new() };
        assert_eq!(wait(1, &WAITS_MS, absurd.asked(), 0.5), Some(LONGEST_ASKED));
    }

    #[test]
    fn two_hundreds_deliver_gone_and_refused_end_it_and_little_of_the_answer_is_kept() {
        let delivery = || Delivery::of(told(ProjectId::fresh(), "generation.failed"), Destination::Url(String::new()), NOW);
        for (reply, state) in [
            (answered(200), DeliveryState::Delivered),
            (answered(204), DeliveryState::Delivered),
            (answered(301), DeliveryState::Pending),
            (answered(404), DeliveryState::Pending),
            (answered(410), DeliveryState::Dropped),
            (Reply::Refused("private".to_owned()), DeliveryState::Dropped),
        ] {
            assert_eq!(delivery().tried(&reply, &WAITS_MS, 0.5, NOW).state, state, "{reply:?}");
        }
        assert_eq!(delivery().tried(&answered(500), &WAITS_MS, 0.5, NOW).answer.map(|answer| answer.len()), Some(500));
        let test = Delivery::test(&endpoint(), NOW).tried(&answered(500), &WAITS_MS, 0.5, NOW);
        assert_eq!(test.state, DeliveryState::Failed, "a test is tried once");
        assert_eq!(test.message(), test.id.to_string());
    }
}

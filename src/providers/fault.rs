//! From a provider's fault to what the path does with it: the failure that is stored, and the ending that is settled.

use std::time::Duration;

use crate::{
    config::providers::RetryConfig,
    domain::{
        error::{ErrorCode, Failure, FailureDetails, LONGEST_RETRY_AFTER, provider_text},
        settle::Ending,
        time::Timestamp,
    },
    providers::adapter::{Fault, Then},
};

/// The failure as stored and shown.
#[must_use]
pub fn failure(fault: &Fault, now: Timestamp) -> Failure {
    Failure {
        code: fault.code,
        message: fault.message.clone(),
        details: Some(FailureDetails {
            http_status: fault.http_status,
            provider_code: fault.provider_code.clone(),
            provider_message: fault.provider_message.as_deref().map(provider_text),
            retry_after: asked(fault).map(|wait| now.plus(wait)),
            cause: None,
        }),
    }
}

/// The failure of a generation whose submit stayed unknown; what the attempt met goes into the details.
#[must_use]
pub fn unconfirmed(attempt: Option<&Failure>) -> Failure {
    let details = attempt.and_then(|failure| failure.details.clone()).unwrap_or_default();
    Failure {
        code: ErrorCode::SubmissionUnconfirmed,
        message: "whether the provider accepted the submit could not be found out; it is not repeated, because it may be paid"
            .to_owned(),
        details: Some(FailureDetails { cause: attempt.map(|failure| failure.code), ..details }),
    }
}

/// How an explicit refusal of a submit is settled. The configuration can only narrow what the provider's table calls unbilled and
/// worth another try.
#[must_use]
pub fn refused(fault: &Fault, retry: &RetryConfig) -> Ending {
    let asked = asked(fault);
    match fault.then {
        Then::Throttled if permitted(fault, retry) => Ending::Throttled { asked },
        Then::RetryUnbilled if permitted(fault, retry) => Ending::Unbilled { asked },
        Then::Throttled | Then::RetryUnbilled | Then::Final | Then::Unclear => Ending::Final,
    }
}

/// A call that our own side cannot make: nothing was learned from the provider.
#[must_use]
pub fn unusable(message: &str) -> Fault {
    Fault {
        code: ErrorCode::ProviderUnavailable,
        message: message.to_owned(),
        http_status: None,
        provider_code: None,
        provider_message: None,
        retry_after: None,
        then: Then::Unclear,
    }
}

fn permitted(fault: &Fault, retry: &RetryConfig) -> bool {
    let status = match (&retry.statuses, fault.http_status) {
        (Some(statuses), Some(status)) => statuses.contains(&status),
        (Some(_) | None, _) => true,
    };
    status && retry.kinds.as_ref().is_none_or(|kinds| kinds.contains(&fault.code))
}

fn asked(fault: &Fault) -> Option<Duration> {
    fault.retry_after.map(|wait| wait.min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(then: Then) -> Fault {
        Fault {
            code: ErrorCode::RateLimited,
            message: "slow down".to_owned(),
            http_status: Some(429),
            provider_code: Some("1302".to_owned()),
            provider_message: Some("x".repeat(2_000)),
            retry_after: Some(Duration::from_secs(1_000_000)),
            then,
        }
    }

    #[test]
    fn configuration_narrows_but_never_widens_what_may_be_submitted_again() {
        let asked = Some(LONGEST_RETRY_AFTER);
        let none = RetryConfig::default();
        assert_eq!(refused(&fault(Then::Throttled), &none), Ending::Throttled { asked });
        let narrowed = RetryConfig { statuses: Some(vec![503]), ..RetryConfig::default() };
        assert_eq!(refused(&fault(Then::Throttled), &narrowed), Ending::Final);
        let wide = RetryConfig { statuses: Some(vec![429]), kinds: Some(vec![ErrorCode::RateLimited]), ..RetryConfig::default() };
        assert_eq!(refused(&fault(Then::RetryUnbilled), &wide), Ending::Unbilled { asked });
        assert_eq!(refused(&fault(Then::Final), &wide), Ending::Final);
    }

    #[test]
    fn a_providers_flood_of_words_is_cut() {
        let details = failure(&fault(Then::Final), Timestamp(0)).details.unwrap();
        assert_eq!(details.provider_message.unwrap().len(), 500);
        assert_eq!(details.retry_after, Some(Timestamp(3_600_000)));
    }

    #[test]
    fn an_unconfirmed_generation_keeps_what_its_attempt_met() {
        let met = failure(&fault(Then::Unclear), Timestamp(0));
        let shown = unconfirmed(Some(&met));
        assert_eq!(shown.code, ErrorCode::SubmissionUnconfirmed);
        assert_eq!(shown.details.unwrap().cause, Some(ErrorCode::RateLimited));
    }
}

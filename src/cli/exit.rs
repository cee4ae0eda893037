//! Exit codes, the same for every command that speaks to a service, so that scripts can go by them.

use std::process::ExitCode;

use crate::client::Failure;

/// Used wrongly, or refused for what was asked.
const USAGE: u8 = 1;
/// Some of what was waited for did not succeed.
const SOME_FAILED: u8 = 2;
/// Nothing of it succeeded.
const ALL_FAILED: u8 = 3;
/// The key is missing, unknown, or may not do this.
const AUTHENTICATION: u8 = 4;
/// The service did not answer, or could not do it, for as long as it was tried.
const UNREACHABLE: u8 = 5;
/// It was not over in the time that was given (as timeout(1) has it).
const TIMED_OUT: u8 = 124;
/// Ctrl-C (128 + SIGINT, as shells have it); what was submitted goes on.
const DETACHED: u8 = 130;

/// The code for what went wrong.
#[must_use]
pub fn of_error(error: &anyhow::Error) -> ExitCode {
    let code = match error.downcast_ref::<Failure>() {
        Some(Failure::NoKey) => AUTHENTICATION,
        Some(Failure::Refused(refusal)) if matches!(refusal.status, 401 | 403) => AUTHENTICATION,
        Some(failure) if failure.passes() => UNREACHABLE,
        Some(_) | None => USAGE,
    };
    ExitCode::from(code)
}

/// The code for what clap says: help and version are no mistakes.
#[must_use]
pub fn of_usage(error: &clap::Error) -> ExitCode {
    if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
}

/// The code when so many of all succeeded.
#[must_use]
pub fn of_outcomes(succeeded: u64, all: u64) -> ExitCode {
    match succeeded {
        _ if succeeded == all => ExitCode::SUCCESS,
        0 => ExitCode::from(ALL_FAILED),
        _ => some_failed(),
    }
}

/// The code when not all of it came to a good end.
#[must_use]
pub fn some_failed() -> ExitCode {
    ExitCode::from(SOME_FAILED)
}

/// The code when the time that was given is over.
#[must_use]
pub fn timed_out() -> ExitCode {
    ExitCode::from(TIMED_OUT)
}

/// The code after the first Ctrl-C.
#[must_use]
pub fn detached() -> ExitCode {
    ExitCode::from(DETACHED)
}

//! Cancelling what runs: asks the provider where it can, idempotently and repeatedly. How it ended is told by the next poll, never
//! by the answer to the cancel.

use std::sync::Arc;

use crate::{
    domain::{attempt::AttemptState, record::Attempt},
    polling::poll::{Polling, Shared},
    providers::adapter::{Cancelled, Context},
    store::Loaded,
};

/// The running attempts of generations whose client wants them cancelled.
pub fn running(loaded: &[Loaded]) -> impl Iterator<Item = &Attempt> {
    loaded
        .iter()
        .filter(|loaded| loaded.generation.cancel_requested_at.is_some())
        .flat_map(|loaded| &loaded.attempts)
        .filter(|attempt| attempt.state == AttemptState::Running)
}

/// Asks for one attempt, then pulls its next poll to now. Where the provider cannot cancel, the answer says so and the paid result
/// is delivered.
pub async fn ask(polling: Polling, attempt: Attempt, shared: Arc<Shared>) {
    let Some(provider) = polling.registry.provider(&attempt.provider) else { return };
    let Some(account) = provider.account(&attempt.account) else { return };
    let handle = attempt.handle.clone().unwrap_or_default();
    let context = Context::of(&attempt, &handle);
    let Some(call) = provider.adapter.cancel(&context) else {
        let why = format!("{} cannot cancel; what is paid is delivered", attempt.provider);
        polling.live.update(attempt.generation, |view| view.why = Some(why));
        return;
    };
    match polling.executor.ask(provider, account, &attempt.endpoint, call).await {
        Ok(reply) => match provider.adapter.read_cancel(&context, &reply) {
            Cancelled::Yes | Cancelled::No => shared.plan().pull(attempt.id, polling.clock.now()),
            Cancelled::Unclear(fault) => {
                let request = polling.request_id(attempt.generation).await;
                tracing::warn!(
                    attempt.id = %attempt.id, request.id = %request, code = fault.code.as_str(),
                    "cancelling is not clear; it is asked again"
                );
            }
        },
        Err(fault) => {
            let request = polling.request_id(attempt.generation).await;
            tracing::warn!(
                attempt.id = %attempt.id, request.id = %request, code = fault.code.as_str(),
                "cancelling failed; it is asked again"
            );
        }
    }
    shared.changed.notify_one();
}

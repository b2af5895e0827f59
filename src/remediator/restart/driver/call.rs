//! The calls that stop or start a service.

use std::fs::File;
use std::sync::Arc;

use supervisor::ExecError;

use crate::control::{CallError, Service};
use crate::remediator::restart::state::{CallKind, Returned};

/// Calls the supervisor. Returns how that ended, and the error if there was one. `held` is its
/// standard input.
pub(in crate::remediator::restart) async fn call(
    service: &Service,
    kind: CallKind,
    held: Option<Arc<File>>,
) -> (Returned, Option<CallError>) {
    let called = match kind {
        CallKind::Stop => service.stop(held).await,
        CallKind::Start => service.start(held).await,
    };
    let Err(error) = called else {
        return (Returned::Ok, None);
    };
    let returned = match &error {
        CallError::AlreadyStopped => Returned::AlreadyStopped,
        error if !error.may_have_acted() => Returned::NotSpawned,
        CallError::Failed {
            error: ExecError::Timeout(_),
            ..
        } => Returned::Timeout,
        _ => Returned::Failed,
    };
    (returned, Some(error))
}

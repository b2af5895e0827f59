//! Leases: which services this process is stopping or starting now.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The services that have a lease, by name.
#[derive(Debug, Default)]
pub(super) struct Leases(Mutex<BTreeSet<String>>);

/// The right to stop or start one service; given back when dropped.
#[derive(Debug)]
pub(super) struct ServiceLease {
    leases: Arc<Leases>,
    service: String,
}

impl Leases {
    fn names(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lease of a service; `None` while another restart has it.
    pub(super) fn take(self: &Arc<Self>, service: &str) -> Option<ServiceLease> {
        let is_new = self.names().insert(service.to_owned());
        is_new.then(|| ServiceLease {
            leases: Arc::clone(self),
            service: service.to_owned(),
        })
    }

    /// The services that have a lease now.
    pub(super) fn services(&self) -> BTreeSet<String> {
        self.names().clone()
    }
}

impl Drop for ServiceLease {
    fn drop(&mut self) {
        self.leases.names().remove(&self.service);
    }
}

//! Leases: which services this process is stopping or starting now.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The services that have a lease.
#[derive(Debug, Default)]
pub(super) struct Leases(Mutex<Leased>);

#[derive(Debug, Default)]
struct Leased {
    /// By name.
    services: BTreeSet<String>,
    /// The configuration in force: only under it are leases given.
    configuration: u64,
}

/// The right to stop or start one service; given back when dropped.
#[derive(Debug)]
pub(super) struct ServiceLease {
    leases: Arc<Leases>,
    service: String,
}

impl Leases {
    fn leased(&self) -> MutexGuard<'_, Leased> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lease of a service under a configuration; `None` while another restart has it, and
    /// once another configuration is in force.
    pub(super) fn acquire(self: &Arc<Self>, service: &str, under: u64) -> Option<ServiceLease> {
        let mut leased = self.leased();
        let is_given = leased.configuration == under && leased.services.insert(service.to_owned());
        drop(leased);
        is_given.then(|| ServiceLease {
            leases: Arc::clone(self),
            service: service.to_owned(),
        })
    }

    /// The services that have a lease now.
    pub(super) fn services(&self) -> BTreeSet<String> {
        self.leased().services.clone()
    }

    /// From now on leases are given under this configuration only. Those that were given stay.
    ///
    /// Errors: `check` refuses it, for the services that have a lease now. Then nothing changes.
    pub(super) fn put_in_force(
        &self,
        configuration: u64,
        check: impl FnOnce(&BTreeSet<String>) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut leased = self.leased();
        check(&leased.services)?;
        leased.configuration = configuration;
        Ok(())
    }
}

impl Drop for ServiceLease {
    fn drop(&mut self) {
        self.leases.leased().services.remove(&self.service);
    }
}

#[cfg(test)]
mod tests;

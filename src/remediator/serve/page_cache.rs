//! The limit and the cached results of the pages.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use exporter_toolkit::ConcurrencyLimit;

use crate::remediator::privileges::FindingGroup;

/// Pages at the same time; more get 503.
const MAX_PAGES: usize = 4;

/// The limit and the cached results of the pages.
#[derive(Debug)]
pub(super) struct Pages {
    pub(super) limit: ConcurrencyLimit,
    pub(super) plans: Mutex<HashMap<String, (Instant, String)>>,
    /// Findings of the last permission check; `None` before the first.
    pub(super) privileges: Mutex<Option<Vec<FindingGroup>>>,
    /// Entries of `processes` without a session, as last logged.
    pub(super) unused: Mutex<Vec<String>>,
    /// A permission check is under way.
    pub(super) is_checking: AtomicBool,
}

impl Pages {
    /// Forgets the plans: another configuration may have others.
    pub(super) fn forget_plans(&self) {
        let plans = self.plans.lock();
        plans.unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Default for Pages {
    fn default() -> Self {
        Self {
            limit: ConcurrencyLimit::new(MAX_PAGES),
            plans: Mutex::default(),
            privileges: Mutex::default(),
            unused: Mutex::default(),
            is_checking: AtomicBool::default(),
        }
    }
}

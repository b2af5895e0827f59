//! The limit and the cached results of the pages.

use std::collections::HashMap;
use std::sync::Mutex;
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
    pub(super) privileges: Mutex<Vec<FindingGroup>>,
}

impl Default for Pages {
    fn default() -> Self {
        Self {
            limit: ConcurrencyLimit::new(MAX_PAGES),
            plans: Mutex::default(),
            privileges: Mutex::default(),
        }
    }
}

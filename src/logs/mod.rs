//! What the bots' logs say.
//!
//! ```text
//! globs -> tail (stat, read) -> pattern (what a line holds) -> place (whose it is)
//!       -> store (offsets and counts in one transaction) -> Published -> exporter
//! ```
//!
//! `tail` is the truth: it looks at every file at least every two seconds. `doorbell`
//! only makes it look sooner. [`lookback`] reads the end of a session's log once, for the
//! verdict on its connection. A raw line leaves this room in no form.

mod doorbell;
pub mod files;
pub mod lookback;
pub mod monitor;
pub mod pattern;
pub mod place;
mod print;
mod store;
mod tail;

use std::path::PathBuf;
use std::sync::Arc;

pub use files::LogGlob;
pub use lookback::Lookback;
pub use monitor::{Monitor, Published, SessionLog};
pub use pattern::{Pattern, PatternError, Patterns, Severity};
pub use place::Placing;

/// Where the exporter keeps offsets and counts, unless configured.
pub const DEFAULT_STATE_PATH: &str = "/var/lib/baileys_exporter";

/// What was configured about logs, checked.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Which files; none means that no log is read.
    pub globs: Vec<LogGlob>,
    /// Whether files that are there at the first start count from their beginning.
    pub from_start: bool,
    /// Directory of the offsets and counts.
    pub state_path: PathBuf,
    /// Whose a line is.
    pub placing: Placing,
    /// What to look for.
    pub patterns: Arc<Patterns>,
}

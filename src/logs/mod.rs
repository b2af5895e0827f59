//! Reads the bots' logs.
//!
//! ```text
//! log_tailer (files, offsets) -> counter (pattern: what a line holds; resolver: whose it is)
//!     -> store (offsets and counts in one transaction) -> Published -> exporter
//! resolver: log_name (what a path tells), sessions (folders of the last 30 days, declared ones),
//!     evidence (lines of the library's) -> session_mapper (the rules)
//! ```
//!
//! The crate `log_tailer` follows the files and passes on every line once. [`monitor`] runs it and
//! saves the results. [`last_event`] reads the end of a session's log, for the connection verdict.
//! No raw line leaves this module in any form.

mod counter;
mod encoding;
mod evidence;
pub mod last_event;
pub mod log_name;
pub mod monitor;
pub mod overview;
pub mod own;
pub mod pattern;
pub mod record;
mod repeats;
pub mod session_mapper;
mod session_resolver;
pub mod sessions;
mod store;

use std::path::PathBuf;
use std::sync::Arc;

pub use last_event::LastEventReader;
pub use log_tailer::LogGlob;
pub use monitor::{Monitor, Published, SessionLog};
pub use pattern::{Pattern, PatternError, Patterns, Severity};
pub use session_mapper::{SessionMapper, split_name};
pub use sessions::SessionsSeen;

/// Default directory of the exporter for offsets and counts.
pub const DEFAULT_STATE_PATH: &str = "/var/lib/baileys_exporter";

/// The configuration of the logs, checked.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// The globs; if there are none, no log is read.
    pub globs: Vec<LogGlob>,
    /// Whether files that exist at the first start are counted from their beginning.
    pub from_start: bool,
    /// Directory of the offsets and counts, and of the sightings.
    pub state_path: PathBuf,
    /// Assigns lines to sessions.
    pub mapper: SessionMapper,
    /// The patterns.
    pub patterns: Arc<Patterns>,
}

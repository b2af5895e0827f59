//! What the bots' logs say.
//!
//! ```text
//! log_tailer (files, offsets) -> counter (pattern: what a line holds; session_mapper: whose
//! it is) -> store (offsets and counts in one transaction) -> Published -> exporter
//! ```
//!
//! The crate `log_tailer` follows the files and gives every line once. [`monitor`] runs it and
//! saves. [`last_event`] reads the end of a session's log once, for the verdict on its
//! connection. No raw line leaves this module in any form.

mod counter;
mod encoding;
pub mod last_event;
pub mod monitor;
pub mod pattern;
pub mod record;
mod repeats;
pub mod session_mapper;
mod store;

use std::path::PathBuf;
use std::sync::Arc;

pub use last_event::LastEventReader;
pub use log_tailer::LogGlob;
pub use monitor::{Monitor, Published, SessionLog};
pub use pattern::{Pattern, PatternError, Patterns, Severity};
pub use session_mapper::SessionMapper;

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
    pub mapper: SessionMapper,
    /// What to look for.
    pub patterns: Arc<Patterns>,
}

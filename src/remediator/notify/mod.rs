//! `notify`: messages to a person about what happened, by a command or a webhook.
//!
//! ```text
//! journal, standings ─► reports (pure: what is new) ─► Outbox (pure: bound, rate limit, backoff) ─► Sender
//! ```
//!
//! It reads the journal like `status` does and runs beside the workers: no run waits for it.

pub mod outbox;
pub mod reports;
mod sender;

pub use outbox::Outbox;
pub use reports::Reports;
pub use sender::{SendError, Sender, Sent, title};

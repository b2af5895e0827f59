//! Pull mode: alerts are fetched from the Alertmanagers in place of being posted by them.
//!
//! ```text
//! GET /api/v2/alerts of each ─► merge (pure) ─► the same intake as the webhook's
//! ```
//!
//! An Alertmanager that does not answer is a metric and a log line, never an action.

mod answer;
mod client;
pub mod merge;
mod schedule;

pub use answer::{AlertStatus, PolledAlert};
pub use client::{Poll, PollError, Poller};

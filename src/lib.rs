//! Watches the auth folders of WhatsApp bots built on Baileys, warns before a bot is logged out
//! with `device_removed`, and cleans the folder without breaking a conversation.
//!
//! Two programs share this library. `baileys_exporter` only reads. `baileys_remediator` moves
//! the files that the guard table allows into a quarantine, and may restart bots for it.
//!
//! ```text
//! config + flags -> config::Settings -> app::App (builds the running parts)
//!
//! files -> folder::Inventory -> exporter -> metrics, page, status
//! logs  -> logs::Published   -> exporter
//!
//! alert -> remediator::webhook -> remediator::store -> remediator::serve (workers)
//!   -> remediator::runner: one run
//!        -> connection::Connection -> Verdict
//!        -> policy(Inventory, Verdict, now, Limits) -> Plan | Refusal
//!        -> remediator::quarantine: moves
//!   -> remediator::restart, if the bot must be stopped first:
//!        stop (control) -> remediator::runner, as above -> start (control)
//!   -> remediator::outcome: result -> record, metrics, exit code
//! ```
//!
//! - `folder` imports no other module. `policy` imports `folder` and the type of the verdict,
//!   and opens no file.
//! - `exporter` and `remediator` do not import each other. Both call `policy`: one counts the
//!   removable files, the other moves them.
//! - `control` maps sessions to services and calls `crates/supervisor`. It knows neither policy
//!   nor journal.
//! - `rules` prints the alerting rules for the configured thresholds.
//! - `reload` has what both programs share of a reload of the configuration.
//! - HTTP, log files, supervisors and time are in `crates/`, which know nothing about Baileys.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
// Time comes from `clock::Clock`; unit tests may read the real one.
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

pub mod app;
pub mod cli;
pub mod config;
pub mod connection;
pub mod control;
pub mod exporter;
pub mod folder;
pub mod host;
pub mod logs;
pub mod page_links;
pub mod policy;
pub mod reload;
pub mod remediator;
pub mod rules;
pub mod state_file;

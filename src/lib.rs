//! Watches the auth folders of WhatsApp bots built on Baileys, says early when one is
//! heading for `device_removed`, and cleans it up without breaking a conversation.
//!
//! Two programs share this library: `baileys_exporter`, which only reads, and
//! `baileys_remediator`, which moves what the guard table allows into a quarantine.
//! Data flows one way:
//!
//! ```text
//! files -> folder::Inventory -> exporter -> metrics, page, status
//! logs  -> logs::Published   -> exporter
//! alert -> remediator::webhook -> remediator::store
//!       -> policy(Inventory, Verdict, now, Limits) -> Plan | Refusal
//!       -> remediator::quarantine -> outcome
//! ```
//!
//! `rules` turns the thresholds into the alerting rules that Prometheus loads.
//! `control` stops and starts the bots' services; it knows neither policy nor journal.
//! `folder` imports nobody. `policy` knows `folder` and the verdict's type, opens no file
//! and is asked by both `exporter` (which counts what is removable) and `remediator`
//! (which removes it); those two never import each other. The crate `exporter-toolkit` serves
//! HTTP and knows nothing about Baileys.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
// Time comes from `clock::Clock`; unit tests may read the real one.
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

// The map of the house; each room says at its door what it holds.
pub mod app;
pub mod cli;
pub mod config;
// The modules with this attribute still read the time themselves.
#[allow(clippy::disallowed_methods)]
pub mod connection;
#[allow(clippy::disallowed_methods)]
pub mod control;
pub mod exporter;
pub mod folder;
pub mod logs;
pub mod policy;
#[allow(clippy::disallowed_methods)]
pub mod remediator;
pub mod rules;

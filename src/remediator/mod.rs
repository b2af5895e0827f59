//! The remediator: accepts alerts from Alertmanager and commands from operators, asks
//! `policy`, and moves the files that `policy` allows into a quarantine.
//!
//! | module | what it does |
//! |---|---|
//! | [`webhook`] | parses alerts and decides what they ask for |
//! | [`pull`] | polls Alertmanager for alerts |
//! | [`local`] | evaluates the tiers without alerts |
//! | [`notify`] | tells a person what has happened |
//! | [`store`] | the journal: alerts, runs, restarts |
//! | [`serve`] | `serve`: web server, workers, sweeps |
//! | [`runner`] | performs one run |
//! | [`restart`] | stops a bot for a run and starts it again |
//! | [`quarantine`] | moves files, and moves them back |
//! | [`copies`] | which folders are copies of another session's |
//! | [`insurance`] | keeps copies of each creds.json |
//! | [`outcome`] | the result of a run: label, sentence, status, exit code |
//! | [`console`], [`pause`], [`services`] | the operator's commands |
//! | [`plan_view`] | what a clean-up would do, for `plan` and the page |
//! | [`overview`] | the state for `status`, the metrics and the page |
//! | [`page`], [`metrics`] | the web pages and the metrics |
//! | [`privileges`], [`movability`] | the permission check, and the check before a stop |
//! | [`requester`] | who or what asked for a run |

pub mod console;
pub mod copies;
pub mod insurance;
pub mod local;
pub mod metrics;
pub mod movability;
pub mod notify;
pub mod outcome;
pub mod overview;
pub mod page;
pub mod pause;
pub mod plan_view;
pub mod privileges;
pub mod pull;
pub mod quarantine;
pub mod requester;
pub mod restart;
pub mod runner;
pub mod serve;
pub mod services;
pub mod store;
pub mod webhook;

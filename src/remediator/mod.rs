//! The remediator: takes Alertmanager's alerts and operators' commands, asks policy, and
//! moves what policy allows into a quarantine.
//!
//! [`webhook`] says what an alert asks for, [`store`] puts it on record, [`service`]
//! serves and works, [`runner`] performs one run, [`restart`] stops a bot for it and
//! starts it again, [`quarantine`] moves the files,
//! [`insurance`] keeps copies of each creds.json, [`console`] is the operator's side,
//! [`page`] what a browser shows, [`privileges`] what this process may do.

pub mod console;
pub mod insurance;
pub mod metrics;
pub mod movability;
pub mod outcome;
pub mod overview;
pub mod page;
pub mod privileges;
pub mod pull;
pub mod quarantine;
pub mod requester;
pub mod restart;
pub mod runner;
pub mod service;
pub mod services;
pub mod store;
pub mod switchboard;
pub mod webhook;

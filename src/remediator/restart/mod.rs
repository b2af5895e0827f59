//! The restart of a service: stop, clean up, start again, even if something fails in between.
//!
//! [`machine`] decides, as a pure function over the values in [`state`]; its table is the
//! specification. `driver` performs its effects, for `serve` and after a crash.
//! [`coordinator`] has the state that all restarts share; `run` begins a restart, and `resume`
//! resumes those that are pending. `leases` gives each service to one driver at a time.
//! `checks` holds the checks before a stop, `cleaning` the work while the service is gone,
//! [`folder_record`] the second record, in the quarantine, and [`operator`] what commands use.
//!
//! `service --stop` and `--start` are one call of the driver, under its locks, and no restart of
//! the state machine: that ends with a start, and nothing starts what a person has stopped.
//!
//! What keeps restarts apart:
//!
//! | lock | taken by | purpose |
//! |---|---|---|
//! | flock of `serve.lock` in the state directory | `serve::lock_state` | one `serve` for each state directory |
//! | flock of `owner-*.lock` there | the journal | shows whether the process of a run is alive |
//! | transaction in the journal | `queue::claim_next`, `intend_stop` | one run for each session; a stop is recorded before it happens |
//! | flock of the auth folder | `quarantine::LockedFolder` | a clean-up locks its folder; a restart locks all folders of the service, in order, from the checks until the bot is back, down, or running and not connected. So does `service --stop` or `--start`, until the process is gone or runs |
//! | lease in memory | `leases` | one restart for each service |
//! | mutex in memory | `run` | one maintenance window at a time |
//! | flock of the copies of a creds.json | `insurance` | one writer of the copies |
//! | flock of `call-*` in the state directory | `driver::call_lock` | held by the call itself: shows after a crash whether it has ended |
//! | `quarantine::Halt` | `driver` | no file moves once the start begins |
//!
//! Two remediators with state directories of their own share the flocks of the folders. The
//! records there ([`folder_record`]) also make one wait for a call that a killed one has left.

mod checks;
mod cleaning;
pub mod coordinator;
mod driver;
pub mod folder_record;
mod leases;
pub mod machine;
pub mod operator;
mod resume;
mod run;
pub mod state;

pub use checks::budget;

//! The restart of a service: stopped, cleaned, started again, whatever happens in between.
//!
//! [`machine`] decides, as a pure function over the values in [`state`]; its table is the
//! specification. `driver` performs what it asks for, for `serve` and after a crash.
//! [`coordinator`] gives each service to one driver at a time, and resumes what is pending.
//! `checks` is what is asked before a stop, `cleaning` what is done while the service is gone,
//! [`folder_record`] the second record, in the quarantine,
//! [`operator`] what commands use.

mod checks;
mod cleaning;
pub mod coordinator;
mod driver;
pub mod folder_record;
pub mod machine;
pub mod operator;
pub mod state;

pub use checks::budget;

//! The restart of a service: stopped, cleaned, started again, whatever happens in between.
//!
//! [`machine`] decides, as a pure function over the values in [`state`].

pub mod machine;
pub mod state;

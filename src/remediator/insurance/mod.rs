//! Identity insurance: copies of each session's creds.json, and how they are put back.
//!
//! [`store`] keeps the copies in the state directory. [`watch`] takes them while `serve`
//! runs. [`restore`] puts one back. [`stop`] does both around a stop by this program.
//! [`commands`] implements `creds list` and `creds restore`. `policy::insurance` decides
//! which copies stay and when one may be put back.

pub mod commands;
pub mod restore;
pub mod stop;
pub mod store;
pub mod watch;

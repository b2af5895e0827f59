//! Identity insurance: copies of each session's creds.json, and the way back.
//!
//! [`store`] keeps the copies in the state directory, [`watch`] takes them while `serve`
//! runs, [`restore`] puts one back, [`stop`] does both around a stop that this program makes,
//! [`commands`] is the operator's side. Which copies stay, and when one may be put back, is
//! decided in `policy::insurance`.

pub mod commands;
pub mod restore;
pub mod stop;
pub mod store;
pub mod watch;

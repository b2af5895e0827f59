//! Auth folders on disk: what they are, where they are, what they hold.
//!
//! Reads only; knows no policy. [`discovery`] says which directories are auth folders,
//! [`scan`] turns one into an [`Inventory`], [`kind`] and [`creds`] know the formats.

pub mod all_sessions;
pub mod bounded_blocking;
pub mod creds;
pub mod discovery;
pub mod identity;
pub mod inventory;
pub mod json;
pub mod kind;
pub mod no_links;
pub mod resolve;
pub mod scan;
pub mod session_name;
pub mod time;
pub mod unchanged;

pub use all_sessions::{AllSessions, SessionNames};
pub use bounded_blocking::BoundedBlocking;
pub use creds::{Creds, CredsFacts, LoginId, SessionTimes};
pub use discovery::{Discovery, Found, SessionsPath, Survey};
pub use inventory::{
    Entry, FileName, History, Inventory, NewestWrite, SessionActivity, Shape, Stamp, Unit,
};
pub use kind::Kind;
pub use scan::{FolderPath, ReadCache};
pub use session_name::SessionName;
pub use time::Timestamp;

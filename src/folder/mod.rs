//! Auth folders on disk: what they are, where they are, what they hold.
//!
//! Reads only; knows no policy. [`discovery`] says which directories are auth folders,
//! [`scan`] turns one into an [`Inventory`], [`kind`] and [`creds`] know the formats.

pub mod creds;
pub mod discovery;
pub mod identity;
pub mod inventory;
pub mod json;
pub mod kind;
pub mod scan;
pub mod time;

pub use creds::{Creds, CredsFacts};
pub use discovery::{Discovery, Found, SessionName, Source, Survey};
pub use inventory::{Entry, FileName, Inventory, SessionActivity, Shape, Stamp, Unit};
pub use kind::Kind;
pub use scan::{FolderPath, ReadCache};
pub use time::Timestamp;

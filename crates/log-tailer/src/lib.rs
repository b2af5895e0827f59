//! Follows rotating log files and passes on every line exactly once.
//!
//! ```text
//! paths (globs) ─► follower ─► watcher (one file, one offset) ─► Consumer::lines
//!                     │  └──► rotation (what stands beside a log)
//! notify (inotify) ─► server (wait, look, commit) ─► Sink::commit (checkpoints)
//! ```
//!
//! A file is identified by device, inode and the [`Fingerprint`] of its first bytes, not by its
//! name. Its descriptor stays open, so a renamed or deleted file is read to its end. What can
//! happen to a file between two looks, and what the [`Follower`] does:
//!
//! | seen | done |
//! |---|---|
//! | it grew | reads what is new, up to the last newline |
//! | shorter, or other bytes at the beginning or before the offset | truncated: the bytes not yet read become an *orphan*, the file is read from 0 |
//! | its name leads to another inode, or to none | reads on through the descriptor; reads the new inode from 0 |
//! | unknown files beside it, named as its rotations and written since the last look | reads copies of an orphan from its offset, others from 0 |
//! | a new file that begins with the bytes of a log and is named as its rotation | a copy in progress: waits until the log is truncated |
//! | a compressed file that begins with the bytes of a file that was not read yet | waits until that file is read |
//!
//! Two kinds of lines are lost: lines written after a copy was made and before the log was
//! truncated, and lines of files that are deleted before they are read.
//!
//! The crate stores nothing. The [`Sink`] saves the [`Changes`] of the checkpoints together with
//! its own results, in one transaction. inotify only shortens the time to the next look; without it
//! every file is read every two seconds.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![cfg_attr(test, allow(clippy::disallowed_methods))]

mod checkpoint;
mod content;
mod end;
mod file;
mod fingerprint;
mod follower;
mod lines;
mod notify;
mod paths;
mod rotation;
mod server;
mod sink;
mod table;
mod text;
mod time;
mod watcher;

pub use checkpoint::{Changes, Checkpoint, FileState, Position, Saved, Statistics};
pub use end::{EndMark, LogEnd, read_end};
pub use file::{FileId, Listed, Stat};
pub use fingerprint::Fingerprint;
pub use follower::Follower;
pub use lines::{Block, Consumer, MAX_LINE, Part};
pub use notify::Notifier;
pub use paths::LogGlob;
pub use server::Tailer;
pub use sink::{Orders, Progress, Sink};
pub use text::lowercase;

//! What a plan leaves out because it cannot be moved.

use std::collections::BTreeMap;

use crate::folder::Kind;

/// Why a file cannot be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Immovable {
    /// It is immutable or append-only (chattr +i, +a).
    Immutable,
    /// The folder is sticky, and neither it nor the file belongs to this user.
    Sticky,
    /// A file that goes with it cannot be moved: a `.bak` or `.tmp`, a sender key of the
    /// same group, or the group's memory.
    Partner,
}

impl Immovable {
    /// The word for it.
    pub const fn label(self) -> &'static str {
        match self {
            Immovable::Immutable => "immutable",
            Immovable::Sticky => "sticky",
            Immovable::Partner => "partner",
        }
    }
}

/// What a plan leaves out, and why: files by reason and kind.
pub type LeftOut = BTreeMap<(Immovable, Kind), usize>;

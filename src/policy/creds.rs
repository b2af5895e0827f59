//! Where a bot keeps its creds.

use crate::folder::{Creds, CredsFacts, Inventory};

/// Where the creds of a bot are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CredsPlace {
    /// In the folder, as creds.json.
    #[default]
    Folder,
    /// In a database, as Evolution API keeps them; the folder holds the other keys only.
    Elsewhere,
}

/// What is known of an account whose creds are elsewhere.
static NOTHING_KNOWN: CredsFacts = CredsFacts {
    own_number: None,
    own_lid: None,
    logged_in: false,
    next_pre_key_id: None,
    login: None,
};

impl CredsPlace {
    /// Whether no creds.json is missed: it is configured so, and the folder has none and never
    /// had one. A creds.json that appears or vanishes is judged as in any other folder.
    pub fn is_elsewhere(self, inventory: &Inventory) -> bool {
        self == Self::Elsewhere && !inventory.has_creds_file() && !inventory.history.had_creds
    }

    /// What the guard table knows of the account. Where the creds are elsewhere that is
    /// nothing, so that no sender key is ever moved.
    ///
    /// Errors: the creds, which say nothing usable.
    pub(super) fn facts(self, inventory: &Inventory) -> Result<&CredsFacts, &Creds> {
        match &inventory.creds {
            Creds::Valid(facts) => Ok(facts),
            _ if self.is_elsewhere(inventory) => Ok(&NOTHING_KNOWN),
            broken => Err(broken),
        }
    }
}

#[cfg(test)]
mod tests;

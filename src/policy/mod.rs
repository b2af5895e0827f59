//! What counts and what may go: pure functions from an inventory, a verdict, a clock and
//! limits to numbers, a plan or a refusal. No file is opened here.

pub mod copies;
pub mod creds;
pub mod guard;
pub mod immovable;
pub mod insurance;
pub mod ladder;
pub mod left_out;
pub mod measure;
mod minted;
pub mod stop;
pub mod tiers;

pub use copies::{LoginFolder, SameLogin, same_logins};
pub use creds::CredsPlace;
pub use guard::{
    CleanRequest, CleanupMode, Force, Limits, Move, Plan, Refusal, changes_by_time, decide,
    is_dormant, plan, possible, removable,
};
pub use immovable::without_immovable;
pub use left_out::{Immovable, LeftOut};
pub use measure::{
    Ambiguity, BatchSetting, Batches, accumulated, accumulated_files, newest_pre_key_missing,
    pre_keys,
};
pub use stop::{Breaker, RestartBudget, StopInputs, StopRefusal, Stopped, may_stop};
pub use tiers::{Thresholds, Tier};

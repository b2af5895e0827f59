use super::*;
use crate::remediator::restart::machine::{GRACE, LOCK_WITHIN};

/// Or a file system that hangs would keep a bot down.
#[test]
fn all_that_may_hang_ends_before_the_deadline_of_the_machine() {
    assert!(OPENED_WITHIN + LOCKED_WITHIN + GRACE < LOCK_WITHIN);
}

use super::*;
use crate::remediator::store::runs::{Action, Status};
use crate::remediator::store::session_status::Refused;

#[test]
fn removed_sessions_and_ended_refusals_are_left_out() {
    let at = Timestamp::from_secs;
    let status = |session: &str, last: i64| SessionStatus {
        session: session.into(),
        ended: at(last),
        action: Action::Cleanup,
        status: Status::Refused,
        reason: Some("connected".into()),
        refused: Some(Refused {
            since: at(1),
            last: at(last),
            reason: "connected".into(),
        }),
        cleaned: None,
    };
    let all = vec![
        status("a", 5_000),
        status("b", 9_000),
        status("gone", 9_000),
    ];
    let here = ["a", "b", "new"].map(|name| SessionName::from_dir(name.as_ref()));
    let shown = of_present_sessions(all.clone(), &here, at(9_000));
    let over = SessionStatus {
        refused: None,
        ..all[0].clone()
    };
    assert_eq!(shown, [over, all[1].clone()]);
}

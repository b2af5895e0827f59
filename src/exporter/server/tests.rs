use super::*;
use std::ffi::OsStr;

#[test]
fn an_old_verdict_tells_nothing() {
    let session = SessionName::from_dir(OsStr::new("a"));
    let at = Instant::now();
    let latest = HashMap::from([(session.clone(), (at, State::Connected))]);
    let after = |seconds| latest_of(&latest, &session, at + Duration::from_secs(seconds));
    assert_eq!(latest_of(&HashMap::new(), &session, at), State::Unknown);
    assert_eq!(after(300), State::Connected);
    assert_eq!(after(301), State::Unknown);
}

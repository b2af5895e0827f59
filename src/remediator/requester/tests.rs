use super::*;

#[test]
fn what_is_written_is_read_back() {
    for requester in [
        Requester::Alert("a b".into()),
        Requester::Operator("ann (uid 1000)".into()),
        Requester::Serve("before the start of bots".into()),
    ] {
        assert_eq!(Requester::parse(&requester.to_string()), requester);
    }
    assert!(!Requester::parse("alerting").is_alert());
    assert!(Requester::parse("alert f").is_alert());
}

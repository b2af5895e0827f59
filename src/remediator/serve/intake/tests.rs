use super::*;

#[test]
fn the_local_trigger_knows_no_alert() {
    for outcome in [UNKNOWN_SESSION, SUPPRESSED, "already_queued"] {
        let text = not_queued(TriggerSource::Local, outcome);
        assert!(!text.contains("alert"), "{text}");
        assert!(not_queued(TriggerSource::Alerts, outcome).contains("alert"));
    }
}

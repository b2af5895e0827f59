use super::*;
use crate::folder::Timestamp;
use crate::remediator::store::session_status::{Refused, SessionStatus};
use exporter_toolkit::exposition::{Format, encode};

#[test]
fn a_reason_is_one_of_those_that_are_documented() {
    let all: Vec<&str> = refusals().chain(RunError::FAILURES).collect();
    let docs = include_str!("../../../docs/metrics.md");
    for reason in &all {
        assert!(docs.contains(&format!("`{reason}`")), "{reason}");
    }
    let unique: std::collections::BTreeSet<&&str> = all.iter().collect();
    assert_eq!(unique.len(), all.len());
    assert_eq!(reason_of(Status::Refused, Some("connected")), "connected");
    assert_eq!(reason_of(Status::Failed, Some("down")), "down");
    for (status, reason) in [
        (Status::Refused, Some("pre-key-4917012345678.json")),
        (Status::Refused, Some("down")),
        (Status::Failed, Some("connected")),
        (Status::Failed, None),
    ] {
        assert_eq!(reason_of(status, reason), OTHER);
    }
    assert_eq!(reason_of(Status::Done, Some("connected")), "");
}

#[test]
fn a_session_has_one_latest_run_and_what_is_known_of_its_clean_up() {
    let at = Timestamp::from_secs;
    let latest = SessionStatus {
        session: "a".into(),
        ended: at(50),
        action: Action::Emergency,
        status: Status::Refused,
        reason: Some("paused".into()),
        refused: Some(Refused {
            since: at(40),
            last: at(50),
            reason: "paused".into(),
        }),
        cleaned: None,
    };
    let overview = Overview {
        session_status: vec![latest],
        ..Overview::default()
    };
    let (live, totals) = (Live::default(), CounterTotals::default());
    let process = ProcessState {
        live: &live,
        sessions: 1,
        is_journal_up: true,
        reload: ReloadState {
            successful: true,
            loaded_at: at(10),
        },
    };
    let families = metric_families(&process, Some((&totals, &overview)));
    let text = encode(families, Format::Text, false).unwrap();
    let text = String::from_utf8(text).unwrap();
    let series = |name: &str| -> Vec<&str> {
        let of_name = |line: &&str| line.starts_with(&format!("{name}{{"));
        text.lines().filter(of_name).collect()
    };
    assert_eq!(
        series("baileys_remediator_last_run_timestamp_seconds"),
        [
            r#"baileys_remediator_last_run_timestamp_seconds{session="a",action="emergency",status="refused",reason="paused"} 50"#
        ]
    );
    assert_eq!(
        series("baileys_remediator_refused_since_timestamp_seconds"),
        [r#"baileys_remediator_refused_since_timestamp_seconds{session="a",reason="paused"} 40"#]
    );
    assert!(series("baileys_remediator_last_cleanup_timestamp_seconds").is_empty());
}

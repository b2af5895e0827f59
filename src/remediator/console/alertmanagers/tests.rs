use std::collections::BTreeMap;
use std::time::Duration;

use exporter_toolkit::http_config::HttpClient;

use super::*;
use crate::config::Alertmanagers;
use crate::remediator::pull::{AlertStatus, PollError, PolledAlert};

fn poller(matches: &[(&str, &str)]) -> Poller {
    let text = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Poller::new(Alertmanagers {
        urls: vec!["http://am-a:9093".into(), "http://am-b:9093".into()],
        matches: matches.iter().map(text).collect(),
        interval: Duration::from_secs(30),
        timeout: Duration::from_secs(10),
        client: HttpClient::default(),
    })
}

fn alert(host: &str) -> PolledAlert {
    let labels = [
        ("ladder", "baileys_auth_files"),
        ("tier", "cleanup"),
        ("session", "bot"),
        ("instance", host),
    ];
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
    PolledAlert {
        labels: BTreeMap::from(labels),
        starts_at: "2026-01-01T00:00:00.000Z".into(),
        fingerprint: host.into(),
        status: AlertStatus {
            state: "active".into(),
            ..AlertStatus::default()
        },
    }
}

#[test]
fn what_each_answers_and_what_to_do_is_said() {
    let mine = poller(&[("instance", "a:1")]);
    let polled = judge(
        &mine,
        vec![
            Ok(vec![alert("a:1"), alert("b:1")]),
            Err(PollError::new("no")),
        ],
    );
    let counts = |polled: &Polled| {
        let counts = polled.answers.iter().map(|a| (a.all_hosts, a.this_host));
        counts.collect::<Vec<_>>()
    };
    assert_eq!(counts(&polled), [(2, 1), (0, 0)]);
    assert_eq!(polled.to_fix, ["am-b:9093: no"]);
    let table = table(&polled);
    assert!(table.contains("to fix: am-b:9093: no"), "{table}");

    let polled = judge(&mine, vec![Ok(vec![alert("b:1")]), Ok(Vec::new())]);
    assert_eq!(counts(&polled), [(1, 0), (0, 0)]);
    assert_eq!(polled.to_fix.len(), 1, "{polled:?}");
    assert!(polled.to_fix[0].contains("(instance=a:1)"), "{polled:?}");

    let quiet = judge(&mine, vec![Ok(Vec::new()), Ok(Vec::new())]);
    assert!(quiet.to_fix.is_empty(), "{quiet:?}");

    let polled = judge(&poller(&[]), vec![Ok(vec![alert("b:1")]), Ok(Vec::new())]);
    assert_eq!(counts(&polled), [(1, 1), (0, 0)]);
    assert!(
        polled.to_fix[0].contains("set alertmanager.match"),
        "{polled:?}"
    );
}

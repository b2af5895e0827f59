use super::*;

#[test]
fn the_query_asks_for_the_ladder_and_this_host() {
    let matches = BTreeMap::from([("instance".to_owned(), "a\"b:1".to_owned())]);
    let ladder = "filter=ladder%3D%22baileys%5Fauth%5Ffiles%22";
    assert_eq!(query(&matches, true), ladder);
    assert_eq!(
        query(&matches, false),
        format!("{ladder}&filter=instance%3D%22a%5C%22b%3A1%22")
    );
}

#[test]
fn a_name_is_a_host_and_no_two_are_the_same() {
    let urls = [
        "https://am-a:9093/secret",
        "http://am-b:9093",
        "https://am-a:9093/other",
        "http://am-a:9093",
    ];
    assert_eq!(
        names_of(&urls.map(str::to_owned)),
        ["am-a:9093", "am-b:9093", "am-a:9093 (2)", "am-a:9093 (3)"]
    );
}

#[test]
fn polls_are_spread() {
    let poller = Poller::new(Alertmanagers {
        urls: Vec::new(),
        matches: BTreeMap::new(),
        interval: Duration::from_secs(30),
        timeout: Duration::from_secs(10),
        client: exporter_toolkit::http_config::HttpClient::default(),
    });
    assert_eq!(poller.pause(0, 0.0), Duration::from_secs(27));
    assert_eq!(poller.pause(1, 0.0), Duration::from_millis(500));
    assert_eq!(poller.first_pause(0.0), Duration::ZERO);
    assert_eq!(poller.first_pause(1.0), FIRST_WITHIN);
}

#[test]
fn only_a_503_is_busy() {
    for (status, is_busy) in [(503, true), (500, false), (404, false), (429, false)] {
        let error = PollError::from(HttpError::Status(status));
        assert_eq!(error.is_busy(), is_busy, "{status}");
    }
    assert!(!PollError::new("not a list of alerts").is_busy());
}

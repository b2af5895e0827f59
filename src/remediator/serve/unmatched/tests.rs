use super::*;

const HOUR: Duration = Duration::from_secs(3_600);

fn labels(host: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("instance".to_owned(), host.to_owned())])
}

fn delivery(has_own: bool, others: &[&str]) -> Delivery {
    Delivery {
        has_own,
        others: others.iter().map(|other| (*other).to_owned()).collect(),
    }
}

fn now() -> Instant {
    Clock::system().now()
}

#[test]
fn alerts_without_the_labels_are_counted_until_one_has_them() {
    let (mut seen, begin) = (SeenAlerts::default(), now());
    seen.note(&labels("a"), delivery(false, &[]), begin);
    assert_eq!(seen.count(begin), 0);
    seen.note(&labels("a"), delivery(false, &["1", "2"]), begin);
    seen.note(&labels("a"), delivery(false, &["2", "3"]), begin);
    assert_eq!(seen.count(begin), 3);
    // One is enough for the labels to be right, also in a delivery with others.
    seen.note(&labels("a"), delivery(true, &["4"]), begin);
    assert_eq!(seen.count(begin), 0);
    seen.note(&labels("a"), delivery(false, &["1"]), begin + HOUR * 23);
    assert_eq!(seen.count(begin + HOUR * 23), 0);
    // The labels of the alerts may change.
    seen.note(&labels("a"), delivery(false, &["1"]), begin + HOUR * 24);
    assert_eq!(seen.count(begin + HOUR * 24), 1);
}

#[test]
fn an_alert_that_is_not_repeated_is_forgotten() {
    let (mut seen, begin) = (SeenAlerts::default(), now());
    seen.note(&labels("a"), delivery(false, &["1", "2"]), begin);
    let later = begin + HOUR / 2;
    seen.note(&labels("a"), delivery(false, &["2"]), later);
    assert_eq!(seen.count(begin + HOUR), 1);
    assert_eq!(seen.count(later + HOUR), 0);
}

#[test]
fn other_labels_begin_anew() {
    let (mut seen, begin) = (SeenAlerts::default(), now());
    seen.note(&labels("a"), delivery(true, &[]), begin);
    seen.note(&labels("b"), delivery(false, &["1"]), begin);
    assert_eq!(seen.count(begin), 1);
    seen.note(&labels("c"), delivery(false, &[]), begin);
    assert_eq!(seen.count(begin), 0);
}

#[test]
fn no_more_are_kept_than_a_limit() {
    let (mut seen, begin) = (SeenAlerts::default(), now());
    let many: Vec<String> = (0..MAX_ALERTS + 5).map(|n| n.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    seen.note(&labels("a"), delivery(false, &many), begin);
    assert_eq!(seen.count(begin), MAX_ALERTS);
}

use super::*;

struct Fixed;

impl Placeholders for Fixed {
    fn hostname(&self) -> String {
        "web-7".into()
    }

    fn variable(&self, name: &str) -> Option<String> {
        (name == "DOMAIN").then(|| "example.org".into())
    }
}

fn build(yaml: &str) -> Result<Alertmanagers, String> {
    serde_saphyr::from_str::<AlertmanagerSection>(yaml)
        .map_err(|error| error.to_string())?
        .build(&Fixed)
}

#[test]
fn one_file_serves_a_fleet() {
    let built = build(
        "urls: ['http://am-a.${DOMAIN}:9093/', 'https://am-b/prefix']\nmatch: {instance: '{hostname}:10273', price: 5$}\ninterval: 15s",
    )
    .unwrap();
    assert_eq!(
        built.urls,
        ["http://am-a.example.org:9093", "https://am-b/prefix"]
    );
    assert_eq!(built.matches["instance"], "web-7:10273");
    assert_eq!(built.matches["price"], "5$");
    assert_eq!(built.interval, Duration::from_secs(15));
    assert_eq!(built.timeout, DEFAULT_TIMEOUT);
}

#[test]
fn errors_say_where_and_repeat_no_url() {
    for (yaml, says) in [
        ("urls: []", "at least one URL"),
        ("urls: ['am:9093']", "urls[0]: must look like"),
        (
            "urls: ['http://user:hunter@am:9093']",
            "urls[0]: must look like",
        ),
        ("urls: ['http://a', 'http://a/']", "urls[1]: the same URL"),
        ("urls: ['http://${NOWHERE}']", "NOWHERE is not set"),
        ("urls: ['http://${NOWHERE']", "not closed"),
        (
            "urls: ['http://a']\nmatch: {a: '{host}'}",
            "match.a: the only placeholders",
        ),
        (
            "urls: ['http://a']\ninterval: 10ms",
            "interval: not less than 1s",
        ),
        (
            "urls: ['http://a']\nhttp_config: {tls_config: {cert_file: a}}",
            "http_config.tls_config",
        ),
    ] {
        let error = build(yaml).unwrap_err();
        assert!(error.contains(says), "{yaml}: {error}");
        assert!(!error.contains("hunter"), "{error}");
    }
}

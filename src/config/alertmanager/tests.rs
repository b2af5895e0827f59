use super::*;

struct Fixed;

impl Placeholders for Fixed {
    fn hostname(&self) -> String {
        "web-7".into()
    }

    fn variable(&self, name: &str) -> Option<String> {
        let value = match name {
            "DOMAIN" => "example.org",
            "EMPTY" => "",
            "BASE" => "https://am-c/prefix",
            "USERINFO" => "http://user:hunter@am",
            _ => return None,
        };
        Some(value.to_owned())
    }
}

fn build(yaml: &str) -> Result<Alertmanagers, String> {
    serde_saphyr::from_str::<AlertmanagerSection>(yaml)
        .map_err(|error| error.to_string())?
        .build()?
        .resolve(&Fixed)
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
        ("urls: ['http://${NOWHERE}']", "\"NOWHERE\" is not set"),
        ("urls: ['http://${NOWHERE']", "not closed"),
        (
            "urls: ['http://a']\nmatch: {a: '{host}'}",
            "match.a: the only placeholders",
        ),
        ("urls: ['http://a/?x=hunter']", "urls[0]: must look like"),
        ("urls: ['http://a:99999']", "urls[0]: must look like"),
        ("urls: ['${USERINFO}']", "urls[0]: must look like"),
        ("urls: ['http://${EMPTY}']", "is not set or is empty"),
        (
            "urls: ['http://a']\nmatch: {a: '${EMPTY}'}",
            "match.a: the environment variable",
        ),
        (
            "urls: ['http://a']\nmatch: {a: ''}",
            "match.a: the value is empty",
        ),
        (
            "urls: ['http://a']\nmatch: {'a-b': x}",
            "is not the name of a label",
        ),
        (
            "urls: ['http://a']\ninterval: 10ms",
            "interval: from 1s to 1h",
        ),
        ("urls: ['http://a']\ntimeout: 2h", "timeout: from 1s to 1h"),
        (
            "urls: ['http://a']\nhttp_config: {follow_redirects: true}",
            "http_config.follow_redirects",
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

#[test]
fn variables_are_needed_only_where_alertmanagers_are_polled() {
    let yaml = "urls: ['http://${NOWHERE}', '${BASE}']\nmatch: {a: '${NOWHERE}'}";
    let section: AlertmanagerSection = serde_saphyr::from_str(yaml).unwrap();
    assert!(section.build().unwrap().resolve(&Fixed).is_err());
    assert_eq!(
        build("urls: ['${BASE}']").unwrap().urls,
        ["https://am-c/prefix"]
    );
    let many: Vec<String> = (0..17).map(|n| format!("'http://a{n}'")).collect();
    assert!(build(&format!("urls: [{}]", many.join(", "))).is_err());
}

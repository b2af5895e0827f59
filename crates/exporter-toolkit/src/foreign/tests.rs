use super::*;

fn headers(given: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        headers.append(HeaderName::from_static(name), value.parse().unwrap());
    }
    headers
}

#[test]
fn hosts() {
    let foreign = |hosts: &[(&'static str, &str)]| {
        is_foreign_host(None, &headers(hosts), "bots1.example.org")
    };
    for own in [
        "127.0.0.1",
        "127.0.0.1:10273",
        "[::1]:10273",
        "192.0.2.7:80",
        "localhost",
        "LocalHost:10273",
        "localhost.",
        "bots1",
        "bots1.example.org:10273",
        "Bots1.Example.org.",
    ] {
        assert!(!foreign(&[("host", own)]), "{own}");
    }
    for other in [
        "evil.example",
        "evil.example:10273",
        "bots1.evil.example",
        "bots1.example.org.evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "localhost@evil.example",
        "evil@localhost",
        "2130706433",
        "0x7f.1",
        "[::1",
        "",
        " ",
        "localhost/",
    ] {
        assert!(foreign(&[("host", other)]), "{other}");
    }
    assert!(foreign(&[("host", "localhost"), ("host", "localhost")]));
    assert!(!foreign(&[]), "HTTP/1.0");
    // A machine without a name.
    assert!(is_foreign_host(None, &headers(&[("host", "x")]), ""));
    // The request line counts as well.
    let uri = |text: &str| text.parse::<Authority>().unwrap();
    let local = headers(&[("host", "localhost")]);
    assert!(is_foreign_host(Some(&uri("evil.example")), &local, "a"));
    assert!(!is_foreign_host(Some(&uri("localhost:1")), &local, "a"));
}

#[test]
fn origins() {
    let foreign = |given: &[(&'static str, &str)]| is_foreign_origin(&headers(given));
    for (origin, host) in [
        ("http://127.0.0.1:10273", "127.0.0.1:10273"),
        ("https://bots1:10273", "BOTS1:10273"),
        ("http://localhost", "localhost:80"),
        ("https://localhost:443", "localhost"),
        ("http://[::1]:10273", "[::1]:10273"),
    ] {
        assert!(!foreign(&[("origin", origin), ("host", host)]), "{origin}");
    }
    for (origin, host) in [
        ("null", "localhost"),
        ("", "localhost"),
        ("http://evil.example", "localhost"),
        ("http://localhost:3000", "localhost:10273"),
        ("https://localhost", "localhost:80"),
        ("http://localhost@evil.example", "localhost"),
        ("file://localhost", "localhost"),
        ("http://localhost/", "localhost"),
        ("localhost", "localhost"),
    ] {
        assert!(foreign(&[("origin", origin), ("host", host)]), "{origin}");
    }
    let own = ("origin", "http://localhost");
    assert!(foreign(&[own, own, ("host", "localhost")]));
    assert!(foreign(&[own]));
    assert!(!foreign(&[("host", "localhost")]));
    for (site, is_foreign) in [
        ("cross-site", true),
        ("same-site", true),
        ("same-origin", false),
        ("none", false),
        ("", true),
    ] {
        let given = [("sec-fetch-site", site), ("host", "localhost")];
        assert_eq!(foreign(&given), is_foreign, "{site}");
    }
}

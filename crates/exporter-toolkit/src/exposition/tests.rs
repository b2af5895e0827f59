#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use flate2::read::GzDecoder;
use http_body_util::BodyExt;
use hyper::header::{ACCEPT_ENCODING, HeaderName};

use crate::metric_families::MetricDeclaration;
use proptest::prelude::*;
use std::io::Read;

fn with(name: HeaderName, values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(&name, value.parse().unwrap());
    }
    headers
}

fn families() -> MetricFamilies<'static> {
    const A: MetricDeclaration = MetricDeclaration::counter("a_total", &[], "A.");
    let mut families = MetricFamilies::default();
    families.add_value(&A, 2.0);
    families
}

async fn body(response: Response) -> Vec<u8> {
    let whole = response.into_body().collect().await.unwrap();
    whole.to_bytes().to_vec()
}

#[test]
fn format_negotiation() {
    let openmetrics = [
        // Prometheus 2.42, as it sends it.
        "application/openmetrics-text;version=1.0.0,\
         application/openmetrics-text;version=0.0.1;q=0.75,\
         text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
        // Prometheus 3, without and with the protobuf formats.
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
         application/openmetrics-text;version=0.0.1;q=0.5,\
         text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
         text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
         encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,\
         text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
        "application/openmetrics-text",
        "APPLICATION/OpenMetrics-Text ; Version=\"1.0.0\" ; Q=0.9 , text/plain;q=0.8",
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
        "application/*, text/*;q=0.9",
        "*/*, text/plain;q=0.5",
        "application/openmetrics-text;q=0.001",
        ",, application/openmetrics-text ,",
    ];
    for accept in openmetrics {
        assert!(prefers_openmetrics(&with(ACCEPT, &[accept])), "{accept}");
    }
    let text = [
        "",
        "*/*",
        "text/*",
        "text/plain",
        "text/plain;version=0.0.4",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "application/openmetrics-text;q=0.5, text/plain",
        "application/openmetrics-text, text/plain",
        "application/openmetrics-text;version=1.0.0;q=0",
        "application/openmetrics-text;version=1.0.0;q=0,*/*",
        "application/openmetrics-text;version=0.0.1",
        "application/openmetrics-text;version=2.0.0, */*;q=0.1",
        "application/json",
        // Malformed.
        "application/openmetrics-text;q=2",
        "application/openmetrics-text;q=-1",
        "application/openmetrics-text;q=high",
        "application/openmetrics-text;q=",
        "application/openmetrics-text;q",
        "application/openmetrics-text;version=\"1.0.0",
        "application/openmetrics-text, {}",
        "application/openmetrics-text, ;q=1",
        "application/open metrics-text",
        "application/openmetrics-text\u{e9}",
    ];
    for accept in text {
        assert!(!prefers_openmetrics(&with(ACCEPT, &[accept])), "{accept}");
    }
    assert!(!prefers_openmetrics(&HeaderMap::new()));
    // One list over two lines.
    let lines = ["text/plain;q=0.5", "application/openmetrics-text"];
    assert!(prefers_openmetrics(&with(ACCEPT, &lines)));
}

#[test]
fn encoding_negotiation() {
    for (value, gzip) in [
        ("gzip", true),
        ("GZIP", true),
        ("x-gzip", true),
        ("deflate, gzip;q=0.5", true),
        ("*", true),
        ("gzip;q=0.001", true),
        ("identity;q=0.5, gzip", true),
        ("identity, gzip", true),
        ("", false),
        ("identity", false),
        ("deflate, br", false),
        ("gzip;q=0", false),
        ("gzip;q=0.000", false),
        ("gzip;q=0, *", false),
        ("*;q=0", false),
        ("gzip;q=0.5, identity", false),
        ("gzip;q=x", false),
        ("gzipped", false),
    ] {
        assert_eq!(
            accepts_gzip(&with(ACCEPT_ENCODING, &[value])),
            gzip,
            "{value}"
        );
    }
    assert!(!accepts_gzip(&HeaderMap::new()));
}

#[tokio::test]
async fn both_formats() {
    let response = respond(&HeaderMap::new(), families());
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.headers()[CONTENT_TYPE],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    assert_eq!(response.headers()[VARY], "Accept, Accept-Encoding");
    assert!(!response.headers().contains_key(CONTENT_ENCODING));
    assert_eq!(
        body(response).await,
        b"# HELP a_total A.\n# TYPE a_total counter\na_total 2\n"
    );
    let accept = with(ACCEPT, &["application/openmetrics-text;version=1.0.0"]);
    let response = respond(&accept, families());
    assert_eq!(
        response.headers()[CONTENT_TYPE],
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    assert_eq!(
        body(response).await,
        b"# TYPE a counter\n# HELP a A.\na_total 2.0\n# EOF\n"
    );
}

#[tokio::test]
async fn gzip_gives_the_same_bytes() {
    let plain = body(respond(&HeaderMap::new(), families())).await;
    let response = respond(&with(ACCEPT_ENCODING, &["gzip"]), families());
    assert_eq!(response.headers()[CONTENT_ENCODING], "gzip");
    let mut unpacked = Vec::new();
    GzDecoder::new(&body(response).await[..])
        .read_to_end(&mut unpacked)
        .unwrap();
    assert_eq!(unpacked, plain);
}

proptest! {
    #[test]
    fn any_headers_get_metrics(
        accept in proptest::collection::vec(any::<u8>(), 0..60),
        encoding in "[a-z*;=.,q0-9 ]{0,40}",
    ) {
        let mut headers = with(ACCEPT_ENCODING, &[&encoding]);
        if let Ok(value) = HeaderValue::from_bytes(&accept) {
            headers.insert(ACCEPT, value);
        }
        prop_assert_eq!(respond(&headers, families()).status(), 200);
    }
}

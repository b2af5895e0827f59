//! Answering a scrape in the format and encoding the scraper prefers.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::StatusCode;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, VARY,
};
use prometheus::proto::{MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

use super::openmetrics::{OPENMETRICS_FORMAT, OpenMetricsEncoder};
use super::{Response, Weighted, text, weighted_list};

/// The `Content-Type` of the text format 0.0.4.
pub const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers a scrape: `families` in the text format 0.0.4 or OpenMetrics 1.0,
/// whichever `Accept` weighs higher, gzipped if `Accept-Encoding` allows it.
///
/// Without a preference, with one that names neither format and with a
/// malformed one the answer is the text format: a scraper is better off with
/// metrics than with an error. Families without samples are left out. If a
/// family cannot be written the answer is 500 and says why.
///
/// This costs up to some ten milliseconds of processor time for each
/// 100,000 samples; for so many, call it where blocking is allowed.
pub fn respond(headers: &HeaderMap, families: &[MetricFamily]) -> Response {
    let openmetrics = prefers_openmetrics(headers);
    let gzip = accepts_gzip(headers);
    let mut out = Vec::new();
    let written = if openmetrics {
        OpenMetricsEncoder.encode(families, &mut out)
    } else {
        write_text(families, &mut out)
    };
    let packed = written.and_then(|()| Ok(if gzip { compress(&out)? } else { out }));
    let body = match packed {
        Ok(body) => body,
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            let message = format!("The metrics cannot be written: {error}\n");
            return text(StatusCode::INTERNAL_SERVER_ERROR, message);
        }
    };
    let mut response = text(StatusCode::OK, body);
    let format = if openmetrics {
        OPENMETRICS_FORMAT
    } else {
        TEXT_FORMAT
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(format));
    headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    if gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// Writes the text format, stepping around what its encoder refuses (a family
/// without samples) or dies of (an untyped one).
fn write_text(families: &[MetricFamily], out: &mut Vec<u8>) -> prometheus::Result<()> {
    for family in families {
        if family.get_field_type() == MetricType::UNTYPED {
            let name = family.name();
            let message = format!("the metric family {name} has no type");
            return Err(prometheus::Error::Msg(message));
        }
        if !family.get_metric().is_empty() {
            TextEncoder::new().encode(std::slice::from_ref(family), out)?;
        }
    }
    Ok(())
}

fn compress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    // The fastest level already makes metrics seven times smaller.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// Whether OpenMetrics 1.0 has the higher weight. A tie is for the text
/// format, so `*/*` gets what a person can expect.
fn prefers_openmetrics(headers: &HeaderMap) -> bool {
    let Some(ranges) = weighted_list(headers, ACCEPT) else {
        return false;
    };
    let openmetrics = weight(&ranges, "application", "openmetrics-text", "1.0.0");
    openmetrics > weight(&ranges, "text", "plain", "0.0.4")
}

/// The weight the ranges give to a media type: that of the most specific
/// range that matches it, 0 if none does.
fn weight(ranges: &[Weighted<'_>], main: &str, sub: &str, version: &str) -> u16 {
    let matches = ranges.iter().filter_map(|range| {
        let (range_main, range_sub) = range.value.split_once('/')?;
        let is = |text: &str, value: &str| text.eq_ignore_ascii_case(value);
        let asked = range.params.iter().find(|(name, _)| is(name, "version"));
        let specificity = match (range_main, range_sub, asked) {
            ("*", "*", None) => 0,
            (range_main, "*", None) if is(range_main, main) => 1,
            (range_main, range_sub, asked) if is(range_main, main) && is(range_sub, sub) => {
                match asked {
                    None => 2,
                    Some((_, asked)) if *asked == version => 3,
                    Some(_) => return None,
                }
            }
            _ => return None,
        };
        Some((specificity, range.q))
    });
    matches.max().map_or(0, |(_, q)| q)
}

/// Whether gzip is allowed and not liked less than no compression.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let Some(codings) = weighted_list(headers, ACCEPT_ENCODING) else {
        return false;
    };
    let weight = |names: &[&str]| {
        let named = |coding: &&Weighted<'_>| {
            names
                .iter()
                .any(|name| coding.value.eq_ignore_ascii_case(name))
        };
        codings.iter().filter(named).map(|coding| coding.q).max()
    };
    let gzip = weight(&["gzip", "x-gzip"])
        .or_else(|| weight(&["*"]))
        .unwrap_or(0);
    gzip > 0 && gzip >= weight(&["identity"]).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use flate2::read::GzDecoder;
    use http_body_util::BodyExt;
    use hyper::header::HeaderName;
    use prometheus::core::Collector;
    use prometheus::{IntCounter, IntGaugeVec, Opts};
    use proptest::prelude::*;
    use std::io::Read;

    fn with(name: HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&name, value.parse().unwrap());
        }
        headers
    }

    fn families() -> Vec<MetricFamily> {
        let counter = IntCounter::new("a_total", "A.").unwrap();
        counter.inc_by(2);
        let empty = IntGaugeVec::new(Opts::new("empty", "No samples."), &["x"]).unwrap();
        [counter.collect(), empty.collect()].concat()
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
        let response = respond(&HeaderMap::new(), &families());
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
        let response = respond(&accept, &families());
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
        let plain = body(respond(&HeaderMap::new(), &families())).await;
        let response = respond(&with(ACCEPT_ENCODING, &["gzip"]), &families());
        assert_eq!(response.headers()[CONTENT_ENCODING], "gzip");
        let mut unpacked = Vec::new();
        GzDecoder::new(&body(response).await[..])
            .read_to_end(&mut unpacked)
            .unwrap();
        assert_eq!(unpacked, plain);
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_a_500() {
        let mut untyped = families();
        untyped[0].set_field_type(MetricType::UNTYPED);
        let mut nameless = families();
        nameless[0].clear_name();
        for families in [untyped, nameless] {
            for accept in ["text/plain", "application/openmetrics-text"] {
                let response = respond(&with(ACCEPT, &[accept]), &families);
                assert_eq!(response.status(), 500);
            }
        }
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
            prop_assert_eq!(respond(&headers, &families()).status(), 200);
        }
    }
}

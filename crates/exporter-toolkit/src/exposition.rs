//! Answering a scrape in the format and encoding the scraper prefers.

use std::io;

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::StatusCode;
use hyper::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, VARY};

use crate::metric_families::MetricFamilies;
use crate::negotiation::{Weighted, accepts_gzip, weighted_list};
use crate::openmetrics::OPENMETRICS_FORMAT;
use crate::{Response, text};

pub use crate::samples::Format;

/// The `Content-Type` of the text format 0.0.4.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers a scrape in the text format 0.0.4 or OpenMetrics 1.0, whichever `Accept` weighs
/// higher, gzipped if `Accept-Encoding` allows it.
///
/// Without a preference, with one that names neither format and with a malformed one the
/// answer is the text format: a scraper is better off with metrics than with an error.
///
/// The samples are encoded, and compressed, while they are produced: beside the answer, only a
/// few kilobytes of them are in memory. This costs some ten milliseconds of processor time for
/// each 100,000 samples; for so many, call it where blocking is allowed.
pub fn respond(headers: &HeaderMap, families: MetricFamilies<'_>) -> Response {
    let format = match prefers_openmetrics(headers) {
        true => Format::OpenMetrics,
        false => Format::Text,
    };
    let is_gzip = accepts_gzip(headers);
    let body = match encode(families, format, is_gzip) {
        Ok(body) => body,
        Err(error) => {
            tracing::error!(%error, "failed to encode the metrics");
            let message = "Failed to encode the metrics; see the log\n";
            return text(StatusCode::INTERNAL_SERVER_ERROR, message);
        }
    };
    let mut response = text(StatusCode::OK, body);
    let content_type = match format {
        Format::OpenMetrics => OPENMETRICS_FORMAT,
        Format::Text => TEXT_FORMAT,
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    if is_gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// The body of a scrape.
///
/// Errors: none that is known of.
pub fn encode(families: MetricFamilies<'_>, format: Format, is_gzip: bool) -> io::Result<Vec<u8>> {
    if !is_gzip {
        let mut out = Vec::new();
        families.write(format, &mut out)?;
        return Ok(out);
    }
    // The fastest level already makes metrics seven times smaller.
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    families.write(format, &mut out)?;
    out.finish()
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

#[cfg(test)]
mod tests;

//! The OpenMetrics 1.0 text format for the `prometheus` crate, which writes
//! only the older format itself.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::Write;

use prometheus::proto::{Metric, MetricFamily, MetricType};
use prometheus::{Encoder, Error};

/// The `Content-Type` of this format.
pub const OPENMETRICS_FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The base units of the Prometheus naming rules that a name may end in.
const UNITS: [&str; 8] = [
    "seconds", "bytes", "ratio", "meters", "volts", "amperes", "joules", "grams",
];

/// Writes metric families as OpenMetrics 1.0.
///
/// The names of the samples are the same as in the older text format; only
/// the names of the families differ, where the format demands it:
///
/// - a counter's family loses the `_total` of its samples; a counter whose
///   name does not end in `_total` becomes `unknown`, since adding the suffix
///   would rename the series;
/// - a gauge `…_info` whose samples are all 1 becomes an `info` family, if
///   its name without the suffix is free;
/// - a family whose name ends in a base unit gets a `# UNIT` line.
///
/// Families without samples are left out. The output ends with `# EOF`, so
/// all families must be written by one call.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenMetricsEncoder;

impl Encoder for OpenMetricsEncoder {
    /// # Errors
    ///
    /// When a family has no name or is untyped (the `prometheus` crate keeps
    /// no value for those), and when `writer` fails.
    fn encode<W: Write>(
        &self,
        families: &[MetricFamily],
        writer: &mut W,
    ) -> prometheus::Result<()> {
        let names: HashSet<&str> = families.iter().map(MetricFamily::name).collect();
        let mut out = String::new();
        for family in families {
            if !family.get_metric().is_empty() {
                write_family(&mut out, family, &names)?;
                writer.write_all(out.as_bytes())?;
                out.clear();
            }
        }
        writer.write_all(b"# EOF\n")?;
        Ok(())
    }

    fn format_type(&self) -> &str {
        OPENMETRICS_FORMAT
    }
}

fn write_family(
    out: &mut String,
    family: &MetricFamily,
    names: &HashSet<&str>,
) -> prometheus::Result<()> {
    let name = family.name();
    if name.is_empty() {
        return Err(Error::Msg("a metric family has no name".to_owned()));
    }
    let kind = family.get_field_type();
    // A name that another family has already would mix the two up.
    let stem = |suffix| {
        name.strip_suffix(suffix)
            .filter(|stem| !stem.is_empty() && !names.contains(stem))
    };
    let (shown, type_name) = match kind {
        MetricType::COUNTER => match stem("_total") {
            Some(stem) if family.get_metric().iter().all(counts) => (stem, "counter"),
            _ => (name, "unknown"),
        },
        MetricType::GAUGE => match stem("_info") {
            Some(stem) if family.get_metric().iter().all(is_one) => (stem, "info"),
            _ => (name, "gauge"),
        },
        MetricType::HISTOGRAM => (name, "histogram"),
        MetricType::SUMMARY => (name, "summary"),
        MetricType::UNTYPED => {
            return Err(Error::Msg(format!("the metric family {name} has no type")));
        }
    };
    push(out, &["# TYPE ", shown, " ", type_name, "\n"]);
    let unit = shown
        .rsplit_once('_')
        .map(|(_, last)| last)
        .filter(|last| UNITS.contains(last) && type_name != "info");
    if let Some(unit) = unit {
        push(out, &["# UNIT ", shown, " ", unit, "\n"]);
    }
    if !family.help().is_empty() {
        push(out, &["# HELP ", shown, " "]);
        escape(out, family.help());
        out.push('\n');
    }
    for metric in family.get_metric() {
        match kind {
            MetricType::COUNTER => {
                sample(
                    out,
                    [name, ""],
                    metric,
                    None,
                    metric.get_counter().get_value(),
                );
            }
            MetricType::GAUGE => {
                sample(
                    out,
                    [name, ""],
                    metric,
                    None,
                    metric.get_gauge().get_value(),
                );
            }
            MetricType::HISTOGRAM => write_histogram(out, name, metric),
            MetricType::SUMMARY => write_summary(out, name, metric),
            // Refused above.
            MetricType::UNTYPED => {}
        }
    }
    Ok(())
}

/// Whether this is a value a counter may have.
fn counts(metric: &Metric) -> bool {
    metric.get_counter().get_value() >= 0.0
}

#[expect(clippy::float_cmp, reason = "an info metric is exactly 1")]
fn is_one(metric: &Metric) -> bool {
    metric.get_gauge().get_value() == 1.0
}

fn write_histogram(out: &mut String, name: &str, metric: &Metric) {
    let histogram = metric.get_histogram();
    let bound = |value| Some(("le", value));
    let mut has_infinity = false;
    let mut has_negative = false;
    for bucket in histogram.get_bucket() {
        let limit = bucket.upper_bound();
        has_infinity |= limit == f64::INFINITY;
        has_negative |= limit < 0.0;
        count(
            out,
            [name, "_bucket"],
            metric,
            bound(limit),
            bucket.cumulative_count(),
        );
    }
    let total = histogram.get_sample_count();
    if !has_infinity {
        count(out, [name, "_bucket"], metric, bound(f64::INFINITY), total);
    }
    count(out, [name, "_count"], metric, None, total);
    // With negative observations a sum is no counter, so it is not allowed.
    if !has_negative {
        let sum = histogram.get_sample_sum();
        sample(out, [name, "_sum"], metric, None, sum);
    }
}

fn write_summary(out: &mut String, name: &str, metric: &Metric) {
    let summary = metric.get_summary();
    for quantile in summary.get_quantile() {
        let label = Some(("quantile", quantile.quantile()));
        sample(out, [name, ""], metric, label, quantile.value());
    }
    count(out, [name, "_count"], metric, None, summary.sample_count());
    sample(out, [name, "_sum"], metric, None, summary.sample_sum());
}

/// Writes a sample whose value is a whole number of observations.
fn count(
    out: &mut String,
    name: [&str; 2],
    metric: &Metric,
    bound: Option<(&str, f64)>,
    value: u64,
) {
    start(out, name, metric, bound);
    let _ = write!(out, "{value}");
    end(out, metric);
}

fn sample(
    out: &mut String,
    name: [&str; 2],
    metric: &Metric,
    bound: Option<(&str, f64)>,
    value: f64,
) {
    start(out, name, metric, bound);
    float(out, value);
    end(out, metric);
}

/// Writes the name and labels of a sample.
fn start(out: &mut String, name: [&str; 2], metric: &Metric, bound: Option<(&str, f64)>) {
    push(out, &name);
    let mut separator = "{";
    for label in metric.get_label() {
        push(out, &[separator, label.name(), "=\""]);
        escape(out, label.value());
        out.push('"');
        separator = ",";
    }
    if let Some((label, value)) = bound {
        push(out, &[separator, label, "=\""]);
        float(out, value);
        out.push('"');
        separator = ",";
    }
    out.push_str(if separator == "{" { " " } else { "} " });
}

/// Writes the time of a sample, if it has one, in seconds.
fn end(out: &mut String, metric: &Metric) {
    let millis = metric.timestamp_ms();
    if millis != 0 {
        let sign = if millis < 0 { "-" } else { "" };
        let millis = millis.unsigned_abs();
        let _ = write!(out, " {sign}{}.{:03}", millis / 1000, millis % 1000);
    }
    out.push('\n');
}

fn push(out: &mut String, parts: &[&str]) {
    for part in parts {
        out.push_str(part);
    }
}

/// Escapes a label's value or a help text; the rules are the same for both.
fn escape(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '"', '\n']) {
        out.push_str(&rest[..at]);
        out.push_str(match rest.as_bytes()[at] {
            b'\n' => "\\n",
            b'"' => "\\\"",
            _ => "\\\\",
        });
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
}

/// Writes a number in the canonical form of OpenMetrics: the shortest digits
/// that give the same number, as Go's `%g` sets them, and never without a
/// point or an exponent.
fn float(out: &mut String, value: f64) {
    if value.is_nan() {
        return out.push_str("NaN");
    }
    if value.is_infinite() {
        return out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    }
    // Most values are small whole numbers.
    let start = out.len();
    let size = value.abs();
    if size == 0.0 || (1e-4..1e6).contains(&size) {
        let _ = write!(out, "{value}");
        if !out[start..].contains('.') {
            out.push_str(".0");
        }
        return;
    }
    let _ = write!(out, "{value:e}");
    // Rust writes `1e-5` and `1e6` where the format wants `1e-05` and `1e+06`.
    if let Some(mark) = out[start..].find('e').map(|at| start + at) {
        let exponent: i32 = out[mark + 1..].parse().unwrap_or(0);
        out.truncate(mark + 1);
        let sign = if exponent < 0 { '-' } else { '+' };
        let _ = write!(out, "{sign}{:02}", exponent.unsigned_abs());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use prometheus::proto::{LabelPair, Quantile, Summary};
    use prometheus::{
        Counter, Gauge, GaugeVec, Histogram, HistogramOpts, IntCounterVec, Opts, Registry,
    };
    use proptest::prelude::*;

    fn encode(families: &[MetricFamily]) -> String {
        let mut out = Vec::new();
        OpenMetricsEncoder.encode(families, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn gauge(name: &str, value: f64) -> MetricFamily {
        let gauge = Gauge::new("x", "A help.").unwrap();
        gauge.set(value);
        let mut family = prometheus::core::Collector::collect(&gauge).remove(0);
        family.set_name(name.to_owned());
        family
    }

    fn number(value: f64) -> String {
        let mut out = String::new();
        float(&mut out, value);
        out
    }

    #[test]
    fn golden() {
        let registry = Registry::new();
        let runs = IntCounterVec::new(Opts::new("app_runs_total", "Runs."), &["action"]).unwrap();
        runs.with_label_values(&["plan"]).inc_by(3);
        runs.with_label_values(&["a\\b\"c\nd"]).inc();
        let odd = Counter::new("app_odd", "No suffix.").unwrap();
        let size = Gauge::new("app_size_bytes", "Size with \"quotes\",\na line and \\.").unwrap();
        size.set(1_763_930_123.5);
        let info = GaugeVec::new(Opts::new("app_build_info", "Build."), &["version"]).unwrap();
        info.with_label_values(&["1.0"]).set(1.0);
        let took = Histogram::with_opts(
            HistogramOpts::new("app_took_seconds", "Took.").buckets(vec![0.00001, 0.1, 1.0, 1e6]),
        )
        .unwrap();
        took.observe(0.5);
        took.observe(2.0);
        registry.register(Box::new(runs)).unwrap();
        registry.register(Box::new(odd)).unwrap();
        registry.register(Box::new(size)).unwrap();
        registry.register(Box::new(info)).unwrap();
        registry.register(Box::new(took)).unwrap();
        let mut families = registry.gather();
        let mut quantile = Quantile::default();
        quantile.set_quantile(0.5);
        quantile.set_value(7.0);
        let mut summary = Summary::default();
        summary.set_quantile(vec![quantile]);
        summary.set_sample_count(2);
        summary.set_sample_sum(14.0);
        let mut label = LabelPair::default();
        label.set_name("a".to_owned());
        label.set_value("b".to_owned());
        let mut metric = Metric::from_label(vec![label]);
        metric.set_summary(summary);
        metric.set_timestamp_ms(1_763_930_123_045);
        let mut family = MetricFamily::default();
        family.set_name("app_wait".to_owned());
        family.set_field_type(MetricType::SUMMARY);
        family.set_metric(vec![metric]);
        families.push(family);
        families.push(MetricFamily::default());
        assert_eq!(
            encode(&families),
            r#"# TYPE app_build info
# HELP app_build Build.
app_build_info{version="1.0"} 1.0
# TYPE app_odd unknown
# HELP app_odd No suffix.
app_odd 0.0
# TYPE app_runs counter
# HELP app_runs Runs.
app_runs_total{action="a\\b\"c\nd"} 1.0
app_runs_total{action="plan"} 3.0
# TYPE app_size_bytes gauge
# UNIT app_size_bytes bytes
# HELP app_size_bytes Size with \"quotes\",\na line and \\.
app_size_bytes 1.7639301235e+09
# TYPE app_took_seconds histogram
# UNIT app_took_seconds seconds
# HELP app_took_seconds Took.
app_took_seconds_bucket{le="1e-05"} 0
app_took_seconds_bucket{le="0.1"} 0
app_took_seconds_bucket{le="1.0"} 1
app_took_seconds_bucket{le="1e+06"} 2
app_took_seconds_bucket{le="+Inf"} 2
app_took_seconds_count 2
app_took_seconds_sum 2.5
# TYPE app_wait summary
app_wait{a="b",quantile="0.5"} 7.0 1763930123.045
app_wait_count{a="b"} 2 1763930123.045
app_wait_sum{a="b"} 14.0 1763930123.045
# EOF
"#
        );
    }

    #[test]
    fn nothing_is_still_a_document() {
        assert_eq!(encode(&[]), "# EOF\n");
    }

    #[test]
    fn info_needs_a_free_name_and_ones() {
        assert!(encode(&[gauge("a_info", 1.0)]).contains("# TYPE a info\n"));
        assert!(encode(&[gauge("a_info", 2.0)]).contains("# TYPE a_info gauge\n"));
        let both = encode(&[gauge("a_info", 1.0), gauge("a", 5.0)]);
        assert!(both.contains("# TYPE a_info gauge\n"), "{both}");
    }

    #[test]
    fn what_cannot_be_written_is_an_error() {
        let mut untyped = gauge("a", 1.0);
        untyped.set_field_type(MetricType::UNTYPED);
        let nameless = gauge("", 1.0);
        for family in [untyped, nameless] {
            assert!(
                OpenMetricsEncoder
                    .encode(&[family], &mut Vec::new())
                    .is_err()
            );
        }
    }

    /// The examples of the specification.
    #[test]
    fn canonical_numbers() {
        for text in [
            "0.0",
            "0.001",
            "0.002",
            "0.01",
            "0.1",
            "0.9",
            "0.95",
            "0.99",
            "0.999",
            "1.0",
            "1.7",
            "10.0",
            "1e-10",
            "1e-09",
            "1e-05",
            "0.0001",
            "100000.0",
            "1e+06",
            "1e+10",
            "-1.0",
            "1.234567e+06",
            "123456.5",
            "1e+100",
            "5e-324",
        ] {
            assert_eq!(number(text.parse().unwrap()), text);
        }
        assert_eq!(number(f64::INFINITY), "+Inf");
        assert_eq!(number(f64::NEG_INFINITY), "-Inf");
        assert_eq!(number(f64::NAN), "NaN");
    }

    proptest! {
        #[test]
        fn numbers_keep_their_value(value in any::<f64>()) {
            let text = number(value);
            prop_assert!(value.is_nan() || text.parse::<f64>().unwrap() == value, "{}", text);
            prop_assert!(!value.is_finite() || text.contains(['.', 'e']));
        }

        #[test]
        fn escapes_can_be_undone(value in any::<String>()) {
            let mut text = String::new();
            escape(&mut text, &value);
            prop_assert!(!text.contains('\n'));
            let mut back = String::new();
            let mut chars = text.chars();
            while let Some(char) = chars.next() {
                prop_assert_ne!(char, '"');
                back.push(match char {
                    '\\' => match chars.next() {
                        Some('n') => '\n',
                        Some(char) => char,
                        None => return Err(TestCaseError::fail("a lone backslash")),
                    },
                    char => char,
                });
            }
            prop_assert_eq!(back, value);
        }
    }
}

//! The OpenMetrics 1.0 text format for the gauges and counters of
//! [`crate::metric_families`]; the `prometheus` crate writes only the older format.

use std::fmt::Write as _;

use prometheus::proto::{MetricFamily, MetricType};

/// The `Content-Type` of this format.
pub const OPENMETRICS_FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The last line.
pub const END: &str = "# EOF\n";

/// Whole numbers below this are written as integers.
const MAX_AS_INTEGER: f64 = 1e15;

/// The base units that a name may end in.
const UNITS: [&str; 2] = ["seconds", "bytes"];

/// The lines before the samples of a family. The names of the samples are the
/// same as in the older text format; only the names of the families differ, where the format
/// demands it:
///
/// - a counter's family loses the `_total` of its samples;
/// - a gauge `…_info`, whose value is 1, becomes an `info` family without that suffix;
/// - a family whose name ends in a base unit gets a `# UNIT` line.
pub fn encode_header(out: &mut String, family: &MetricFamily) {
    let name = family.name();
    let is_counter = family.get_field_type() == MetricType::COUNTER;
    let (shown, kind) = match (name.strip_suffix("_total"), name.strip_suffix("_info")) {
        (Some(stem), _) if is_counter => (stem, "counter"),
        (_, Some(stem)) if !is_counter => (stem, "info"),
        _ => (name, "gauge"),
    };
    push(out, &["# TYPE ", shown, " ", kind, "\n"]);
    let unit = shown.rsplit('_').next().unwrap_or_default();
    if UNITS.contains(&unit) {
        push(out, &["# UNIT ", shown, " ", unit, "\n"]);
    }
    push(out, &["# HELP ", shown, " "]);
    escape(out, family.help());
    out.push('\n');
}

/// The samples of a family.
pub fn encode_samples(out: &mut String, family: &MetricFamily) {
    let name = family.name();
    let is_counter = family.get_field_type() == MetricType::COUNTER;
    for metric in family.get_metric() {
        out.push_str(name);
        let mut separator = "{";
        for label in metric.get_label() {
            push(out, &[separator, label.name(), "=\""]);
            escape(out, label.value());
            out.push('"');
            separator = ",";
        }
        out.push_str(if separator == "{" { " " } else { "} " });
        let value = match is_counter {
            true => metric.get_counter().get_value(),
            false => metric.get_gauge().get_value(),
        };
        // Debug never writes more digits than needed: 1.0, 0.1, 1e16, 1e-7. Most values are counts,
        // which are faster to write as integers.
        let _ = match value.fract() == 0.0 && value.abs() < MAX_AS_INTEGER {
            true => writeln!(out, "{}.0", value as i64),
            false => writeln!(out, "{value:?}"),
        };
    }
}

fn push(out: &mut String, parts: &[&str]) {
    for part in parts {
        out.push_str(part);
    }
}

/// Escapes a label's value or a help text; the rules are the same for both.
fn escape(out: &mut String, text: &str) {
    let mut rest = text;
    // Most have nothing to escape, and are short.
    if !text
        .bytes()
        .any(|byte| matches!(byte, b'\\' | b'"' | b'\n'))
    {
        out.push_str(text);
        return;
    }
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

#[cfg(test)]
mod tests;

//! The OpenMetrics 1.0 text format, for gauges and counters.

use std::fmt::Write as _;

use crate::declaration::{MetricDeclaration, MetricKind};

/// The `Content-Type` of this format.
pub const OPENMETRICS_FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The last line.
pub const END: &str = "# EOF\n";

/// Whole numbers below this are written as integers.
const MAX_AS_INTEGER: f64 = 1e15;

/// The base units that a name may end in.
const UNITS: [&str; 2] = ["seconds", "bytes"];

/// The lines before the samples of a metric. The names of the samples are the
/// same as in the older text format; only the names of the families differ, where the format
/// demands it:
///
/// - a counter's family loses the `_total` of its samples;
/// - a gauge `…_info`, whose value is 1, becomes an `info` family without that suffix;
/// - a family whose name ends in a base unit gets a `# UNIT` line.
pub(crate) fn write_header(out: &mut String, declared: &MetricDeclaration) {
    let name = declared.name;
    let is_counter = declared.kind == MetricKind::Counter;
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
    escape(out, declared.help);
    out.push('\n');
}

/// The value of a sample.
pub(crate) fn write_value(out: &mut String, value: f64) {
    // Debug never writes more digits than needed: 0.1, 1e16, 1e-7. A String takes everything.
    // Most values are counts, which are faster to write as integers.
    let _ = match value.fract() == 0.0 && value.abs() < MAX_AS_INTEGER {
        true => write!(out, "{}.0", value as i64),
        false => write!(out, "{value:?}"),
    };
}

pub(crate) fn push(out: &mut String, parts: &[&str]) {
    for part in parts {
        out.push_str(part);
    }
}

/// Escapes a label's value or a help text; the rules are the same for both.
pub(crate) fn escape(out: &mut String, text: &str) {
    let is_special = |byte| matches!(byte, b'\\' | b'"' | b'\n');
    let mut rest = text;
    while let Some(at) = rest.bytes().position(is_special) {
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

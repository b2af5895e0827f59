//! The text format 0.0.4, for gauges and counters.

use std::fmt::Write as _;

use crate::declaration::{MetricDeclaration, MetricKind};
use crate::samples::{as_integer, escape, push};

/// The lines before the samples of a metric.
pub(crate) fn write_header(out: &mut String, declared: &MetricDeclaration) {
    let kind = match declared.kind {
        MetricKind::Gauge => "gauge",
        MetricKind::Counter => "counter",
    };
    push(out, &["# HELP ", declared.name, " "]);
    escape(out, declared.help, false);
    push(out, &["\n# TYPE ", declared.name, " ", kind, "\n"]);
}

/// The value of a sample.
pub(crate) fn write_value(out: &mut String, value: f64) {
    // A String takes everything.
    let _ = match as_integer(value) {
        Some(integer) => write!(out, "{integer}"),
        None => write!(out, "{value}"),
    };
}

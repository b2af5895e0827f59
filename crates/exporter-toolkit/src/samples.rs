//! The samples of a scrape on their way to the writer. They are written as text at once: a metric
//! may have a million.

use std::io::{self, Write};

use crate::declaration::MetricDeclaration;
use crate::{openmetrics, text_format};

/// So many bytes of text are collected, then written.
pub(crate) const PART_BYTES: usize = 16 << 10;

/// A format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// Takes the samples of one metric.
pub struct Samples<'a> {
    declared: MetricDeclaration,
    /// Whether there was a sample.
    is_begun: bool,
    written: io::Result<()>,
    /// Labels of every sample.
    labels: &'a [(&'a str, &'a str)],
    format: Format,
    /// What is not written yet.
    text: &'a mut String,
    out: &'a mut dyn Write,
}

impl<'a> Samples<'a> {
    /// `labels` are those of every sample, `text` is a buffer.
    pub(crate) fn new(
        declared: MetricDeclaration,
        labels: &'a [(&'a str, &'a str)],
        format: Format,
        text: &'a mut String,
        out: &'a mut dyn Write,
    ) -> Self {
        text.clear();
        Self {
            declared,
            is_begun: false,
            written: Ok(()),
            labels,
            format,
            text,
            out,
        }
    }

    /// Adds one sample. `values` are those of the declared labels; surplus on either side is
    /// left out.
    pub fn add(&mut self, values: &[&str], value: f64) {
        let declared = &self.declared;
        debug_assert_eq!(declared.labels.len(), values.len(), "{}", declared.name);
        if !self.is_begun {
            self.is_begun = true;
            match self.format {
                Format::OpenMetrics => openmetrics::write_header(self.text, declared),
                Format::Text => text_format::write_header(self.text, declared),
            }
        }
        self.text.push_str(declared.name);
        let own = declared.labels.iter().zip(values);
        let own = own.map(|(name, value)| (*name, *value));
        let mut separator = "{";
        for (name, value) in own.chain(self.labels.iter().copied()) {
            push(self.text, &[separator, name, "=\""]);
            escape(self.text, value, true);
            self.text.push('"');
            separator = ",";
        }
        self.text
            .push_str(if separator == "{" { " " } else { "} " });
        match self.format {
            Format::OpenMetrics => openmetrics::write_value(self.text, value),
            Format::Text => text_format::write_value(self.text, value),
        }
        self.text.push('\n');
        if self.text.len() >= PART_BYTES {
            self.write_part();
        }
    }

    fn write_part(&mut self) {
        if self.written.is_ok() {
            self.written = self.out.write_all(self.text.as_bytes());
        }
        self.text.clear();
    }

    /// Writes what is left.
    ///
    /// Errors: those of the writer.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.write_part();
        self.written
    }
}

pub(crate) fn push(out: &mut String, parts: &[&str]) {
    for part in parts {
        out.push_str(part);
    }
}

/// Escapes a label's value or a help text, with or without its quotes.
pub(crate) fn escape(out: &mut String, text: &str, quotes: bool) {
    let is_special = |byte| matches!(byte, b'\\' | b'\n') || (quotes && byte == b'"');
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

/// The integer that a value is, if it is one that can be written as such. Most values are counts,
/// which are faster to write as integers.
pub(crate) fn as_integer(value: f64) -> Option<i64> {
    (value.fract() == 0.0 && value.abs() < 1e15).then_some(value as i64)
}

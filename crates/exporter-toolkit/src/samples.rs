//! The samples of a scrape on their way to the writer: a part of one metric at a time.

use std::io::{self, Write};

use crate::declaration::MetricDeclaration;
use crate::openmetrics;
use crate::text_format::FamilyPart;

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
    /// What is not encoded yet in the text format. OpenMetrics is written at once.
    part: Option<FamilyPart>,
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
            part: (format == Format::Text).then(|| FamilyPart::new(&declared)),
            declared,
            is_begun: false,
            written: Ok(()),
            labels,
            text,
            out,
        }
    }

    /// Adds one sample. `values` are those of the declared labels; surplus on either side is
    /// left out.
    pub fn add(&mut self, values: &[&str], value: f64) {
        let declared = &self.declared;
        debug_assert_eq!(declared.labels.len(), values.len(), "{}", declared.name);
        if let Some(part) = &mut self.part {
            if part.add(declared, self.labels, values, value) {
                self.write_part();
            }
            return;
        }
        if !self.is_begun {
            self.is_begun = true;
            openmetrics::write_header(self.text, declared);
        }
        self.text.push_str(declared.name);
        let own = declared.labels.iter().zip(values);
        let own = own.map(|(name, value)| (*name, *value));
        let mut separator = "{";
        for (name, value) in own.chain(self.labels.iter().copied()) {
            openmetrics::push(self.text, &[separator, name, "=\""]);
            openmetrics::escape(self.text, value);
            self.text.push('"');
            separator = ",";
        }
        self.text
            .push_str(if separator == "{" { " " } else { "} " });
        openmetrics::write_value(self.text, value);
        self.text.push('\n');
        if self.text.len() >= PART_BYTES {
            self.write_part();
        }
    }

    fn write_part(&mut self) {
        if self.written.is_ok() {
            self.written = self.try_write_part();
        }
        self.text.clear();
    }

    fn try_write_part(&mut self) -> io::Result<()> {
        if let Some(part) = &mut self.part {
            part.encode(self.text).map_err(io::Error::other)?;
        }
        self.out.write_all(self.text.as_bytes())
    }

    /// Writes what is left.
    ///
    /// Errors: those of the writer.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.write_part();
        self.written
    }
}

//! The samples of a scrape on their way to the writer: a part of one metric at a time.

use std::io::Write;
use std::slice;

use prometheus::TextEncoder;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use crate::declaration::{MetricDeclaration, MetricKind};
use crate::openmetrics;

/// So many samples are built, then written. A metric may have a million.
pub(crate) const PART: usize = 256;

/// A format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// The family of a metric, without a sample.
pub(crate) fn family(declared: &MetricDeclaration) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(declared.name.to_owned());
    family.set_help(declared.help.to_owned());
    family.set_field_type(match declared.kind {
        MetricKind::Gauge => MetricType::GAUGE,
        MetricKind::Counter => MetricType::COUNTER,
    });
    family
}

/// Takes the samples of one metric.
pub struct Samples<'a> {
    declared: MetricDeclaration,
    /// The part that is being built. Its metrics are used again for the next part.
    family: MetricFamily,
    /// How many metrics of the part are built.
    built: usize,
    /// Whether a part was written.
    is_begun: bool,
    written: prometheus::Result<()>,
    /// Labels of every sample.
    labels: &'a [(&'a str, &'a str)],
    format: Format,
    /// A buffer.
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
        Self {
            family: family(&declared),
            declared,
            built: 0,
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
        if self.built == self.family.get_metric().len() {
            let metric = self.new_metric(values.len());
            self.family.mut_metric().push(metric);
        }
        let metric = &mut self.family.mut_metric()[self.built];
        for (pair, value) in metric.mut_label().iter_mut().zip(values) {
            pair.set_value((*value).to_owned());
        }
        match self.declared.kind {
            MetricKind::Gauge => {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
            MetricKind::Counter => {
                let mut counter = Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            }
        }
        self.built += 1;
        if self.built == PART {
            self.write_part();
        }
    }

    /// With the first `values` of the declared labels, and those of every sample.
    fn new_metric(&self, values: usize) -> Metric {
        let declared = self.declared.labels.iter().take(values);
        let declared = declared.map(|name| (*name, ""));
        let labels = declared.chain(self.labels.iter().copied());
        let pairs = labels.map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.to_owned());
            pair.set_value(value.to_owned());
            pair
        });
        Metric::from_label(pairs.collect())
    }

    fn write_part(&mut self) {
        if self.written.is_ok() {
            self.written = self.try_write_part();
        }
        self.built = 0;
        self.is_begun = true;
    }

    fn try_write_part(&mut self) -> prometheus::Result<()> {
        self.text.clear();
        match self.format {
            Format::OpenMetrics => {
                if !self.is_begun {
                    openmetrics::encode_header(self.text, &self.family);
                }
                openmetrics::encode_samples(self.text, &self.family);
                self.out.write_all(self.text.as_bytes())?;
            }
            Format::Text => {
                if self.is_begun {
                    self.family.set_help(String::new());
                }
                TextEncoder::new().encode_utf8(slice::from_ref(&self.family), self.text)?;
                // Without a help text the header is one line, and it is written already.
                let header = match self.is_begun {
                    true => self.text.find('\n').map_or(0, |end| end + 1),
                    false => 0,
                };
                self.out.write_all(&self.text.as_bytes()[header..])?;
            }
        }
        Ok(())
    }

    /// Writes what is left.
    ///
    /// Errors: those of the writer.
    pub(crate) fn finish(mut self) -> prometheus::Result<()> {
        if self.built > 0 {
            let built = self.built;
            self.family.mut_metric().truncate(built);
            self.write_part();
        }
        self.written
    }
}

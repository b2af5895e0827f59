//! The text format 0.0.4, with the encoder of the crate `prometheus`.

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Result, TextEncoder};

use crate::declaration::{MetricDeclaration, MetricKind};

/// So many samples are built, then encoded. A metric may have a million.
pub(crate) const PART: usize = 256;

/// The samples of a metric that are not encoded yet.
pub(crate) struct FamilyPart {
    /// Its metrics are used again for the next part.
    family: MetricFamily,
    /// How many of them are built.
    built: usize,
    /// Whether a part was encoded.
    is_begun: bool,
}

impl FamilyPart {
    /// Without a sample.
    pub(crate) fn new(declared: &MetricDeclaration) -> Self {
        Self {
            family: family(declared),
            built: 0,
            is_begun: false,
        }
    }

    /// Adds one sample with the labels of every sample, and says whether the part is full.
    pub(crate) fn add(
        &mut self,
        declared: &MetricDeclaration,
        labels: &[(&str, &str)],
        values: &[&str],
        value: f64,
    ) -> bool {
        if self.built == self.family.get_metric().len() {
            let own = declared
                .labels
                .iter()
                .zip(values)
                .map(|(name, _)| (*name, ""));
            let metric = metric(own.chain(labels.iter().copied()));
            self.family.mut_metric().push(metric);
        }
        let metric = &mut self.family.mut_metric()[self.built];
        for (pair, value) in metric.mut_label().iter_mut().zip(values) {
            pair.set_value((*value).to_owned());
        }
        match declared.kind {
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
        self.built == PART
    }

    /// Encodes the part, which is empty then.
    ///
    /// Errors: those of the encoder.
    pub(crate) fn encode(&mut self, out: &mut String) -> Result<()> {
        if self.built == 0 {
            return Ok(());
        }
        self.family.mut_metric().truncate(self.built);
        self.built = 0;
        if !self.is_begun {
            self.is_begun = true;
            return TextEncoder::new().encode_utf8(std::slice::from_ref(&self.family), out);
        }
        // Without a help text the header is one line, and it is written already.
        self.family.set_help(String::new());
        let mut text = String::new();
        TextEncoder::new().encode_utf8(std::slice::from_ref(&self.family), &mut text)?;
        out.push_str(text.split_once('\n').map_or("", |(_, samples)| samples));
        Ok(())
    }
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

/// A sample with these labels, without a value.
pub(crate) fn metric<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> Metric {
    let pairs = labels.map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    });
    Metric::from_label(pairs.collect())
}

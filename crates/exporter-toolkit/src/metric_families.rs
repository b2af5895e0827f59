//! Metrics declared once, with name, help and labels in one place. The samples of a scrape are
//! produced while they are encoded, so that they never exist all at once.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};

use crate::openmetrics;
use crate::samples::{Format, Samples};

pub use crate::declaration::{MetricDeclaration, MetricKind};

/// Produces the samples of one family.
type Source<'a> = Box<dyn FnOnce(&mut Samples<'_>) + 'a>;

/// The metrics of one scrape, and where their samples come from.
#[derive(Default)]
pub struct MetricFamilies<'a> {
    by_name: BTreeMap<&'static str, (MetricDeclaration, Source<'a>)>,
    labels: Vec<(&'a str, &'a str)>,
}

impl fmt::Debug for MetricFamilies<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.by_name.keys()).finish()
    }
}

impl<'a> MetricFamilies<'a> {
    /// Adds a metric. `source` is called once, when its turn to be encoded has come; without
    /// samples the metric is left out.
    pub fn add(
        &mut self,
        declared: &MetricDeclaration,
        source: impl FnOnce(&mut Samples<'_>) + 'a,
    ) {
        let former = self
            .by_name
            .insert(declared.name, (*declared, Box::new(source)));
        debug_assert!(former.is_none(), "{} is there twice", declared.name);
    }

    /// Adds a metric without labels.
    pub fn add_value(&mut self, declared: &MetricDeclaration, value: f64) {
        self.add(declared, move |out| out.add(&[], value));
    }

    /// The same, with these labels on every sample.
    #[must_use]
    pub fn with_labels(mut self, labels: &'a BTreeMap<String, String>) -> Self {
        let labels = labels.iter();
        self.labels
            .extend(labels.map(|(name, value)| (name.as_str(), value.as_str())));
        self
    }

    /// Writes all metrics, sorted by name.
    ///
    /// Errors: those of the writer.
    pub(crate) fn write(self, format: Format, out: &mut dyn Write) -> io::Result<()> {
        let mut text = String::new();
        for (declared, source) in self.by_name.into_values() {
            let mut samples = Samples::new(declared, &self.labels, format, &mut text, &mut *out);
            source(&mut samples);
            samples.finish()?;
        }
        if format == Format::OpenMetrics {
            out.write_all(openmetrics::END.as_bytes())?;
        }
        Ok(())
    }
}

/// Declares metrics as constants, and lists them all in `ALL`. A word in brackets behind the
/// type is the group of the metric.
#[macro_export]
macro_rules! declare_metrics {
    ($($ident:ident: $ctor:ident $([$group:ident])? $name:literal $labels:expr, $help:literal;)*) => {
        $(const $ident: $crate::metric_families::MetricDeclaration =
            $crate::metric_families::MetricDeclaration::$ctor($name, $labels, $help)
                $(.in_group(stringify!($group)))?;)*
        /// Every metric declared here.
        pub const ALL: &[$crate::metric_families::MetricDeclaration] = &[$($ident),*];
    };
}

#[cfg(test)]
mod tests;

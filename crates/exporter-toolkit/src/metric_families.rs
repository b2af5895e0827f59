//! Metrics declared once, with name, help and labels in one place, and filled per scrape.

use std::collections::BTreeMap;

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Goes up and down.
    Gauge,
    /// Only goes up while the process lives; its name ends in `_total`.
    Counter,
}

/// The declaration of a metric.
#[derive(Clone, Copy, Debug)]
pub struct MetricDeclaration {
    /// Full name.
    pub name: &'static str,
    /// The HELP text.
    pub help: &'static str,
    /// Gauge or counter.
    pub kind: MetricKind,
    /// Label names, in the order in which [`MetricFamilies::add`] takes their values.
    pub labels: &'static [&'static str],
}

impl MetricDeclaration {
    /// A gauge.
    pub const fn gauge(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self {
            name,
            help,
            kind: MetricKind::Gauge,
            labels,
        }
    }

    /// A counter.
    pub const fn counter(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self {
            name,
            help,
            kind: MetricKind::Counter,
            labels,
        }
    }
}

/// The samples of one scrape. Built anew each time, so what is gone leaves nothing behind.
#[derive(Debug, Default)]
pub struct MetricFamilies {
    by_name: BTreeMap<&'static str, MetricFamily>,
}

impl MetricFamilies {
    /// Adds one sample. `values` are those of the declared labels; surplus on either side
    /// is left out.
    pub fn add(&mut self, declared: &MetricDeclaration, values: &[&str], value: f64) {
        debug_assert_eq!(declared.labels.len(), values.len(), "{}", declared.name);
        let family = self.by_name.entry(declared.name).or_insert_with(|| {
            let mut family = MetricFamily::default();
            family.set_name(declared.name.to_owned());
            family.set_help(declared.help.to_owned());
            family.set_field_type(match declared.kind {
                MetricKind::Gauge => MetricType::GAUGE,
                MetricKind::Counter => MetricType::COUNTER,
            });
            family
        });
        let labels = declared.labels.iter().zip(values).map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        let mut metric = Metric::from_label(labels.collect());
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
        family.mut_metric().push(metric);
    }

    /// The same, with these labels on every sample.
    #[must_use]
    pub fn with_labels(mut self, labels: &BTreeMap<String, String>) -> Self {
        if labels.is_empty() {
            return self;
        }
        let pairs: Vec<LabelPair> = labels
            .iter()
            .map(|(name, value)| {
                let mut pair = LabelPair::default();
                pair.set_name(name.clone());
                pair.set_value(value.clone());
                pair
            })
            .collect();
        for family in self.by_name.values_mut() {
            for metric in family.mut_metric() {
                let mut all = metric.take_label();
                all.extend(pairs.iter().cloned());
                metric.set_label(all);
            }
        }
        self
    }

    /// The families, sorted by name; none is empty.
    pub fn into_vec(self) -> Vec<MetricFamily> {
        self.by_name.into_values().collect()
    }
}

/// Declares metrics as constants, and lists them all in `ALL`.
#[macro_export]
macro_rules! declare_metrics {
    ($($ident:ident: $ctor:ident $name:literal $labels:expr, $help:literal;)*) => {
        $(const $ident: $crate::metric_families::MetricDeclaration =
            $crate::metric_families::MetricDeclaration::$ctor($name, $labels, $help);)*
        /// Every metric declared here.
        pub const ALL: &[$crate::metric_families::MetricDeclaration] = &[$($ident),*];
    };
}

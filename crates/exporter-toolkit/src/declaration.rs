//! What is known of a metric before any sample.

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
    /// Label names, in the order in which [`Samples::add`](crate::samples::Samples::add) takes their values.
    pub labels: &'static [&'static str],
    /// The group of metrics that it is shown with; `None`: always.
    pub group: Option<&'static str>,
}

impl MetricDeclaration {
    const fn new(
        kind: MetricKind,
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self {
            name,
            help,
            kind,
            labels,
            group: None,
        }
    }

    /// A gauge.
    pub const fn gauge(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self::new(MetricKind::Gauge, name, labels, help)
    }

    /// A counter.
    pub const fn counter(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self::new(MetricKind::Counter, name, labels, help)
    }

    /// The same in a group of metrics.
    #[must_use]
    pub const fn in_group(self, group: &'static str) -> Self {
        Self {
            group: Some(group),
            ..self
        }
    }
}

use std::io;

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily};
use prometheus::{Encoder, TextEncoder};
use proptest::prelude::*;

use super::*;
use crate::samples::{PART, family};

const FILES: MetricDeclaration =
    MetricDeclaration::gauge("app_files", &["folder", "kind"], "Files\nof \\ a folder.");
const RUNS: MetricDeclaration = MetricDeclaration::counter("app_runs_total", &[], "Runs.");
const NONE: MetricDeclaration = MetricDeclaration::gauge("app_none", &[], "Has no sample.");

type FileSamples = Vec<(String, String, f64)>;

fn families<'a>(
    samples: &'a FileSamples,
    labels: &'a BTreeMap<String, String>,
) -> MetricFamilies<'a> {
    let mut families = MetricFamilies::default();
    families.add_value(&RUNS, 3.0);
    families.add(&NONE, |_| {});
    families.add(&FILES, move |out| {
        for (folder, kind, value) in samples {
            out.add(&[folder, kind], *value);
        }
    });
    families.with_labels(labels)
}

/// The same with the encoder of the crate, everything at once.
fn at_once(samples: &FileSamples, labels: &BTreeMap<String, String>) -> Vec<MetricFamily> {
    let metric = |own: &[(&str, &str)]| {
        let labels = labels.iter();
        let all = own
            .iter()
            .copied()
            .chain(labels.map(|(name, value)| (name.as_str(), value.as_str())));
        let pairs = all.map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.to_owned());
            pair.set_value(value.to_owned());
            pair
        });
        Metric::from_label(pairs.collect())
    };
    let mut files = family(&FILES);
    for (folder, kind, value) in samples {
        let mut metric = metric(&[("folder", folder), ("kind", kind)]);
        let mut gauge = Gauge::default();
        gauge.set_value(*value);
        metric.set_gauge(gauge);
        files.mut_metric().push(metric);
    }
    let mut runs = family(&RUNS);
    let mut run = metric(&[]);
    let mut counter = Counter::default();
    counter.set_value(3.0);
    run.set_counter(counter);
    runs.mut_metric().push(run);
    let families = [files, runs].into_iter();
    families
        .filter(|family| !family.get_metric().is_empty())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However many parts there are, and whatever the labels hold.
    #[test]
    fn parts_are_the_same_as_everything_at_once(
        count in prop_oneof![0..3_usize, PART - 1..PART + 2, 2 * PART..2 * PART + 2],
        words in proptest::collection::vec(any::<String>(), 5),
        number in any::<f64>(),
        labels in proptest::collection::btree_map("[a-z]{1,5}", any::<String>(), 0..3),
    ) {
        let samples: FileSamples = (0..count)
            .map(|n| (words[n % 5].clone(), words[n % 3].clone(), if n % 2 == 0 { n as f64 } else { number }))
            .collect();
        let whole = at_once(&samples, &labels);
        let mut expected = Vec::new();
        TextEncoder::new().encode(&whole, &mut expected).unwrap();
        let mut written = Vec::new();
        families(&samples, &labels).write(Format::Text, &mut written).unwrap();
        prop_assert_eq!(String::from_utf8(written), String::from_utf8(expected));

        let mut expected = String::new();
        for family in &whole {
            openmetrics::encode_header(&mut expected, family);
            openmetrics::encode_samples(&mut expected, family);
        }
        expected.push_str(openmetrics::END);
        let mut written = Vec::new();
        families(&samples, &labels).write(Format::OpenMetrics, &mut written).unwrap();
        prop_assert_eq!(String::from_utf8(written), Ok(expected));
    }
}

/// Takes some bytes, then no more.
struct SmallDisk(usize);

impl Write for SmallDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0 -= bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_error_of_the_writer_is_told() {
    let samples: FileSamples = (0..3 * PART)
        .map(|n| (n.to_string(), String::new(), 1.0))
        .collect();
    let labels = BTreeMap::new();
    let mut whole = Vec::new();
    families(&samples, &labels)
        .write(Format::Text, &mut whole)
        .unwrap();
    for bytes in [0, whole.len() / 2, whole.len() - 1] {
        let written = families(&samples, &labels).write(Format::Text, &mut SmallDisk(bytes));
        assert!(written.is_err(), "{bytes}");
    }
    let written = families(&samples, &labels).write(Format::Text, &mut SmallDisk(whole.len()));
    assert!(written.is_ok());
}

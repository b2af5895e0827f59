use std::io;

use prometheus::proto::{Counter, Gauge, MetricFamily};
use prometheus::{Encoder, TextEncoder};
use proptest::prelude::*;

use super::*;
use crate::samples::PART_BYTES;
use crate::text_format::{PART, family, metric};

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

/// A line of a sample is longer than this.
const LINE_BYTES: usize = 20;
/// These samples do not fit into one part.
const MANY: usize = PART_BYTES / LINE_BYTES;

/// The lines of samples, without their values.
fn names_and_labels(text: &str) -> Vec<&str> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| line.rsplit_once(' ').unwrap().0)
        .collect()
}

/// The same for the encoder of the crate `prometheus`.
fn at_once(samples: &FileSamples, labels: &BTreeMap<String, String>) -> Vec<MetricFamily> {
    let metric = |own: &[(&str, &str)]| {
        let labels = labels.iter();
        let labels = labels.map(|(name, value)| (name.as_str(), value.as_str()));
        metric(own.iter().copied().chain(labels))
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

    /// However many there are, and whatever the labels hold. -0.0 may be written as 0.
    #[test]
    fn text_is_that_of_the_crate_prometheus(
        count in prop_oneof![4 => 0..3_usize, 1 => PART - 1..PART + 2, 1 => Just(MANY)],
        words in proptest::collection::vec(any::<String>(), 5),
        number in any::<f64>(),
        labels in proptest::collection::btree_map("[a-z]{1,5}", any::<String>(), 0..3),
    ) {
        let samples: FileSamples = (0..count)
            .map(|n| (words[n % 5].clone(), words[n % 3].clone(), if n % 2 == 0 { n as f64 } else { number + 0.0 }))
            .collect();
        let whole = at_once(&samples, &labels);
        let mut expected = Vec::new();
        TextEncoder::new().encode(&whole, &mut expected).unwrap();
        let mut written = Vec::new();
        families(&samples, &labels).write(Format::Text, &mut written).unwrap();
        let text = String::from_utf8(written).unwrap();
        prop_assert_eq!(&text, &String::from_utf8(expected).unwrap());

        let mut written = Vec::new();
        families(&samples, &labels).write(Format::OpenMetrics, &mut written).unwrap();
        let openmetrics = String::from_utf8(written).unwrap();
        prop_assert_eq!(names_and_labels(&openmetrics), names_and_labels(&text));
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
    let samples: FileSamples = (0..3 * MANY)
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

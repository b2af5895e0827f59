use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

use clock::Clock;

use super::*;
use crate::exposition::{Format, encode};

#[test]
fn every_metric_of_this_process() {
    let scrape = || -> BTreeMap<String, f64> {
        let mut out = MetricFamilies::default();
        add(&mut out);
        let text = encode(out, Format::Text, false).unwrap();
        let text = String::from_utf8(text).unwrap();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples
            .map(|line| line.split_once(' ').unwrap())
            .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
            .collect()
    };
    let before = scrape();
    let names: Vec<&str> = before.keys().map(String::as_str).collect();
    let mut declared: Vec<&str> = ALL.iter().map(|metric| metric.name).collect();
    declared.sort_unstable();
    assert_eq!(names, declared);
    let files: Vec<_> = (0..5)
        .map(|_| std::fs::File::open("/proc/self/stat"))
        .collect();
    let mut count = 0_u64;
    while scrape()["process_cpu_seconds_total"] == before["process_cpu_seconds_total"] {
        count += 1;
        assert!(count < 10_000_000, "processor time never grows");
    }
    let after = scrape();
    assert!(after["process_open_fds"] >= 5.0);
    assert!(after["process_max_fds"] >= after["process_open_fds"]);
    assert!(after["process_threads"] >= 1.0);
    assert!(after["process_resident_memory_bytes"] > 1e5);
    assert!(after["process_virtual_memory_bytes"] >= after["process_resident_memory_bytes"]);
    assert_eq!(
        after["process_start_time_seconds"].to_bits(),
        before["process_start_time_seconds"].to_bits()
    );
    let now = Clock::system().wall().duration_since(UNIX_EPOCH).unwrap();
    let age = now.as_secs_f64() - after["process_start_time_seconds"];
    assert!((-2.0..86_400.0).contains(&age), "{age}");
    drop(files);
}

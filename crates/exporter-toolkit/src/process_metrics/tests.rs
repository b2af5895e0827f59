use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

use clock::Clock;

use super::*;

#[test]
fn every_metric_of_this_process() {
    let scrape = || -> BTreeMap<String, f64> {
        let mut out = MetricFamilies::default();
        add(&mut out);
        let families = out.into_vec().into_iter();
        let value = |family: &prometheus::proto::MetricFamily| {
            let metric = &family.get_metric()[0];
            metric.get_counter().get_value() + metric.get_gauge().get_value()
        };
        families
            .map(|family| (family.name().to_owned(), value(&family)))
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

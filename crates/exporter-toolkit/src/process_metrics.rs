//! `process_*`: what this process uses, under the names of the official client libraries.

use std::sync::OnceLock;

use procfs::ProcResult;
use procfs::process::{LimitValue, Process};

use crate::declare_metrics;
use crate::metric_families::MetricFamilies;

declare_metrics! {
    CPU: counter "process_cpu_seconds_total" &[],
        "Processor time used, in user and system mode.";
    RESIDENT: gauge "process_resident_memory_bytes" &[],
        "Resident memory.";
    VIRTUAL: gauge "process_virtual_memory_bytes" &[],
        "Virtual memory.";
    START: gauge "process_start_time_seconds" &[],
        "When the process started, as Unix time.";
    OPEN_FDS: gauge "process_open_fds" &[],
        "Open file descriptors.";
    MAX_FDS: gauge "process_max_fds" &[],
        "How many file descriptors may be open.";
    THREADS: gauge "process_threads" &[],
        "Threads.";
}

/// Adds the metrics of this process, as far as `/proc` can be read.
pub fn add(out: &mut MetricFamilies<'_>) {
    if let Err(error) = try_add(out) {
        tracing::debug!(%error, "failed to read /proc/self");
    }
}

fn try_add(out: &mut MetricFamilies<'_>) -> ProcResult<()> {
    let process = Process::myself()?;
    let stat = process.stat()?;
    let ticks = procfs::ticks_per_second() as f64;
    out.add_value(&CPU, (stat.utime + stat.stime) as f64 / ticks);
    out.add_value(&RESIDENT, (stat.rss * procfs::page_size()) as f64);
    out.add_value(&VIRTUAL, stat.vsize as f64);
    out.add_value(&THREADS, stat.num_threads as f64);
    out.add_value(&OPEN_FDS, process.fd_count()? as f64);
    let max = match process.limits()?.max_open_files.soft_limit {
        LimitValue::Value(max) => max,
        LimitValue::Unlimited => u64::MAX,
    };
    out.add_value(&MAX_FDS, max as f64);
    // Kept, because the boot time moves when the wall clock is set.
    static START_TIME: OnceLock<f64> = OnceLock::new();
    let start = match START_TIME.get() {
        Some(start) => *start,
        None => {
            let start = procfs::boot_time_secs()? as f64 + stat.starttime as f64 / ticks;
            *START_TIME.get_or_init(|| start)
        }
    };
    out.add_value(&START, start);
    Ok(())
}

#[cfg(test)]
mod tests;

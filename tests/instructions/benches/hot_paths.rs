//! The time of each hot path: `make bench-hot-paths`. On a busy machine compare instructions
//! instead (`tests/instructions/check.sh`).
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::PathBuf;
use std::sync::OnceLock;

use instructions::{PATHS, hot_path, make_ready};

static READY: OnceLock<PathBuf> = OnceLock::new();

fn main() {
    let dir = tempfile::tempdir().unwrap();
    make_ready(dir.path());
    READY.set(dir.path().to_owned()).unwrap();
    divan::main();
}

#[divan::bench(args = PATHS, sample_size = 1)]
fn path(bencher: divan::Bencher, name: &str) {
    let run = hot_path(name, READY.get().unwrap());
    bencher.bench_local(run);
}

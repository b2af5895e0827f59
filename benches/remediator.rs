//! What the remediator's disk work costs, beside the least that the disk asks for it: moving
//! files durably, and accepting alerts durably.
//!
//! `make bench-remediator` runs it, writes the tables into docs/performance.md and draws
//! docs/plots/moves.svg.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs
)]

#[path = "../tests/fleet/mod.rs"]
mod fleet;
#[path = "shared/plot.rs"]
mod plot;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use baileys_exporter::folder::scan::stat;
use baileys_exporter::folder::{FileName, FolderPath, Timestamp};
use baileys_exporter::policy::{CleanupMode, Move, Plan};
use baileys_exporter::remediator::quarantine::{LockedFolder, QuarantineName};
use fleet::{Fleet, name, payload};
use plot::Line;
use rustix::fs::RenameFlags;
use testkit::net;
use testkit::performance::write_table;
use testkit::world::TOKEN;

/// Numbers of files.
const MOVED: [usize; 5] = [100, 300, 1_000, 3_000, 10_000];
const PAIRS: usize = 15;
/// Each post is about a session of its own, so that each needs a commit of its own.
const POSTS: usize = 2_000;
const RATE: usize = 200;
const POSTERS: usize = 32;

fn main() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-remediator");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    let mut table = moves(&dir);
    table += "\n";
    table += &posts(&dir);
    println!("{table}");
    write_table("make bench-remediator", &table);
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// Pairs of a clean-up and the bare calls, one after the other, each in a folder of its own.
fn moves(dir: &Path) -> String {
    let mut table = format!(
        "Moving files of a folder into a quarantine, medians of {PAIRS} pairs. The bare calls are `renameat2` of each and `fsync` of both directories; a clean-up also locks the folder, and writes its plan and its result:\n\n| files | the bare calls, ms | a clean-up, ms | ratio |\n|---|---|---|---|\n"
    );
    let mut lines = ["the bare calls", "a clean-up"].map(|name| Line {
        name: name.to_owned(),
        points: Vec::new(),
    });
    for files in MOVED {
        let (mut ours, mut bare, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for pair in 0..PAIRS {
            let at = bare_moves(&dir.join(format!("bare-{files}-{pair}")), files);
            let own = cleanup(&dir.join(format!("own-{files}-{pair}")), files);
            ratios.push(own / at);
            bare.push(at);
            ours.push(own);
        }
        let (bare, ours) = (median(bare), median(ours));
        writeln!(
            table,
            "| {files} | {:.1} | {:.1} | {:.2} |",
            bare * 1e3,
            ours * 1e3,
            median(ratios)
        )
        .unwrap();
        for (line, took) in lines.iter_mut().zip([bare, ours]) {
            line.points.push((files as f64, took));
        }
    }
    plot::growth(
        "moves.svg",
        "Moving files into a quarantine",
        "files",
        "seconds",
        &lines,
    );
    table
}

/// A folder whose files are on disk.
fn folder(path: &Path, files: usize) -> FolderPath {
    fs::create_dir_all(path).unwrap();
    fs::write(path.join("creds.json"), "{}").unwrap();
    for id in 0..files {
        fs::write(path.join(format!("session-{id}.0.json")), "{}").unwrap();
    }
    rustix::fs::sync();
    let path = path.canonicalize().unwrap();
    FolderPath {
        parent: path.parent().unwrap().to_owned(),
        name: path.file_name().unwrap().to_owned(),
    }
}

fn bare_moves(path: &Path, files: usize) -> f64 {
    folder(path, files);
    let names: Vec<String> = (0..files)
        .map(|id| format!("session-{id}.0.json"))
        .collect();
    let began = Instant::now();
    fs::create_dir(path.join("moved")).unwrap();
    let (from, to) = (
        File::open(path).unwrap(),
        File::open(path.join("moved")).unwrap(),
    );
    for name in &names {
        rustix::fs::renameat_with(&from, name, &to, name, RenameFlags::NOREPLACE).unwrap();
    }
    to.sync_all().unwrap();
    from.sync_all().unwrap();
    began.elapsed().as_secs_f64()
}

fn cleanup(path: &Path, files: usize) -> f64 {
    let place = folder(path, files);
    let fd = place.open().unwrap();
    let planned = |id: usize| {
        let name = FileName::new(format!("session-{id}.0.json"));
        let (_, stamp) = stat(fd.as_fd(), name.as_os_str()).unwrap().unwrap();
        Move { name, stamp }
    };
    let plan = Plan {
        mode: CleanupMode::Cleanup,
        moves: (0..files).map(planned).collect(),
        accumulated_before: files,
        accumulated_after: 0,
        pre_keys_left: 0,
        left_out: Default::default(),
    };
    let now = Timestamp::from_secs(1_800_000_000);
    let began = Instant::now();
    let folder = LockedFolder::lock(&place).unwrap();
    let prepared = folder
        .prepare(&plan, QuarantineName::new(now), now, 1 << 30)
        .unwrap();
    folder.confirm_moves();
    prepared.execute(now).unwrap().unwrap();
    let took = began.elapsed().as_secs_f64();
    assert!(!path.join("session-1.0.json").exists());
    took
}

/// Commits of SQLite on this disk, with the settings of the journal; of one row each.
fn commits(dir: &Path) -> f64 {
    let db = rusqlite::Connection::open(dir.join("commits.sqlite")).unwrap();
    db.pragma_update(None, "journal_mode", "TRUNCATE").unwrap();
    db.pragma_update(None, "synchronous", "FULL").unwrap();
    db.execute_batch("CREATE TABLE alert (session TEXT PRIMARY KEY, labels TEXT) STRICT")
        .unwrap();
    let labels = fleet::labels("bot").to_string();
    let began = Instant::now();
    for index in 0..POSTS {
        db.execute("INSERT INTO alert VALUES (?1, ?2)", (name(index), &labels))
            .unwrap();
    }
    POSTS as f64 / began.elapsed().as_secs_f64()
}

/// Seconds until each post was answered with 202, if one begins every `interval` or as soon as
/// one before has ended.
fn latencies(fleet: &Fleet, interval: Option<Duration>) -> (Vec<f64>, f64) {
    let (next, began) = (AtomicUsize::new(0), Instant::now());
    let url = fleet.url("/webhook");
    let headers = [("Authorization".to_owned(), format!("Bearer {TOKEN}"))];
    let poster = || {
        let mut took = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= POSTS {
                return took;
            }
            let body = payload(&[name(index)]).to_string();
            // Late begins count: what waits for a poster waits for the remediator.
            let due = interval.map(|interval| began + interval * index as u32);
            if let Some(due) = due {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            let due = due.unwrap_or_else(Instant::now);
            let answer = net::post(&url, &headers, body.as_bytes()).unwrap();
            assert_eq!(answer.status, 202, "{}", answer.body);
            took.push(due.elapsed().as_secs_f64());
        }
    };
    let all = std::thread::scope(|scope| {
        let posters: Vec<_> = (0..POSTERS).map(|_| scope.spawn(poster)).collect();
        let took = posters.into_iter().map(|poster| poster.join().unwrap());
        took.flatten().collect()
    });
    (all, POSTS as f64 / began.elapsed().as_secs_f64())
}

fn posts(dir: &Path) -> String {
    let mut table = format!(
        "{POSTS} posts, each about another session; the bots' API does not answer, so that nothing else is written:\n\n| | a second | ratio | median, ms | 99 %, ms |\n|---|---|---|---|---|\n"
    );
    let before = commits(&dir.join("."));
    let world = || {
        let mut fleet = Fleet::new(0, 0);
        for index in 0..POSTS {
            fleet::folder(&fleet.folder(&name(index)), 0);
        }
        fleet.probe.close_after(0);
        fleet.start();
        fleet
    };
    let mut rows = Vec::new();
    for (what, interval) in [
        (
            format!("webhook, {POSTERS} connections, as fast as it goes"),
            None,
        ),
        (
            format!("webhook, {RATE} requests a second"),
            Some(Duration::from_secs(1) / RATE as u32),
        ),
    ] {
        let mut fleet = world();
        let (mut took, rate) = latencies(&fleet, interval);
        fleet.kill();
        took.sort_by(f64::total_cmp);
        let at = |share: f64| took[(took.len() as f64 * share) as usize] * 1e3;
        rows.push((what, rate, at(0.5), at(0.99)));
    }
    fs::remove_file(dir.join("commits.sqlite")).unwrap();
    let floor = f64::midpoint(before, commits(dir));
    writeln!(
        table,
        "| SQLite alone, a row in each commit | {floor:.0} | 1.00 | | |"
    )
    .unwrap();
    for (what, rate, half, most) in rows {
        writeln!(
            table,
            "| {what} | {rate:.0} | {:.2} | {half:.1} | {most:.1} |",
            rate / floor
        )
        .unwrap();
    }
    table
}

//! The corpus of the fuzz targets, replayed: what once was found stays found. The bodies
//! are those that `make fuzz` runs; docs/fuzzing.md says what they hold.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../fuzz/bodies.rs"]
mod bodies;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

fn replay(target: &str, least: usize, body: fn(&[u8])) {
    let dir = corpus().join(target);
    let mut seen = 0;
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let held = std::panic::catch_unwind(|| body(&bytes));
        assert!(held.is_ok(), "{} does not hold", path.display());
        seen += 1;
    }
    assert!(seen >= least, "{target}: only {seen} inputs");
}

#[test]
fn webhook() {
    replay("webhook", 7, bodies::webhook);
}

#[test]
fn names() {
    replay("names", 20, bodies::names);
}

#[test]
fn session() {
    replay("session", 6, bodies::session);
}

#[test]
fn creds() {
    replay("creds", 9, bodies::creds);
}

#[test]
fn config() {
    replay("config", 20, bodies::config);
}

/// Every section of the configuration is among its inputs, in a file that is understood.
#[test]
fn the_corpus_knows_every_section() {
    let dir = corpus().join("config");
    let inputs = fs::read_dir(dir)
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()));
    let understood: Vec<String> = inputs
        .filter_map(Result::ok)
        .filter(|text| matches!(baileys_exporter::config::Settings::of_text(text), Ok(Ok(_))))
        .collect();
    let error = baileys_exporter::config::Settings::of_text("nope: 1").unwrap_err();
    let (_, known) = error.split_once("expected one of ").unwrap();
    let sections: Vec<&str> = known.split("; ").next().unwrap().split(", ").collect();
    assert!(
        sections.contains(&"processes") && sections.contains(&"overrides"),
        "{error}"
    );
    for section in sections {
        let begins = format!("{section}:");
        assert!(
            understood
                .iter()
                .any(|text| text.lines().any(|line| line.starts_with(&begins))),
            "no input with {section}"
        );
    }
}

#[test]
fn web_config() {
    replay("web_config", 8, bodies::web_config);
}

#[test]
fn logs() {
    replay("logs", 20, bodies::logs);
}

/// A target without a replay, or a corpus without a target, would be a hole.
#[test]
fn every_target_has_its_corpus() {
    let replayed = BTreeSet::from(
        [
            "webhook",
            "names",
            "session",
            "creds",
            "config",
            "web_config",
            "logs",
        ]
        .map(str::to_owned),
    );
    let stems = |dir: PathBuf| -> BTreeSet<String> {
        let names = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        names
            .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(stems(corpus()), replayed);
    assert_eq!(stems(corpus().with_file_name("fuzz_targets")), replayed);
}

#![allow(clippy::unwrap_used)]
use std::fs;
use std::time::SystemTime;

use clock::Clock;

use super::*;
use crate::app::App;
use crate::config::{CommonFlags, RemediatorFlags, Settings};
use crate::connection::Recent;
use crate::exporter::page::page;
use crate::exporter::snapshot::Collector;
use crate::page_links::{PageAddresses, PageLinks};
use crate::rules::RuleSettings;

/// Files that are rewritten in place do not show in a snapshot at once.
#[tokio::test]
async fn a_bot_that_writes_is_not_shown_as_disconnected_by_an_old_snapshot() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("sessions/bot");
    fs::create_dir_all(&folder).unwrap();
    let old = SystemTime::now() - Duration::from_secs(7200);
    for name in ["creds.json", "session-1.0.json"] {
        let path = folder.join(name);
        fs::write(&path, r#"{"noiseKey":{},"nextPreKeyId":31}"#).unwrap();
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(old).unwrap();
    }
    let config = root.path().join("config.yml");
    let sessions = root.path().join("sessions");
    let text = format!(
        "sessions: {{paths: [{sessions:?}]}}\nconnection: {{command: 'echo disconnected', trust: ['*']}}\n"
    );
    fs::write(&config, text).unwrap();
    let common = CommonFlags {
        config_file: Some(config),
        ..CommonFlags::default()
    };
    let settings = Settings::load(&common, &RemediatorFlags::default()).unwrap();
    let app = App::new(settings, Arc::new(Recent::default()), Clock::system());
    let snapshot = Collector::new(app.settings, Clock::system()).collect();
    let state = async || verdicts(&snapshot, &app.connection).await[0].state;
    assert_eq!(state().await, State::Disconnected);
    fs::write(folder.join("baileys_store.json"), "{}").unwrap();
    assert_eq!(state().await, State::Disconnected, "no key was written");
    fs::write(folder.join("session-1.0.json"), "{}").unwrap();
    assert_eq!(state().await, State::Unknown, "it has just written");
}

fn made(session: String, tier: Option<Tier>, connection: &'static str) -> SessionRow {
    SessionRow {
        session,
        files: Some(76),
        accumulated_files: Some(76),
        tier: Some(tier.map_or("normal", Tier::label)),
        removable_files: Some(4),
        pre_keys: Some(48),
        pre_key_batch: Some(30),
        pre_key_batch_ambiguous: Some(false),
        oldest_active_session_seconds: Some(90_000),
        connection,
        connection_evidence: vec!["probe: connected".into(), "writes: 3 s ago".into()],
        creds: Some("ok"),
        notes: Vec::new(),
        error: None,
        thresholds: [120, 150, 180, 200],
        rank: Rank::Tier(tier),
    }
}

/// What needs a person is shown in full, the rest is a row each.
#[test]
fn the_page_of_many_sessions_is_short() {
    let (addresses, rules) = (PageAddresses::default(), RuleSettings::default());
    let links = PageLinks::new(&addresses, &rules);
    let html = |rows: &[SessionRow]| page(rows, &[], Timestamp::from_secs(0), "/metrics", &links);
    let count = |page: &str, what: &str| page.matches(what).count();
    let bad = |n: usize| (0..n).map(|n| made(format!("bad_{n}"), Some(Tier::Cleanup), "unknown"));
    let good = |n: usize| (0..n).map(|n| made(format!("good_{n}"), None, "connected"));
    let one = std::iter::once(made("down".into(), None, "disconnected"));
    let rows: Vec<SessionRow> = bad(2).chain(one).chain(good(497)).collect();
    let shown = html(&rows);
    assert!(shown.contains("Need attention (3)"));
    assert_eq!(count(&shown, "<tr data-session="), 3);
    assert_eq!(count(&shown, "<tr data-find"), 500);
    assert!(
        shown.contains(r#"<details class="all"><summary>"#),
        "closed"
    );
    assert!(shown.len() < 300_000, "{}", shown.len());
    let rows: Vec<SessionRow> = bad(25).collect();
    let shown = html(&rows);
    assert_eq!(count(&shown, "<tr data-session="), 20);
    assert!(shown.contains("The 20 worst; 5 more are"));
    assert!(shown.contains(r#"<details class="all" open>"#));
    let rows: Vec<SessionRow> = good(2).collect();
    assert!(html(&rows).contains("Need attention (0)"));
}

/// What is not configured is no link and no column; a link of the page's own is relative.
#[test]
fn the_page_links_only_where_it_is_known_to_lead() {
    let rows = [made("bot".into(), Some(Tier::Cleanup), "unknown")];
    let html = |addresses: &PageAddresses| {
        let rules = RuleSettings::default();
        let links = PageLinks::new(addresses, &rules);
        page(&rows, &[], Timestamp::from_secs(0), "/metrics", &links)
    };
    let alone = html(&PageAddresses::default());
    assert_eq!(alone.matches("href=").count(), 1, "{alone}");
    assert!(alone.contains(r#"<a href="./metrics">Metrics</a>"#));
    assert!(alone.contains("<code>baileys_remediator plan SESSION</code>"));
    assert!(!alone.contains(">More</"));
    let linked = html(&PageAddresses {
        remediator: Some("https://bots.example.org/remediator".into()),
        ..PageAddresses::default()
    });
    let plan = r#"<a href="https://bots.example.org/remediator/plan?session=bot">plan</a>"#;
    assert_eq!(linked.matches(plan).count(), 2, "in full and in the list");
    assert!(linked.contains(">More</th>"));
    assert!(!linked.contains("plan SESSION"));
}

/// A row has a runbook only where there is one in this repository.
#[test]
fn a_runbook_that_is_linked_exists() {
    let ranks = Tier::ALL.map(|tier| Rank::Tier(Some(tier)));
    let ranks = ranks.into_iter();
    let ranks = ranks.chain([Rank::Tier(None), Rank::BrokenCreds, Rank::Unseen]);
    for (rank, connection) in
        ranks.flat_map(|rank| ["connected", "disconnected"].map(|word| (rank, word)))
    {
        let row = SessionRow {
            rank,
            ..made("bot".into(), None, connection)
        };
        if let Some(name) = row.runbook() {
            let path = format!("{}/docs/runbooks/{name}.md", env!("CARGO_MANIFEST_DIR"));
            assert!(fs::exists(&path).unwrap(), "{path}");
        }
        assert_eq!(row.runbook().is_some(), row.needs_attention(), "{rank:?}");
    }
}

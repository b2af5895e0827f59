use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::connection::{Evidence, Finding, fold};
use crate::folder::creds::BrokenCreds;
use crate::folder::{Entry, FileName, Kind, SessionActivity, Shape, Stamp, Timestamp};
use crate::policy::{
    Batches, CleanRequest, CleanupMode, Force, Limits, Refusal, RestartBudget, StopInputs,
    StopRefusal, Tier, decide, may_stop, possible,
};

const DAY: Duration = Duration::from_secs(86_400);

fn batches(inventory: &Inventory) -> Batches {
    Batches::of(inventory, elsewhere().batch)
}

fn now() -> Timestamp {
    Timestamp::from_secs(1_780_000_000)
}

fn entry(name: &str, days_ago: u32) -> Entry {
    let modified = now().minus(DAY * days_ago);
    let name = FileName::new(name);
    let inside = match name.parts().kind {
        Kind::Session => SessionActivity::at(modified),
        _ => SessionActivity::NotRead,
    };
    Entry {
        name,
        shape: Shape::Regular,
        stamp: Stamp {
            modified,
            ..Stamp::default()
        },
        inside,
    }
}

/// A folder as Evolution API leaves it: alive, with old sessions, sender keys and pre-keys.
fn folder(creds: Creds) -> Inventory {
    let mut files: Vec<Entry> = (0..14)
        .map(|n| entry(&format!("session-79{n}.0.json"), n))
        .collect();
    files.extend((0..200).map(|n| entry(&format!("session-78{n}.0.json"), 40)));
    files.extend((0..60).map(|n| entry(&format!("pre-key-{n}.json"), 40)));
    files.push(entry("sender-key-1@g.us--7910--0.json", 40));
    files.push(entry("sender-key-memory-1@g.us.json", 40));
    Inventory::new(files, creds)
}

fn elsewhere() -> Limits {
    Limits {
        creds: CredsPlace::Elsewhere,
        ..Limits::default()
    }
}

fn refusal(inventory: &Inventory, limits: &Limits) -> Option<Refusal> {
    possible(
        inventory,
        &Batches::of(inventory, limits.batch),
        now(),
        limits,
        CleanupMode::Cleanup,
        true,
    )
    .err()
}

#[test]
fn without_creds_no_sender_key_goes_and_no_bot_is_stopped() {
    let inventory = folder(Creds::Missing);
    let missing = Some(Refusal::CredsBroken("missing"));
    assert_eq!(refusal(&inventory, &Limits::default()), missing);
    for mode in CleanupMode::ALL {
        let plan = possible(
            &inventory,
            &batches(&inventory),
            now(),
            &elsewhere(),
            mode,
            true,
        )
        .unwrap();
        let kinds: Vec<(Kind, usize)> = plan.by_kind().into_iter().collect();
        assert_eq!(kinds, [(Kind::PreKey, 10), (Kind::Session, 200)]);
    }
    let verdict = fold(vec![Evidence::new("probe", Finding::Connected, "")]);
    let budget = RestartBudget {
        stops: Vec::new(),
        cooldown: DAY,
        daily_budget: 2,
    };
    let stop = |limits: &Limits| {
        let inputs = StopInputs {
            inventory: &inventory,
            verdict: &verdict,
            logged_out: false,
            clock_set: None,
            limits,
            mode: CleanupMode::Emergency,
            tier: Tier::Emergency,
            immovable: &BTreeMap::new(),
            obstacle: None,
            service: &budget,
        };
        may_stop(&inputs, now()).unwrap_err()
    };
    assert_eq!(stop(&elsewhere()), StopRefusal::CredsElsewhere);
    assert!(stop(&elsewhere()).leaves_a_cleanup());
    assert_eq!(stop(&Limits::default()).label(), "creds_broken");
}

#[test]
fn it_holds_only_for_a_folder_that_never_had_a_creds_json() {
    let broken = Creds::Broken(BrokenCreds::Empty);
    let refused = Some(Refusal::CredsBroken("empty"));
    assert_eq!(refusal(&folder(broken), &elsewhere()), refused);
    let missing = Some(Refusal::CredsBroken("missing"));
    let mut had_one = folder(Creds::Missing);
    had_one.history.had_creds = true;
    assert_eq!(refusal(&had_one, &elsewhere()), missing);
    let files = folder(Creds::Missing).files().to_vec();
    let companion = files.into_iter().chain([entry("creds.json.bak", 1)]);
    assert_eq!(
        refusal(&Inventory::new(companion, Creds::Missing), &elsewhere()),
        missing
    );
    // One that appears is what counts.
    let facts = CredsFacts {
        own_number: Some("7911".into()),
        ..CredsFacts::default()
    };
    let inventory = folder(Creds::Valid(facts));
    let plan = possible(
        &inventory,
        &batches(&inventory),
        now(),
        &elsewhere(),
        CleanupMode::Cleanup,
        true,
    )
    .unwrap();
    assert_eq!(plan.by_kind()[&Kind::SenderKey], 1);
    // Nor does it open anything else.
    let ask = CleanRequest {
        mode: CleanupMode::Cleanup,
        tier: None,
        force: Some(Force { inactive_for: DAY }),
    };
    let verdict = fold(Vec::new());
    assert!(decide(&had_one, &verdict, now(), &elsewhere(), &ask).is_err());
}

use proptest::prelude::*;

use super::*;
use crate::folder::{Creds, CredsFacts, FileName, SessionActivity, Stamp};

const DAY: i64 = 86_400;
const TODAY: i64 = 1_780_000_000;

fn file(name: &str, modified: i64) -> Entry {
    let name = FileName::new(name);
    let modified = Timestamp::from_secs(modified);
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

fn creds(next: u32) -> Creds {
    Creds::Valid(CredsFacts {
        next_pre_key_id: Some(next),
        logged_in: true,
        ..CredsFacts::default()
    })
}

/// A bot of Baileys 6 that logged in 300 days ago and minted `minted` pre-keys, 30 every few
/// days, of which every `nth` was used; 40 contacts.
fn classic(minted: u32, nth: u32) -> Vec<Entry> {
    let mut files = vec![
        file("creds.json", TODAY),
        file("app-state-sync-key-AAAAANf__.json", TODAY - 300 * DAY),
    ];
    for id in (1..=minted).filter(|id| id % nth != 0) {
        let batch = i64::from((id - 1) / 30);
        let batches = i64::from(minted.div_ceil(30));
        let at = TODAY - 300 * DAY + batch * 299 * DAY / batches;
        files.push(file(&format!("pre-key-{id}.json"), at));
    }
    for contact in 0..40 {
        let at = TODAY - contact * 7 * DAY;
        files.push(file(&format!("session-7910000{contact:04}.0.json"), at));
    }
    files
}

/// A bot of Baileys 7.0.0-rc.6 or newer that logged in 60 days ago: of its 812 pre-keys `used`
/// are gone, and it minted 5 more for each.
fn modern(used: u32, more: u32) -> Vec<Entry> {
    let mut files = vec![file("creds.json", TODAY)];
    let login = TODAY - 60 * DAY;
    files.extend((used + 1..=812).map(|id| file(&format!("pre-key-{id}.json"), login)));
    for id in 813..813 + more {
        let at = login + i64::from((id - 813) / 5 + 1) * DAY / 2;
        files.push(file(&format!("pre-key-{id}.json"), at));
    }
    for contact in 0..10 {
        let at = TODAY - contact * 5 * DAY;
        files.push(file(&format!("session-2000000{contact:04}_1.0.json"), at));
        files.push(file(
            &format!("lid-mapping-2000000{contact:04}_reverse.json"),
            login,
        ));
        files.push(file(
            &format!("identity-key-2000000{contact:04}_1.0.json"),
            login,
        ));
    }
    files
}

/// As `cp -r` leaves them: one new time for all. What session records say stays.
fn copied(files: Vec<Entry>) -> Vec<Entry> {
    let at = Timestamp::from_secs(TODAY);
    let level = |mut file: Entry| {
        file.stamp.modified = at;
        file
    };
    files.into_iter().map(level).collect()
}

fn count(files: Vec<Entry>, creds: Creds) -> (usize, bool) {
    let inventory = Inventory::new(files, creds);
    let batches = Batches::of(&inventory, BatchSetting::Auto);
    (
        accumulated_files(&inventory, BatchSetting::Auto),
        batches.is_ambiguous(),
    )
}

/// What a bot of 6 leaves, and what one look by Baileys 7 adds.
fn upgraded(mut files: Vec<Entry>) -> Vec<Entry> {
    files.push(file("identity-key-79100000001.0.json", TODAY));
    files
}

#[test]
fn one_file_of_baileys_7_hides_nothing() {
    for (minted, left) in [(330, 294), (901, 801), (1500, 1334)] {
        let files = classic(minted, 9);
        let before = count(files.clone(), creds(minted + 1));
        let after = count(upgraded(files), creds(minted + 1));
        assert_eq!(before.0, left + 42);
        assert_eq!(after.0, before.0, "{minted} minted");
        assert!(!after.1, "the times tell");
    }
}

#[test]
fn a_counter_up_to_812_proves_that_no_large_batch_was_minted() {
    let files = upgraded(classic(810, 3));
    let all = 540 + 42;
    assert_eq!(count(copied(files.clone()), creds(811)).0, all);
    assert_eq!(count(copied(files.clone()), creds(812)).0, all);
    assert!(count(copied(files.clone()), creds(813)).0 < all);
    // Without creds the highest id counts, and a torn creds.json keeps the last counter.
    assert_eq!(count(copied(files.clone()), Creds::Missing).0, all);
    let mut torn = Inventory::new(
        copied(files),
        Creds::Broken(crate::folder::creds::BrokenCreds::Empty),
    );
    assert_eq!(accumulated_files(&torn, BatchSetting::Auto), all);
    torn.history.next_pre_key_id = Some(901);
    assert!(accumulated_files(&torn, BatchSetting::Auto) < all);
}

#[test]
fn a_large_batch_is_seen_without_any_file_of_baileys_7() {
    let mut files = vec![file("creds.json", TODAY)];
    files.extend((1..=812).map(|id| file(&format!("pre-key-{id}.json"), TODAY)));
    files.extend((0..3).map(|n| file(&format!("session-791{n}.0.json"), TODAY)));
    assert_eq!(count(files, creds(813)), (34, false));
    let (used, _) = count(modern(32, 125), creds(938));
    assert_eq!(used, 1 + 30 + 125 + 10);
}

#[test]
fn a_copy_that_levels_the_times_is_noticed() {
    // A healthy modern bot that was moved stays below the tiers.
    let (moved, ambiguous) = count(copied(modern(32, 20)), creds(833));
    assert_eq!((moved, ambiguous), (1 + 30 + 10, true));
    // A neglected classic one does not become healthy by being moved.
    let (moved, ambiguous) = count(copied(classic(1500, 9)), creds(1501));
    assert_eq!((moved, ambiguous), (1334 + 42, true));
    // One stray file that kept its time changes nothing.
    let mut stray = copied(classic(1500, 9));
    stray.push(file("sender-key-1@g.us--7910--0.json", TODAY - 200 * DAY));
    assert_eq!(count(stray, creds(1501)), (1334 + 43, true));
    // All pre-keys at one time, more than one batch: sessions need not show it.
    let mut level = classic(1500, 9);
    for key in level.iter_mut().filter(|file| file.kind() == Kind::PreKey) {
        key.stamp.modified = Timestamp::from_secs(TODAY - 60 * DAY);
    }
    assert_eq!(count(level, creds(1501)), (1334 + 42, true));
    // A copy of ten minutes.
    let mut slow = modern(32, 20);
    for (n, file) in slow.iter_mut().enumerate() {
        file.stamp.modified = Timestamp::from_secs(TODAY + (n as i64 * 600) / 830);
    }
    assert_eq!(count(slow, creds(833)), (1 + 30 + 10, true));
}

#[test]
fn the_setting_ends_the_ambiguity() {
    let of = |files: Vec<Entry>, next, batch| {
        let inventory = Inventory::new(files, creds(next));
        let setting = BatchSetting::Fixed(batch);
        let batches = Batches::of(&inventory, setting);
        assert!(!batches.is_ambiguous());
        (accumulated_files(&inventory, setting), batches.guard)
    };
    assert_eq!(of(copied(modern(32, 20)), 833, 812), (41, 812));
    assert_eq!(
        of(copied(upgraded(classic(1500, 9))), 1501, 30),
        (1376, 812)
    );
    assert_eq!(of(copied(classic(1500, 9)), 1501, 30), (1376, 30));
}

#[test]
fn unknown_files_count_where_the_times_tell() {
    for (files, next) in [(classic(1500, 9), 1501), (modern(0, 20), 833)] {
        let (before, _) = count(files.clone(), creds(next));
        let mut more = files;
        more.push(file("notes.json", TODAY));
        more.push(file(".DS_Store", TODAY));
        assert_eq!(count(more, creds(next)).0, before + 1);
    }
}

/// A fork of Baileys 6 keeps a token for each contact.
#[test]
fn the_tokens_of_a_fork_do_not_count_and_are_no_sign_of_a_large_batch() {
    let tokens = (0..75).map(|n| format!("contacts-tc-token-7910000{n:04}@s.whatsapp.net.json"));
    let names = tokens.chain(["nct-salt-default.json".to_owned()]);
    let tokens: Vec<Entry> = names.map(|name| file(&name, TODAY)).collect();
    for (files, next) in [(classic(90, 9), 91), (classic(1500, 9), 1501)] {
        let more = [files.clone(), tokens.clone()].concat();
        for setting in [BatchSetting::Auto, BatchSetting::Fixed(30)] {
            let [before, after] = [files.clone(), more.clone()].map(|files| {
                let inventory = Inventory::new(files, creds(next));
                let batches = Batches::of(&inventory, setting);
                (accumulated_files(&inventory, setting), batches)
            });
            assert_eq!(after, before, "{next} {setting:?}");
        }
    }
}

fn any_name() -> impl Strategy<Value = String> {
    let id = prop_oneof![0u32..1000, 0u32..4000];
    let main = prop_oneof![
        4 => id.clone().prop_map(|id| format!("pre-key-{id}.json")),
        1 => id.clone().prop_map(|id| format!("session-{id}.0.json")),
        1 => id.clone().prop_map(|id| format!("session-{id}_1.0.json")),
        1 => id.clone().prop_map(|id| format!("identity-key-{id}.0.json")),
        1 => id.clone().prop_map(|id| format!("lid-mapping-{id}.json")),
        1 => Just("tctoken-__index.json".to_owned()),
        1 => id.clone().prop_map(|id| format!("contacts-tc-token-{id}@lid.json")),
        1 => id.prop_map(|id| format!("sender-key-1@g.us--{id}--0.json")),
        1 => Just("notes.txt".to_owned()),
        1 => Just(".hidden".to_owned()),
    ];
    (
        main,
        prop_oneof![6 => Just(""), 1 => Just(".tmp"), 1 => Just(".bak")],
    )
        .prop_map(|(main, suffix)| format!("{main}{suffix}"))
}

proptest! {
    /// For a fixed creds.json and times that no copy has changed.
    #[test]
    fn one_more_file_never_lowers_the_count(
        is_modern: bool,
        minted in 1u32..1600,
        used in 2u32..40,
        after in -20i64..500,
        others in proptest::collection::vec((any_name(), 0i64..290), 0..40),
        name in any_name(),
        at in prop_oneof![0i64..290, Just(60i64), Just(300i64)],
        shape in prop_oneof![8 => Just(Shape::Regular), 1 => Just(Shape::Link), 1 => Just(Shape::HardLinked)],
    ) {
        let mut files = match is_modern {
            true => modern(minted % 812, minted % 200),
            false => classic(minted, used),
        };
        let next = if is_modern { 813 + minted % 200 } else { (i64::from(minted) + after).max(1) as u32 };
        files.extend(others.iter().map(|(name, at)| file(name, TODAY - at * DAY)));
        files.sort_by(|a, b| a.name.cmp(&b.name));
        files.dedup_by(|a, b| a.name == b.name);
        let mut added = file(&name, TODAY - at * DAY);
        added.shape = shape;
        files.retain(|file| file.name != added.name);
        let (before, _) = count(files.clone(), creds(next));
        files.push(added);
        let (after, _) = count(files, creds(next));
        prop_assert!(before <= after, "{name} takes the count from {before} to {after}");
        prop_assert!(after <= before + 1, "{name} takes the count from {before} to {after}");
    }
}

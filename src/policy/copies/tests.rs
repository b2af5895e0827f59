#![allow(clippy::unwrap_used)]
use super::*;
use crate::folder::{Creds, CredsFacts, Entry, FileName, SessionActivity, Shape, Stamp};

const NOW: i64 = 1_780_000_000;
const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(seconds)
}

/// A file: its modification, its inode change, and for a session its last use.
type Made = (&'static str, i64, i64, Option<i64>);

fn folder(login: u64, files: &[Made]) -> LoginFolder {
    let entries = files.iter().map(|(name, modified, changed, used)| Entry {
        name: FileName::new(*name),
        shape: Shape::Regular,
        stamp: Stamp {
            modified: at(*modified),
            changed: at(*changed),
            ..Stamp::default()
        },
        inside: used.map_or(SessionActivity::NotRead, |used| {
            SessionActivity::at(at(used))
        }),
    });
    let creds = Creds::Valid(CredsFacts {
        logged_in: true,
        login: Some(LoginId::from_number(login)),
        ..CredsFacts::default()
    });
    LoginFolder::of(&Inventory::new(entries, creds), at(NOW)).unwrap()
}

/// A bot that wrote last at `last`, paired 90 days before `NOW`.
fn bot(login: u64, last: i64) -> LoginFolder {
    folder(
        login,
        &[
            ("creds.json", last, last, None),
            ("pre-key-1.json", NOW - 90 * DAY, NOW - 90 * DAY, None),
            (
                "session-1.0.json",
                last - HOUR,
                last - HOUR,
                Some(last - HOUR),
            ),
        ],
    )
}

/// `cp -a` of such a bot at `made`, which had written a minute before.
fn copy_with_times(made: i64) -> LoginFolder {
    let last = made - 60;
    folder(
        1,
        &[
            ("creds.json", last, made, None),
            ("pre-key-1.json", NOW - 90 * DAY, made, None),
            ("session-1.0.json", last - HOUR, made, Some(last - HOUR)),
        ],
    )
}

/// `cp -r` of it.
fn copy_without_times(made: i64) -> LoginFolder {
    folder(
        1,
        &[
            ("creds.json", made, made, None),
            ("pre-key-1.json", made, made, None),
            (
                "session-1.0.json",
                made + 1,
                made + 1,
                Some(made - 60 - HOUR),
            ),
        ],
    )
}

/// Of these sessions with one login, those that are a copy or used beside another.
fn same(folders: &[(&str, LoginFolder)]) -> Vec<(String, &'static str, String)> {
    let names: Vec<SessionName> = folders
        .iter()
        .map(|(name, _)| SessionName::from_text(name))
        .collect();
    let folders = names
        .iter()
        .zip(folders)
        .map(|(name, (_, folder))| (name, *folder));
    same_logins(folders, at(NOW))
        .into_iter()
        .map(|(name, same)| match same {
            SameLogin::CopyOf(of) => (name.to_string(), "copy", of.to_string()),
            SameLogin::UsedWith(of) => (name.to_string(), "used", of.to_string()),
        })
        .collect()
}

fn copy(name: &str, of: &str) -> Vec<(String, &'static str, String)> {
    vec![(name.into(), "copy", of.into())]
}

#[test]
fn a_copy_is_known_by_its_login_and_its_times_or_its_name() {
    for made in [NOW - 5, NOW - HOUR, NOW - 30 * DAY] {
        for backup in [copy_with_times(made), copy_without_times(made)] {
            let live = bot(1, NOW);
            assert_eq!(same(&[("a", backup), ("b", live)]), copy("a", "b"));
        }
    }
    // The bot may be down, or idle.
    for (made, last) in [(NOW - HOUR, NOW - HOUR - 60), (NOW - DAY, NOW - DAY - 60)] {
        for backup in [copy_with_times(made), copy_without_times(made)] {
            let live = bot(1, last);
            let named = [("a", live), ("a.bak", backup)];
            assert_eq!(same(&named), copy("a.bak", "a"));
        }
        let with_times = [("a", bot(1, last)), ("b", copy_with_times(made))];
        assert_eq!(same(&with_times), copy("b", "a"));
        // This may be a bot that was restored and has not written since.
        let without = [("a", bot(1, last)), ("b", copy_without_times(made))];
        assert!(same(&without).is_empty());
    }
}

/// mv bot bot.old; cp -r /backup/bot bot; the bot is started, and ends within minutes.
#[test]
fn a_bot_that_was_restored_is_not_taken_for_the_copy() {
    for (old, last) in [("bot.old", 0), ("bot.old", 70), ("broken", 70)] {
        let restored = folder(
            1,
            &[
                ("creds.json", NOW - 600 + last, NOW - 600, None),
                ("pre-key-1.json", NOW - 600, NOW - 600, None),
                ("session-1.0.json", NOW - 600, NOW - 600, Some(NOW - DAY)),
            ],
        );
        let moved = bot(1, NOW - 900);
        assert!(same(&[("bot", restored), (old, moved)]).is_empty(), "{old}");
    }
}

/// `cp -r` of a bot without a chat, which has not written since.
#[test]
fn a_bot_is_no_copy_of_a_copy_that_shows_no_use() {
    let made = NOW - HOUR;
    let backup = folder(
        1,
        &[
            ("creds.json", made, made, None),
            ("pre-key-1.json", made, made, None),
        ],
    );
    let live = bot(1, NOW - DAY);
    assert!(same(&[("a", live), ("b", backup)]).is_empty());
    assert_eq!(same(&[("a", live), ("a.bak", backup)]), copy("a.bak", "a"));
}

#[test]
fn other_logins_are_other_bots() {
    assert!(same(&[("a", bot(1, NOW)), ("ventas.bak", bot(2, NOW))]).is_empty());
    assert!(same(&[("a", bot(1, NOW))]).is_empty());
}

#[test]
fn a_bot_that_moved_into_the_copy_is_the_session() {
    let left = bot(1, NOW - DAY);
    let started = folder(
        1,
        &[
            ("creds.json", NOW - 10, NOW - 10, None),
            ("pre-key-1.json", NOW - 90 * DAY, NOW - DAY, None),
        ],
    );
    // Its name says the contrary, so that neither loses its alerts.
    assert!(same(&[("a", left), ("a.bak", started)]).is_empty());
    assert_eq!(same(&[("a", left), ("b", started)]), copy("a", "b"));
}

#[test]
fn of_two_with_one_activity_the_copy_is_called_so_or_was_made_later() {
    let made = NOW - HOUR;
    let original = bot(1, made - 60);
    let backup = copy_with_times(made);
    assert_eq!(same(&[("z", original), ("a", backup)]), copy("a", "z"));
    // mv bot bot.bak; cp -a bot.bak bot
    assert_eq!(
        same(&[("bot.bak", original), ("bot", backup)]),
        copy("bot.bak", "bot")
    );
}

#[test]
fn two_that_are_written_are_both_sessions() {
    let used = |name: &str, with: &str| (name.to_owned(), "used", with.to_owned());
    let folders = [("a", bot(1, NOW - 60)), ("b", bot(1, NOW - 840))];
    assert_eq!(same(&folders), [used("a", "b"), used("b", "a")]);
    let folders = [("a", bot(1, NOW - 60)), ("b", bot(1, NOW - 960))];
    assert_eq!(same(&folders), copy("b", "a"));
}

#[test]
fn a_note_in_a_backup_and_a_file_from_the_future_tell_nothing() {
    let mut files = vec![
        ("creds.json", NOW - DAY, NOW - DAY, None),
        ("pre-key-1.json", NOW - 90 * DAY, NOW - 90 * DAY, None),
        ("README.txt", NOW, NOW, None),
    ];
    let live = bot(1, NOW - HOUR);
    assert_eq!(
        same(&[("a", folder(1, &files)), ("b", live)]),
        copy("a", "b")
    );
    files.push(("pre-key-2.json", NOW + DAY, NOW - DAY, None));
    let live = bot(1, NOW);
    assert_eq!(
        same(&[("b", live), ("c", folder(1, &files))]),
        copy("c", "b")
    );
}

//! Every "never" of the guard table, stated a second time and held against the guard on
//! random folders.
//!
//! The statement below is naive on purpose: it looks at one file at a time, knows what each
//! file is because the generator made it (no name is parsed here), and shares no code with
//! `policy`. A property may say less than the guard does, never more: being careful is not
//! a failure, except in the liveness property, where nothing is left to be careful about.
//!
//! A case is a list of numbers ("genes") that is decoded into files, so that shrinking drops
//! whole files; a failure prints the folder it ended at.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use baileys_exporter::connection::{State, Verdict};
use baileys_exporter::folder::creds::BrokenCreds;
use baileys_exporter::folder::{
    Creds, CredsFacts, Entry, FileName, Inventory, Kind, SessionActivity, Shape, Stamp, Timestamp,
};
use baileys_exporter::policy::measure::Batches;
use baileys_exporter::policy::{
    BatchSetting, CleanRequest, CleanupMode, CredsPlace, Force, Limits, Plan, Refusal, Thresholds,
    Tier, accumulated_files, decide, plan, pre_keys, removable,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const SMALL: u32 = 80_000;
const WITH_PRE_KEYS: u32 = 16_000;
const LARGE: u32 = 200;
const LIVE: u32 = 4_000;
const GROWING: u32 = 10_000;
const _: () = assert!(SMALL + WITH_PRE_KEYS + LARGE + LIVE + GROWING >= 100_000);

const HOUR: i64 = 3_600_000_000_000;
const DAY: i64 = 24 * HOUR;
const FORTNIGHT: i64 = 14 * DAY;
/// The true time in every case, before the clock is wrong.
const TODAY: i64 = 1_790_000_000_000_000_000;

const OWN_NUMBER: &str = "79990000001";
const OWN_LID: &str = "180001112223334";
const GROUPS: [&str; 3] = [
    "12036300000000001@g.us",
    "79001234567-1600000000@g.us",
    "status@broadcast",
];

// ---- what a folder may hold ----

/// The session that a sender key is filed under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Number(&'static str),
    Lid(&'static str),
    /// The name does not say.
    Odd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// creds and the app state.
    Identity,
    /// What only 7.x keeps.
    Bookkeeping {
        proves_large_batch: bool,
    },
    /// A token, as forks of Baileys 6 call it.
    TokenOfFork,
    Unknown,
    Session {
        lid: bool,
    },
    SenderKey {
        group: usize,
        who: Who,
    },
    Memory {
        group: usize,
    },
    /// `None`: a name the library never writes.
    PreKey(Option<u32>),
}

#[derive(Clone)]
struct Made {
    main: String,
    /// `.tmp`, `.bak` or nothing.
    suffix: &'static str,
    what: What,
    shape: Shape,
    modified: i64,
    inside: SessionActivity,
}

impl Made {
    fn new(main: impl Into<String>, what: What, modified: i64) -> Self {
        let inside = match what {
            What::Session { .. } => SessionActivity::at(Timestamp::from_nanos(modified)),
            _ => SessionActivity::NotRead,
        };
        Self {
            main: main.into(),
            suffix: "",
            what,
            shape: Shape::Regular,
            modified,
            inside,
        }
    }

    fn name(&self) -> String {
        format!("{}{}", self.main, self.suffix)
    }

    fn entry(&self, inode: usize) -> Entry {
        let modified = Timestamp::from_nanos(self.modified);
        let stamp = Stamp {
            device: 1,
            inode: inode as u64,
            size: 100,
            modified,
            changed: modified,
        };
        let unread = self.shape == Shape::Unreadable;
        Entry {
            name: FileName::new(self.name()),
            shape: self.shape,
            stamp: if unread { Stamp::default() } else { stamp },
            inside: if self.shape == Shape::Regular {
                self.inside
            } else {
                SessionActivity::NotRead
            },
        }
    }

    /// Its modification time and what stands inside, whichever is later.
    fn active(&self) -> i64 {
        match self.inside {
            SessionActivity::Times(Some(inside)) => self.modified.max(inside.last.nanos()),
            _ => self.modified,
        }
    }

    fn is_plain(&self) -> bool {
        self.shape == Shape::Regular && self.inside != SessionActivity::Unparsable
    }
}

fn session(number: u64, modified: i64) -> Made {
    Made::new(
        format!("session-{}.0.json", 79_100_000_000 + number),
        What::Session { lid: false },
        modified,
    )
}

fn pre_key(id: u32, modified: i64) -> Made {
    Made::new(
        format!("pre-key-{id}.json"),
        What::PreKey(Some(id)),
        modified,
    )
}

fn memory(group: usize, modified: i64) -> Made {
    Made::new(
        format!("sender-key-memory-{}.json", GROUPS[group]),
        What::Memory { group },
        modified,
    )
}

fn sender_key(group: usize, user: &str, who: Who, device: u64, modified: i64) -> Made {
    let name = format!("sender-key-{}--{user}--{device}.json", GROUPS[group]);
    Made::new(name, What::SenderKey { group, who }, modified)
}

#[derive(Clone)]
struct Case {
    files: Vec<Made>,
    creds: Creds,
    now: i64,
    limits: Limits,
    ask: CleanRequest,
    verdict: Verdict,
}

impl Case {
    /// A folder of a bot that is disconnected, by the default limits and the clean-up column.
    fn plain(files: Vec<Made>) -> Self {
        Self {
            files,
            creds: Creds::Valid(CredsFacts {
                own_number: Some(OWN_NUMBER.to_owned()),
                own_lid: Some(OWN_LID.to_owned()),
                logged_in: true,
                next_pre_key_id: None,
                login: None,
            }),
            now: TODAY,
            limits: Limits::default(),
            ask: CleanRequest {
                mode: CleanupMode::Cleanup,
                tier: None,
                force: None,
            },
            verdict: Verdict {
                state: State::Disconnected,
                process_gone: false,
                evidence: Vec::new(),
            },
        }
    }

    fn with_next_pre_key(mut self, next: u32) -> Self {
        if let Creds::Valid(facts) = &mut self.creds {
            facts.next_pre_key_id = Some(next);
        }
        self
    }

    fn inventory(&self) -> Inventory {
        // Listed backwards: the order of a directory means nothing.
        let found = self
            .files
            .iter()
            .enumerate()
            .rev()
            .map(|(inode, made)| made.entry(inode));
        Inventory::new(found, self.creds.clone())
    }

    fn decide(&self) -> Result<Plan, Refusal> {
        let now = Timestamp::from_nanos(self.now);
        decide(
            &self.inventory(),
            &self.verdict,
            now,
            &self.limits,
            &self.ask,
        )
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = |at: i64| {
            format!(
                "now{:+.9}d",
                (i128::from(at) - i128::from(self.now)) as f64 / DAY as f64
            )
        };
        writeln!(f, "now={} creds={:?}", self.now, self.creds)?;
        writeln!(
            f,
            "{:?}\n{:?}\n{:?} gone={}",
            self.ask, self.limits, self.verdict.state, self.verdict.process_gone
        )?;
        // The odd ones are mostly at the end.
        for made in self.files.iter().rev().take(100) {
            let inside = match made.inside {
                SessionActivity::Times(Some(at)) => days(at.last.nanos()),
                other => format!("{other:?}"),
            };
            writeln!(
                f,
                "  {} {:?} {} inside {inside}",
                made.name(),
                made.shape,
                days(made.modified)
            )?;
        }
        Ok(())
    }
}

// ---- the generator ----

/// Deals choices out of one number; 0 always means the plainest.
struct Genes(u64);

impl Genes {
    fn below(&mut self, n: u64) -> u64 {
        let dealt = self.0 % n;
        self.0 /= n;
        dealt
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// A stream of numbers from one (splitmix64), for folders too large for a gene a file.
fn scramble(seed: u64, at: u64) -> u64 {
    let mut z = seed.wrapping_add(at.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Times that lie where the rules bend.
fn instant(genes: &mut Genes, anchor: i64) -> i64 {
    let base = genes.of(&[anchor, anchor, TODAY]);
    // In hours; 336 are the fortnight.
    let back = HOUR
        * genes.of(&[
            1440, 336, 336, 48, 0, 24, 312, 360, 480, 672, 9600, 1, 384, 168, -1, -8760,
        ]);
    let slip = genes.of(&[0, 0, 1, -1, HOUR, -HOUR]);
    let extreme = genes.below(24);
    match extreme {
        21 => 0,
        22 => i64::MIN,
        23 => i64::MAX,
        _ => base - back + slip,
    }
}

fn shape(genes: &mut Genes) -> Shape {
    match genes.below(40) {
        39 => Shape::HardLinked,
        38 => Shape::Link,
        37 => Shape::Special,
        36 => Shape::Unreadable,
        _ => Shape::Regular,
    }
}

/// One key: its main file, companions beside it, or a companion alone.
fn key(gene: u64, anchor: i64, out: &mut Vec<Made>) {
    let mut genes = Genes(gene);
    let what = genes.below(20);
    let number = genes.below(6);
    let at = instant(&mut genes, anchor);
    let mut made = match what {
        0..=5 => {
            let lid = genes.below(8) == 7;
            let domain = if lid { genes.of(&["_1", "_128"]) } else { "" };
            // Not in the printable ASCII that the library uses.
            let odd = genes.of(&["", "", "", "", "", "", "", "", "", " ", "\u{7f}", "\u{e9}"]);
            let number = 79_100_000_000 + number;
            let name = format!("session-{number}{domain}.{}{odd}.json", genes.below(2));
            let mut made = Made::new(name, What::Session { lid }, at);
            made.inside = match genes.below(10) {
                9 => SessionActivity::Unparsable,
                8 => SessionActivity::Times(None),
                0..=3 => made.inside,
                _ => SessionActivity::at(Timestamp::from_nanos(instant(&mut genes, anchor))),
            };
            made
        }
        6..=11 => {
            let group = genes.below(3) as usize;
            let (user, who) = genes.of(&[
                ("79100000007", Who::Number("79100000007")),
                (OWN_NUMBER, Who::Number(OWN_NUMBER)),
                (OWN_NUMBER, Who::Number(OWN_NUMBER)),
                ("79100000008", Who::Number("79100000008")),
                ("180005556667778_1", Who::Lid("180005556667778")),
                ("180001112223334_1", Who::Lid(OWN_LID)),
                ("79990000001_128", Who::Number(OWN_NUMBER)),
                ("180001112223334_129", Who::Lid(OWN_LID)),
                ("alice", Who::Odd),
            ]);
            sender_key(group, user, who, genes.below(3), at)
        }
        12..=14 => memory(genes.below(3) as usize, at),
        15 => {
            let odd = ["007", "+7", "-1", "4294967296", "x", ""][number as usize];
            match genes.below(3) {
                0 => pre_key(genes.of(&[1, 30, 31, 500, 813, 5_000, u32::MAX]), at),
                1 => pre_key(1 + number as u32 * 9, at),
                _ => Made::new(format!("pre-key-{odd}.json"), What::PreKey(None), at),
            }
        }
        16 => {
            let names = [
                "app-state-sync-key-AAAAANf__",
                "app-state-sync-version-regular",
                "creds",
            ];
            Made::new(format!("{}.json", genes.of(&names)), What::Identity, at)
        }
        17 => {
            let of_7 = |proves_large_batch| What::Bookkeeping { proves_large_batch };
            let (name, what) = genes.of(&[
                ("lid-mapping-79100000000", of_7(false)),
                ("device-list-79100000000", of_7(false)),
                ("tctoken-__index", of_7(true)),
                ("identity-key-79100000000_1.0", of_7(true)),
                (
                    "contacts-tc-token-79100000000@s.whatsapp.net",
                    What::TokenOfFork,
                ),
                ("nct-salt-__index", What::TokenOfFork),
            ]);
            Made::new(format!("{name}.json"), what, at)
        }
        18 => {
            let names = [
                "notes.txt",
                "pre-key-1.json.old",
                ".lock",
                "notes.bak",
                "Session-1.0.json",
                "package.json",
            ];
            Made::new(names[number as usize], What::Unknown, at)
        }
        // A session that only its own time protects or does not.
        _ => session(number + 10, at),
    };
    made.shape = shape(&mut genes);
    let companions: &[&str] = match (made.what, genes.below(16)) {
        (What::Unknown, _) | (_, 0..=10) => &[""],
        (_, 11) => &[".bak"],
        (_, 12) => &[".tmp"],
        (_, 13) => &["", ".bak"],
        (_, 14) => &["", ".tmp"],
        _ => &["", ".bak", ".tmp"],
    };
    for (place, suffix) in companions.iter().enumerate() {
        let mut made = Made {
            suffix,
            ..made.clone()
        };
        // A companion is as old as the main file, or lives in its own time.
        if place > 0 && genes.below(2) == 1 {
            made.modified = instant(&mut genes, anchor);
        }
        out.push(made);
    }
}

/// Clock, creds, limits, question and verdict; the times of the files hang on the anchor.
fn circumstances(setup: u64, question: u64) -> (Case, i64) {
    let mut genes = Genes(setup);
    // The last life in the folder: hours and nanoseconds before today.
    let away = HOUR * genes.of(&[0, 0, 0, 0, 1, 24, 312, 336, 336, 336, 360, 504, 8760])
        + genes.of(&[0, 0, 1, -1]);
    let jump = DAY * genes.of(&[0, 0, 0, 0, 0, 0, 0, 0, 365, -365, 21, -21]);
    let facts = CredsFacts {
        own_number: genes
            .of(&[Some(OWN_NUMBER), Some(OWN_NUMBER), Some(OWN_NUMBER), None])
            .map(str::to_owned),
        own_lid: genes
            .of(&[Some(OWN_LID), Some(OWN_LID), None])
            .map(str::to_owned),
        logged_in: genes.below(4) != 3,
        next_pre_key_id: genes.of(&[None, Some(31), Some(45), Some(812), Some(813), Some(1)]),
        login: None,
    };
    let creds = match genes.below(16) {
        15 => Creds::Missing,
        14 => Creds::Broken(genes.of(&[
            BrokenCreds::Empty,
            BrokenCreds::CutOff,
            BrokenCreds::NotCreds,
        ])),
        13 => Creds::Unreadable("permission denied".to_owned()),
        _ => Creds::Valid(facts),
    };
    let mut genes = Genes(question);
    let mode = genes.of(&CleanupMode::ALL);
    let tier = genes
        .of(&[
            None,
            None,
            None,
            Some(0),
            Some(1),
            Some(2),
            Some(3),
            Some(4),
        ])
        .map(|at: usize| Tier::ALL[at]);
    let days = |n: u64| Duration::from_secs(n * 86_400);
    let force = genes.of(&[None, None, None, Some(14), Some(0), Some(7), Some(30)]);
    let low = Thresholds {
        monitor: 2,
        warning: 4,
        cleanup: 6,
        emergency: 9,
        fatal: 12,
    };
    let limits = Limits {
        thresholds: genes.of(&[Thresholds::default(), low, low, low]),
        batch: match genes.of(&[
            None,
            None,
            Some(30),
            Some(30),
            Some(812),
            Some(45),
            Some(0),
            Some(u32::MAX),
        ]) {
            Some(batch) => BatchSetting::Fixed(batch),
            None => BatchSetting::Auto,
        },
        inactive_for: genes.of(&[
            days(14),
            days(14),
            days(0),
            days(3),
            days(30),
            Duration::MAX,
        ]),
        creds: genes.of(&[
            CredsPlace::Folder,
            CredsPlace::Folder,
            CredsPlace::Elsewhere,
        ]),
        pre_keys_kept: genes.of(&[50, 50, 0, 1, 29, 55, u32::MAX]),
        emergency_pre_key_min_age: genes.of(&[days(1), days(1), days(2), Duration::MAX]),
    };
    let mut case = Case::plain(Vec::new());
    case.creds = creds;
    case.now = TODAY + jump;
    case.limits = limits;
    case.ask = CleanRequest {
        mode,
        tier,
        force: force.map(|n| Force {
            inactive_for: days(n),
        }),
    };
    case.verdict.state = match genes.below(6) {
        5 => State::Unknown,
        4 => State::Connected,
        _ => State::Disconnected,
    };
    case.verdict.process_gone = genes.below(3) != 0;
    (case, TODAY - away)
}

/// Signs of life at the anchor, so that the folder is neither dormant nor just awake.
fn life(gene: u64, anchor: i64, out: &mut Vec<Made>) {
    let mut genes = Genes(gene);
    if genes.below(8) != 7 {
        out.push(session(100, anchor));
    }
    if genes.below(6) != 5 {
        let back = HOUR * genes.of(&[48, 120, 312, 24, 24, 336, 336]) + genes.of(&[0, 1, -1]);
        out.push(session(101, anchor - back));
    }
}

/// A directory holds each name once.
fn finish(mut case: Case) -> Case {
    let mut taken = BTreeSet::new();
    case.files.retain(|made| taken.insert(made.name()));
    // creds.json and what creds says of it go together.
    if !matches!(case.creds, Creds::Missing) && taken.insert("creds.json".to_owned()) {
        case.files
            .push(Made::new("creds.json", What::Identity, TODAY - 90 * DAY));
    }
    case
}

fn small() -> impl Strategy<Value = Case> {
    (
        any::<u64>(),
        any::<u64>(),
        any::<u64>(),
        prop::collection::vec(any::<u64>(), 0..16),
    )
        .prop_map(|(setup, question, living, genes)| {
            let (mut case, anchor) = circumstances(setup, question);
            life(living, anchor, &mut case.files);
            for gene in genes {
                key(gene, anchor, &mut case.files);
            }
            finish(case)
        })
}

/// Pre-keys with gaps, odd ones among them, ages on both sides of the boundaries.
fn run_of_pre_keys(seed: u64, count: u64, anchor: i64, out: &mut Vec<Made>) {
    let mut shared = Genes(scramble(seed, 0));
    let sparse = shared.of(&[0, 0, 9, 3]);
    let mixed = shared.below(3) == 2;
    let old = instant(&mut Genes(shared.below(256)), anchor);
    let mut id = shared.of(&[0, 0, 10, 700]);
    for at in 1..=count {
        let mut genes = Genes(scramble(seed, at));
        id += if sparse != 0 && genes.below(sparse) == 0 {
            2 + genes.below(20) as u32
        } else {
            1
        };
        let modified = if mixed {
            instant(&mut genes, anchor)
        } else {
            old
        };
        let mut made = pre_key(id, modified);
        match genes.below(64) {
            63 => made.shape = shape(&mut Genes(36 + genes.below(4))),
            62 => {
                let modified = instant(&mut genes, anchor);
                out.push(Made {
                    suffix: ".bak",
                    modified,
                    ..made.clone()
                });
            }
            61 => made.suffix = ".bak",
            60 => made.modified = i64::MAX,
            _ => {}
        }
        out.push(made);
    }
}

fn with_pre_keys(count: std::ops::Range<u64>) -> impl Strategy<Value = Case> {
    let genes = prop::collection::vec(any::<u64>(), 0..6);
    (any::<u64>(), any::<u64>(), any::<u64>(), count, genes).prop_map(
        |(setup, question, seed, count, genes)| {
            let (mut case, anchor) = circumstances(setup, question);
            let mut shared = Genes(scramble(seed, u64::MAX));
            // Mostly not kept whole by the batch, and seldom refused: other folders look at that.
            if shared.below(8) != 7 {
                case.limits.pre_keys_kept = case.limits.pre_keys_kept.min(count as u32);
                if case.limits.batch == BatchSetting::Fixed(u32::MAX) || count < 812 {
                    case.limits.batch = shared.of(&[
                        BatchSetting::Auto,
                        BatchSetting::Fixed(30),
                        BatchSetting::Fixed(45),
                    ]);
                }
                case.limits.emergency_pre_key_min_age = case
                    .limits
                    .emergency_pre_key_min_age
                    .min(Duration::from_secs(2 * 86_400));
            }
            life(shared.below(6), anchor, &mut case.files);
            run_of_pre_keys(seed, count, anchor, &mut case.files);
            let highest = case.files.iter().filter_map(|made| match made.what {
                What::PreKey(id) => id,
                _ => None,
            });
            let highest = highest.max().unwrap_or(0);
            if let Creds::Valid(facts) = &mut case.creds {
                facts.next_pre_key_id = shared.of(&[
                    Some(highest + 1),
                    Some(highest + 1),
                    Some(highest.saturating_sub(3)),
                    None,
                ]);
            }
            for gene in genes {
                key(gene, anchor, &mut case.files);
            }
            finish(case)
        },
    )
}

// ---- the second statement of the rules ----

fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

fn siblings<'a>(case: &'a Case, made: &'a Made) -> impl Iterator<Item = &'a Made> {
    case.files
        .iter()
        .filter(move |other| other.main == made.main)
}

/// The newest activity of a session or sender-key. What is not a plain file with one name, or
/// comes from the future, tells nothing.
fn newest_activity(case: &Case) -> Option<i64> {
    let keys = case
        .files
        .iter()
        .filter(|made| matches!(made.what, What::Session { .. } | What::SenderKey { .. }));
    keys.filter(|made| made.shape == Shape::Regular)
        .map(Made::active)
        .filter(|at| *at <= case.now)
        .max()
}

/// What is known of a folder's batch.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Told {
    guard: u32,
    measured: u32,
    ambiguous: bool,
    uncounted: Uncounted,
}

/// Pre-keys that do not count.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Uncounted {
    None,
    /// Of those written within 2 minutes with ids within 812 of each other, all but 30.
    Together,
    /// Of so many, all but 30; and no unknown file counts if they are more than 30.
    Batch(u32),
}

fn batches(case: &Case) -> Told {
    let seen = |test: &dyn Fn(&What) -> bool| case.files.iter().any(|made| test(&made.what));
    let modern = case.files.iter().any(|made| match made.what {
        What::Bookkeeping { .. } | What::Session { lid: true } => true,
        What::SenderKey {
            who: Who::Lid(_), ..
        } => true,
        What::SenderKey {
            who: Who::Number(_),
            ..
        } => made.main.contains("_128--"),
        _ => false,
    });
    let next = case.creds.facts().and_then(|facts| facts.next_pre_key_id);
    let readable = readable_pre_keys(case);
    let highest = readable.iter().rev().find(|id| **id < 1 << 24);
    let none_yet = next.is_some_and(|next| next <= 812)
        && matches!(case.limits.batch, BatchSetting::Fixed(812..));
    let next = next.unwrap_or(highest.map_or(0, |id| id + 1));
    let many = readable.len() >= 812 || next > 812;
    if let BatchSetting::Fixed(batch) = case.limits.batch {
        // An operator's 30 must not delete the live keys of a folder that is plainly larger.
        let proven = seen(&|what| {
            matches!(
                what,
                What::Bookkeeping {
                    proves_large_batch: true
                }
            )
        });
        return Told {
            guard: if proven || modern && many {
                batch.max(812)
            } else {
                batch
            },
            measured: if none_yet { 30 } else { batch },
            ambiguous: false,
            uncounted: match none_yet {
                true => Uncounted::None,
                false => Uncounted::Batch(batch),
            },
        };
    }
    let guard = if modern || many { 812 } else { 30 };
    let told = |measured, ambiguous, uncounted| Told {
        guard,
        measured,
        ambiguous,
        uncounted,
    };
    let unexplained = many && !modern;
    if next <= 812 {
        return told(30, unexplained, Uncounted::None);
    }
    match together(case, &BTreeSet::new()) {
        (..=30, _, _) => told(30, unexplained, Uncounted::Together),
        (_, since, others) if others > 30 || times_are_lost(case, since) => {
            let batch = if modern { 812 } else { 30 };
            told(batch, true, Uncounted::Batch(batch))
        }
        _ => told(812, false, Uncounted::Together),
    }
}

/// The most pre-keys written within 2 minutes with ids within 812 of each other, when those
/// minutes began, and how many more were written in them.
fn together(case: &Case, gone: &BTreeSet<usize>) -> (usize, i64, usize) {
    let mut keys: BTreeMap<u32, (i64, i64, bool)> = BTreeMap::new();
    let there = case
        .files
        .iter()
        .enumerate()
        .filter(|(at, _)| !gone.contains(at));
    for (_, made) in there {
        let Some(id) = numbered(made) else { continue };
        let at = match made.shape {
            Shape::Unreadable => 0,
            _ => made.modified,
        };
        let fits = matches!(made.shape, Shape::Regular | Shape::HardLinked);
        let key = keys.entry(id).or_insert((at, at, fits));
        *key = (key.0.min(at), key.1.max(at), key.2 && fits);
    }
    keys.retain(|_, key| key.2);
    let starts: BTreeSet<i64> = keys.values().map(|key| key.0).collect();
    let mut best = (0, 0, 0);
    for since in starts {
        let until = since.saturating_add(120_000_000_000);
        let ids: Vec<u32> = keys
            .iter()
            .filter(|(_, key)| key.0 >= since && key.1 <= until)
            .map(|(id, _)| *id)
            .collect();
        let mut to = 0;
        for (from, first) in ids.iter().enumerate() {
            while to < ids.len() && ids[to] - first < 812 {
                to += 1;
            }
            if to - from > best.0 {
                best = (to - from, since, ids.len() - (to - from));
            }
        }
    }
    best
}

/// Sessions that are older by their records than an hour before `since`, and whose files are
/// not; and less than a tenth as many files that are.
fn times_are_lost(case: &Case, since: i64) -> bool {
    let before = since.saturating_sub(HOUR);
    let (mut files, mut records) = (0, 0);
    for made in &case.files {
        if matches!(made.what, What::Unknown) || made.shape == Shape::Unreadable {
            continue;
        }
        if made.modified < before {
            files += 1;
        } else if let SessionActivity::Times(Some(times)) = made.inside
            && (1..before).contains(&times.first.nanos())
        {
            records += 1;
        }
    }
    records > 10 * files
}

/// Ids of pre-keys that the library can read: from the main file, or from its .bak.
fn readable_pre_keys(case: &Case) -> BTreeSet<u32> {
    case.files
        .iter()
        .filter(|made| made.suffix != ".tmp")
        .filter_map(numbered)
        .collect()
}

fn numbered(made: &Made) -> Option<u32> {
    match made.what {
        What::PreKey(id) => id,
        _ => None,
    }
}

/// What the tiers count, of the files whose place in the case is in none of `gone`.
fn count_accumulated(case: &Case, uncounted: Uncounted, gone: &BTreeSet<usize>) -> usize {
    let (mut mains, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for made in case
        .files
        .iter()
        .enumerate()
        .filter(|(at, _)| !gone.contains(at))
        .map(|(_, made)| made)
    {
        ids.extend(numbered(made));
        let counts = match made.what {
            What::Bookkeeping { .. } | What::TokenOfFork => false,
            What::Unknown => {
                !matches!(uncounted, Uncounted::Batch(31..)) && !made.main.starts_with('.')
            }
            _ => true,
        };
        if counts {
            mains.insert(made.main.as_str());
        }
    }
    let uncounted = match uncounted {
        Uncounted::None => 0,
        Uncounted::Together => together(case, gone).0,
        Uncounted::Batch(batch) => ids.len().min(batch as usize),
    };
    mains.len() - uncounted.saturating_sub(30)
}

/// Plain pre-keys with an id in the library's form that creds.json does not contradict.
fn plain_pre_keys(case: &Case) -> BTreeSet<u32> {
    let next = case.creds.facts().and_then(|facts| facts.next_pre_key_id);
    let mut ids = BTreeSet::new();
    let mut odd = BTreeSet::new();
    for made in &case.files {
        if let Some(id) = numbered(made) {
            if made.is_plain() && made.modified <= case.now && next.is_none_or(|next| id < next) {
                ids.insert(id);
            } else {
                odd.insert(id);
            }
        }
    }
    ids.retain(|id| !odd.contains(id));
    &ids & &readable_pre_keys(case)
}

/// How many of the newest pre-keys stay, whatever the limits say.
fn pre_keys_that_stay(case: &Case) -> usize {
    let by_batch = batches(case).guard.saturating_add(20);
    50.max(by_batch).max(case.limits.pre_keys_kept) as usize
}

/// What the per-file rules look at besides the file.
struct Facts {
    newest: i64,
    ids: BTreeSet<u32>,
    stay: usize,
}

impl Facts {
    fn of(case: &Case) -> Self {
        Self {
            newest: newest_activity(case).unwrap_or(case.now),
            ids: plain_pre_keys(case),
            stay: pre_keys_that_stay(case),
        }
    }
}

/// Configured so, and the folder holds no creds.json and no companion of one.
fn are_elsewhere(case: &Case) -> bool {
    case.limits.creds == CredsPlace::Elsewhere
        && case.creds == Creds::Missing
        && case.files.iter().all(|made| made.main != "creds.json")
}

/// Why this file must stay, as far as one file can say.
fn must_stay(case: &Case, facts: &Facts, made: &Made) -> Option<&'static str> {
    let unknown = CredsFacts::default();
    let own = match &case.creds {
        Creds::Valid(facts) => facts,
        Creds::Missing if are_elsewhere(case) => {
            if matches!(made.what, What::SenderKey { .. } | What::Memory { .. }) {
                return Some("its owner is unknown");
            }
            &unknown
        }
        _ => return Some("creds.json is not valid"),
    };
    // Of the key as a whole: one file of it that is odd or in use keeps the others.
    for file in siblings(case, made) {
        if file.shape != Shape::Regular {
            return Some("not a plain file with one name");
        }
        if file.inside == SessionActivity::Unparsable {
            return Some("not understood");
        }
        if file.active() > case.now {
            return Some("from the future");
        }
    }
    if !made.main.bytes().all(|byte| (b'!'..=b'~').contains(&byte)) {
        return Some("a name the library does not write");
    }
    let active = siblings(case, made).map(Made::active).max()?;
    let span = match case.ask.force {
        Some(force) => nanos(force.inactive_for),
        None => nanos(case.limits.inactive_for).max(FORTNIGHT),
    };
    let in_use = active >= facts.newest.saturating_sub(span);
    match made.what {
        What::Identity => Some("identity and app state"),
        What::Bookkeeping { .. } => Some("bookkeeping of 7.x"),
        What::TokenOfFork => Some("a token, as in 7.x"),
        What::Unknown => Some("unknown"),
        What::Session { .. } => in_use.then_some("session in use"),
        What::SenderKey { who, .. } => {
            // Whose key it is, creds.json must be able to say.
            let is_own = match who {
                Who::Number(user) => own.own_number.as_ref().map(|own| own == user),
                Who::Lid(user) => own.own_lid.as_ref().map(|own| own == user),
                Who::Odd => None,
            };
            match is_own {
                None => Some("the owner of this sender-key is unknown"),
                Some(true) if !case.verdict.process_gone => {
                    Some("own sender-key of a process not proven gone")
                }
                Some(_) => in_use.then_some("sender-key in use"),
            }
        }
        What::Memory { .. } if !case.verdict.process_gone => {
            Some("memory of a process not proven gone")
        }
        What::Memory { .. } => in_use.then_some("memory in use"),
        What::PreKey(None) => Some("no id the library writes"),
        What::PreKey(Some(id)) => {
            let age = match case.ask.mode {
                CleanupMode::Cleanup => match case.ask.force {
                    Some(force) => nanos(force.inactive_for),
                    None => FORTNIGHT,
                },
                CleanupMode::Emergency => nanos(case.limits.emergency_pre_key_min_age).max(DAY),
            };
            let newer = facts.ids.iter().filter(|other| **other > id).count();
            if own.next_pre_key_id.is_some_and(|next| id >= next) {
                Some("not minted yet")
            } else if newer == 0 {
                Some("the highest id")
            } else if newer < facts.stay {
                Some("one of the newest")
            } else {
                (active >= case.now.saturating_sub(age)).then_some("minted too recently")
            }
        }
    }
}

/// The reasons for which the whole run must be refused.
fn must_refuse(case: &Case) -> BTreeSet<&'static str> {
    let mut reasons = BTreeSet::new();
    let forced = case.ask.force.is_some();
    match case.verdict.state {
        State::Connected if !forced => _ = reasons.insert("connected"),
        State::Unknown if !forced => _ = reasons.insert("connection_unknown"),
        _ => {}
    }
    if let Some(tier) = case.ask.tier {
        let t = case.limits.thresholds;
        let begins = match tier {
            Tier::Monitor => t.monitor,
            Tier::Warning => t.warning,
            Tier::Cleanup => t.cleanup,
            Tier::Emergency => t.emergency,
            Tier::Fatal => t.fatal,
        };
        if count_accumulated(case, batches(case).uncounted, &BTreeSet::new()) < begins {
            reasons.insert("stale_alert");
        }
    }
    if !matches!(case.creds, Creds::Valid(_)) && !are_elsewhere(case) {
        reasons.insert("creds_broken");
    }
    if !forced {
        match newest_activity(case) {
            Some(newest) if newest >= case.now.saturating_sub(FORTNIGHT) => {
                let (from, to) = (
                    newest.saturating_sub(FORTNIGHT),
                    newest.saturating_sub(3 * DAY),
                );
                let lived = |at: i64| at >= from && at <= to;
                let mut known = case.files.iter().filter(|made| {
                    made.shape == Shape::Regular && !matches!(made.what, What::Unknown)
                });
                if !known.any(|made| lived(made.modified) || lived(made.active())) {
                    reasons.insert("woke_recently");
                }
            }
            _ => _ = reasons.insert("dormant"),
        }
    }
    reasons
}

macro_rules! require {
    ($holds:expr, $($why:tt)+) => {
        if !$holds {
            return Err(TestCaseError::fail(format!($($why)+)));
        }
    };
}

/// Everything that must be true of a plan.
fn check_plan(case: &Case, inventory: &Inventory, plan: &Plan) -> Result<(), TestCaseError> {
    let facts = Facts::of(case);
    let places: BTreeMap<Vec<u8>, usize> = case
        .files
        .iter()
        .enumerate()
        .map(|(at, made)| (made.name().into_bytes(), at))
        .collect();
    let mut order: BTreeMap<usize, usize> = BTreeMap::new();
    for (turn, step) in plan.moves.iter().enumerate() {
        let Some(&at) = places.get(step.name.as_bytes()) else {
            return Err(TestCaseError::fail("a file that is not in the folder"));
        };
        let made = &case.files[at];
        require!(order.insert(at, turn).is_none(), "{} twice", made.name());
        require!(
            step.stamp == made.entry(at).stamp,
            "the stamp of {} is another's",
            made.name()
        );
        if let Some(why) = must_stay(case, &facts, made) {
            require!(false, "{} must stay: {why}", made.name());
        }
    }
    let gone: BTreeSet<usize> = order.keys().copied().collect();
    require!(!gone.is_empty(), "a plan that moves nothing");

    // A key goes with its companions, and they go first: a leftover .bak would be read back.
    for (&at, &turn) in &order {
        let made = &case.files[at];
        for (other_at, other) in case
            .files
            .iter()
            .enumerate()
            .filter(|(_, other)| other.main == made.main)
        {
            let Some(&other_turn) = order.get(&other_at) else {
                return Err(TestCaseError::fail(format!(
                    "{} goes and {} stays",
                    made.name(),
                    other.name()
                )));
            };
            require!(
                made.suffix.is_empty() || !other.suffix.is_empty() || turn < other_turn,
                "{} after {}",
                made.name(),
                other.name()
            );
        }
    }

    check_groups(case, &order)?;

    // Pre-keys: enough of them, and the newest, among those that the server may know.
    let moved_ids: BTreeSet<u32> = gone
        .iter()
        .filter_map(|at| numbered(&case.files[*at]))
        .collect();
    if let Some(highest_moved) = moved_ids.last() {
        let left: BTreeSet<u32> = facts.ids.difference(&moved_ids).copied().collect();
        require!(left.len() >= 30, "{} pre-keys left", left.len());
        require!(left.last() == facts.ids.last(), "the highest id goes");
        let every = case.files.iter().filter_map(numbered).max();
        require!(every > Some(*highest_moved), "the highest id of all goes");
        let newest: Vec<u32> = facts.ids.iter().rev().take(facts.stay).copied().collect();
        require!(
            newest.iter().all(|id| left.contains(id)),
            "one of the newest {} goes",
            facts.stay
        );
    }

    // The numbers that people read.
    let uncounted = batches(case).uncounted;
    require!(
        plan.accumulated_before == count_accumulated(case, uncounted, &BTreeSet::new()),
        "accumulated_before {}",
        plan.accumulated_before
    );
    let after = count_accumulated(case, uncounted, &gone);
    require!(
        plan.accumulated_after == after,
        "accumulated_after {} is {after}",
        plan.accumulated_after
    );
    require!(
        plan.accumulated_after <= plan.accumulated_before,
        "the count grows"
    );
    require!(
        plan.pre_keys_left == readable_pre_keys(case).difference(&moved_ids).count(),
        "pre_keys_left {}",
        plan.pre_keys_left
    );
    require!(plan.mode == case.ask.mode, "another column");
    let now = Timestamp::from_nanos(case.now);
    let gone_process = case.verdict.process_gone;
    if case.ask.force.is_none() {
        let counts = removable(inventory, now, &case.limits, case.ask.mode, gone_process);
        require!(
            counts == plan.by_kind(),
            "removable says {counts:?}, the plan {:?}",
            plan.by_kind()
        );
        require!(
            counts.values().sum::<usize>() == gone.len(),
            "counts do not add up: {counts:?}"
        );
    }

    check_remains(case, &gone)
}

/// The bot's own sender-keys of a group and its memory: all or none, the memory first.
fn check_groups(case: &Case, order: &BTreeMap<usize, usize>) -> Result<(), TestCaseError> {
    let Some(own) = case.creds.facts() else {
        return Ok(());
    };
    for wanted in 0..GROUPS.len() {
        let (mut memory, mut keys) = (Vec::new(), Vec::new());
        for (at, made) in case.files.iter().enumerate() {
            match made.what {
                What::Memory { group } if group == wanted => memory.push(order.get(&at)),
                // Whatever creds.json does not rule out may be the bot's.
                What::SenderKey { group, who } if group == wanted => {
                    let others = match who {
                        Who::Number(user) => own.own_number.as_ref().is_some_and(|own| own != user),
                        Who::Lid(user) => own.own_lid.as_ref().is_some_and(|own| own != user),
                        // No program writes such a name: it is no key of the bot's.
                        Who::Odd => true,
                    };
                    if !others {
                        keys.push(order.get(&at));
                    }
                }
                _ => {}
            }
        }
        let moved = memory.iter().chain(&keys).flatten().count();
        require!(
            moved == 0 || moved == memory.len() + keys.len(),
            "group {wanted}: a part of it goes"
        );
        require!(
            moved == 0 || !memory.is_empty() && !keys.is_empty(),
            "group {wanted}: key or memory alone"
        );
        require!(
            memory.iter().max() < keys.iter().min() || moved == 0,
            "group {wanted}: the sender-key before its memory"
        );
    }
    Ok(())
}

/// After the move, at the same clock, nothing that was protected has lost its protection.
fn check_remains(case: &Case, gone: &BTreeSet<usize>) -> Result<(), TestCaseError> {
    let mut rest = case.clone();
    let mut at = 0;
    rest.files.retain(|_| {
        at += 1;
        !gone.contains(&(at - 1))
    });
    let guard = batches(case).guard;
    // A folder may lose its last LID name; an operator's batch stays what it is.
    if batches(&rest).guard != guard {
        rest.limits.batch = BatchSetting::Fixed(guard);
    }
    let now = Timestamp::from_nanos(case.now);
    match plan(
        &rest.inventory(),
        rest.verdict.process_gone,
        now,
        &rest.limits,
        &rest.ask,
    ) {
        Err(Refusal::NothingRemovable) => Ok(()),
        // An emergency may move the pre-keys that were the only life of the last fortnight.
        Err(Refusal::WokeRecently) if rest.ask.mode == CleanupMode::Emergency => Ok(()),
        again => Err(TestCaseError::fail(format!(
            "planned again it says {again:?}"
        ))),
    }
}

/// What a run of cases has seen, so that a generator gone stale is a failure, too.
#[derive(Default)]
struct Seen {
    refusals: BTreeMap<&'static str, usize>,
    moved: BTreeMap<Kind, usize>,
    plans: usize,
}

fn check(case: &Case, seen: &RefCell<Seen>) -> Result<(), TestCaseError> {
    let inventory = case.inventory();
    let now = Timestamp::from_nanos(case.now);
    let answer = decide(&inventory, &case.verdict, now, &case.limits, &case.ask);
    let reasons = must_refuse(case);
    let mut seen = seen.borrow_mut();
    match &answer {
        Err(refusal) => {
            *seen.refusals.entry(refusal.label()).or_default() += 1;
            let expected = if reasons.is_empty() {
                *refusal == Refusal::NothingRemovable
            } else {
                reasons.contains(refusal.label())
            };
            require!(
                expected,
                "refused as {refusal:?}, which does not apply; {reasons:?} do"
            );
        }
        Ok(plan) => {
            require!(reasons.is_empty(), "planned in spite of {reasons:?}");
            seen.plans += 1;
            for (kind, count) in plan.by_kind() {
                *seen.moved.entry(kind).or_default() += count;
            }
            check_plan(case, &inventory, plan)?;
            // Pure: asked twice it says the same; the order of the listing means nothing.
            let again = decide(&inventory, &case.verdict, now, &case.limits, &case.ask);
            require!(
                again == answer,
                "another answer for the same folder: {again:?}"
            );
            let turned = Inventory::new(
                inventory.files().iter().rev().cloned(),
                inventory.creds.clone(),
            );
            let turned = decide(&turned, &case.verdict, now, &case.limits, &case.ask);
            require!(
                turned == answer,
                "another answer for another listing: {turned:?}"
            );
        }
    }
    Ok(())
}

/// `make check` tries a tenth of the cases, too few to say what a generator makes.
fn quick() -> bool {
    std::env::var_os("QUICK_PROPERTIES").is_some()
}

fn run<S: Strategy<Value = Case>>(
    cases: u32,
    strategy: S,
    test: impl Fn(&Case) -> Result<(), TestCaseError>,
) {
    // Nothing is written beside the sources: a failure prints its folder.
    let config = Config {
        cases: if quick() { cases / 10 } else { cases },
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..Config::default()
    };
    if let Err(failure) = TestRunner::new(config).run(&strategy, |case| test(&case)) {
        panic!("{failure}");
    }
}

#[test]
fn never_in_small_folders() {
    let seen = RefCell::new(Seen::default());
    run(SMALL, small(), |case| check(case, &seen));
    if quick() {
        return;
    }
    let seen = seen.into_inner();
    for reason in Refusal::LABELS {
        let times = seen.refusals.get(reason).copied().unwrap_or(0);
        assert!(
            times > SMALL as usize / 500,
            "refused {times} times as {reason}"
        );
    }
    assert!(seen.plans > SMALL as usize / 20, "{} plans", seen.plans);
    for kind in [Kind::Session, Kind::SenderKey, Kind::SenderKeyMemory] {
        let moved = seen.moved.get(&kind).copied().unwrap_or(0);
        assert!(moved > SMALL as usize / 500, "{moved} moves of {kind:?}");
    }
}

#[test]
fn never_in_folders_with_many_pre_keys() {
    let seen = RefCell::new(Seen::default());
    run(WITH_PRE_KEYS, with_pre_keys(48..86), |case| {
        check(case, &seen)
    });
    if quick() {
        return;
    }
    let seen = seen.into_inner();
    let moved = seen.moved.get(&Kind::PreKey).copied().unwrap_or(0);
    assert!(moved > WITH_PRE_KEYS as usize, "{moved} pre-keys moved");
}

#[test]
fn never_in_large_folders() {
    let seen = RefCell::new(Seen::default());
    run(LARGE, with_pre_keys(780..990), |case| check(case, &seen));
    if quick() {
        return;
    }
    let seen = seen.into_inner();
    assert!(
        seen.moved.get(&Kind::PreKey).copied().unwrap_or(0) > LARGE as usize,
        "{:?}",
        seen.moved
    );
}

// ---- not trivially careful ----

/// Folders with nothing odd in them: what is old there must go, all of it.
fn lively() -> impl Strategy<Value = Case> {
    let ages = prop::collection::vec(0..80 * DAY, 0..10);
    (ages.clone(), ages, any::<bool>(), 0..70_u32, any::<bool>()).prop_map(
        |(sessions, others, process_gone, pre_keys, emergency)| {
            let mut files = vec![Made::new("creds.json", What::Identity, TODAY - HOUR)];
            // Some contact wrote on every day.
            files.extend((0..14).map(|day| session(500 + day, TODAY - day as i64 * DAY - HOUR)));
            files.extend(
                sessions
                    .iter()
                    .enumerate()
                    .map(|(at, age)| session(at as u64, TODAY - HOUR - age)),
            );
            files.extend(others.iter().enumerate().map(|(at, age)| {
                let who = Who::Number("79100000007");
                sender_key(0, "79100000007", who, at as u64, TODAY - HOUR - age)
            }));
            for (group, age) in others.iter().enumerate().take(GROUPS.len()) {
                files.push(memory(group, TODAY - HOUR - age));
                files.push(sender_key(
                    group,
                    OWN_NUMBER,
                    Who::Number(OWN_NUMBER),
                    3,
                    TODAY - HOUR - age,
                ));
            }
            files.extend((1..=pre_keys).map(|id| pre_key(id, TODAY - i64::from(80 - id) * DAY)));
            let mut case = Case::plain(files).with_next_pre_key(pre_keys + 1);
            case.verdict.process_gone = process_gone;
            case.ask.mode = if emergency {
                CleanupMode::Emergency
            } else {
                CleanupMode::Cleanup
            };
            case
        },
    )
}

#[test]
fn whatever_nothing_protects_goes() {
    run(LIVE, lively(), |case| {
        let facts = Facts::of(case);
        let expected: BTreeSet<String> = case
            .files
            .iter()
            .filter(|made| must_stay(case, &facts, made).is_none())
            .map(Made::name)
            .collect();
        let planned = match case.decide() {
            Ok(plan) => plan
                .moves
                .iter()
                .map(|step| step.name.as_os_str().to_str().unwrap().to_owned())
                .collect(),
            Err(Refusal::NothingRemovable) => BTreeSet::new(),
            Err(refusal) => return Err(TestCaseError::fail(format!("refused: {refusal}"))),
        };
        let missing: Vec<_> = expected.difference(&planned).collect();
        require!(
            missing.is_empty(),
            "nothing protects {missing:?}, and they stay"
        );
        Ok(())
    });
}

#[test]
fn one_more_file_never_lowers_the_count() {
    run(GROWING, small(), |case| {
        let mut fewer = case.clone();
        let Some(added) = fewer.files.pop() else {
            return Ok(());
        };
        let without = fewer;
        let (more, fewer) = (case.inventory(), without.inventory());
        // Where the times are lost, and where a copy is the question, kinds decide.
        let auto = match (batches(case).uncounted, batches(&without).uncounted) {
            (Uncounted::Batch(_), _) | (_, Uncounted::Batch(_)) => None,
            _ => Some(BatchSetting::Auto),
        };
        let fixed = [30, 812].map(BatchSetting::Fixed);
        for setting in fixed.into_iter().chain(auto) {
            let (before, after) = (
                accumulated_files(&fewer, setting),
                accumulated_files(&more, setting),
            );
            require!(
                before <= after,
                "{} takes the count from {before} to {after}",
                added.name()
            );
            require!(
                after <= before + 1,
                "{} takes the count from {before} to {after}",
                added.name()
            );
        }
        let expected = batches(case);
        let told = Batches::of(&more, case.limits.batch);
        require!(
            (told.guard, told.measured, told.is_ambiguous())
                == (expected.guard, expected.measured, expected.ambiguous),
            "{told:?} and not {expected:?}"
        );
        let counted = accumulated_files(&more, case.limits.batch);
        require!(
            counted == count_accumulated(case, expected.uncounted, &BTreeSet::new()),
            "counted {counted}"
        );
        // On a classic folder without companions and dotfiles it is what `ls | wc -l` says.
        let plain = case.files.iter().all(|made| {
            made.suffix.is_empty()
                && !made.main.starts_with('.')
                && !matches!(made.what, What::Bookkeeping { .. } | What::TokenOfFork)
        });
        if plain && expected.measured <= 30 {
            require!(
                counted == case.files.len(),
                "{counted} of {} files counted",
                case.files.len()
            );
        }
        Ok(())
    });
}

// ---- folders everybody knows ----

/// A bot of 6.x: `pre_keys` of them, one a minute up to `minted`; 40 contacts, 16 of them
/// long silent, with 18 other files.
fn classic(pre_keys: u32, minted: i64, last_life: i64) -> Case {
    let mut files = vec![Made::new("creds.json", What::Identity, last_life)];
    for version in [
        "critical_block",
        "critical_unblock_low",
        "regular_high",
        "regular_low",
        "regular",
    ] {
        files.push(Made::new(
            format!("app-state-sync-version-{version}.json"),
            What::Identity,
            last_life,
        ));
    }
    files.push(Made::new(
        "app-state-sync-key-AAAAANf__.json",
        What::Identity,
        last_life,
    ));
    files.push(memory(0, last_life));
    files.push(sender_key(
        0,
        OWN_NUMBER,
        Who::Number(OWN_NUMBER),
        3,
        last_life,
    ));
    for device in 0..10 {
        files.push(sender_key(
            0,
            "79100000007",
            Who::Number("79100000007"),
            device,
            last_life - DAY,
        ));
    }
    for contact in 0..40 {
        let silent = if contact < 24 {
            contact as i64 * 12 * HOUR
        } else {
            contact as i64 * 5 * DAY
        };
        files.push(session(contact, last_life - silent));
    }
    for id in 1..=pre_keys {
        files.push(pre_key(
            id,
            minted - i64::from(pre_keys - id) * 60_000_000_000,
        ));
    }
    Case::plain(files).with_next_pre_key(pre_keys + 1)
}

fn in_every_column(mut case: Case, test: impl Fn(&Case)) {
    for mode in CleanupMode::ALL {
        for process_gone in [false, true] {
            case.ask.mode = mode;
            case.verdict.process_gone = process_gone;
            test(&case);
        }
    }
}

#[test]
fn the_bloated_classic_folder_ends_below_120() {
    for mode in CleanupMode::ALL {
        let mut case = classic(328, TODAY - 20 * DAY, TODAY - HOUR);
        case.ask = CleanRequest {
            mode,
            tier: Some(Tier::Fatal),
            force: None,
        };
        assert_eq!(case.files.len(), 387);
        let plan = case.decide().unwrap();
        assert_eq!(plan.accumulated_before, 387);
        assert_eq!(
            plan.moves.len(),
            278 + 16,
            "all but 50 pre-keys, and who was silent for long"
        );
        assert_eq!(plan.accumulated_after, 93);
        assert_eq!(plan.pre_keys_left, 50);
        assert!(plan.accumulated_after < 120);
    }
}

#[test]
fn fresh_pre_keys_go_in_the_emergency_only() {
    let mut case = classic(328, TODAY - 2 * DAY, TODAY - HOUR);
    let moved = |case: &Case| case.decide().unwrap().by_kind().get(&Kind::PreKey).copied();
    assert_eq!(moved(&case), None);
    case.ask.mode = CleanupMode::Emergency;
    assert_eq!(moved(&case), Some(278));
    let case = Case {
        ask: case.ask,
        ..classic(328, TODAY - DAY + 278 * 60_000_000_000, TODAY - HOUR)
    };
    assert!(
        moved(&case) < Some(278),
        "younger than 24 h stays in the emergency, too"
    );
}

#[test]
fn a_clock_one_year_ahead_is_dormant() {
    let mut case = classic(328, TODAY - 20 * DAY, TODAY - HOUR);
    case.now += 365 * DAY;
    in_every_column(case.clone(), |case| {
        assert!(matches!(
            case.decide(),
            Err(Refusal::Dormant { newest: Some(_) })
        ));
    });
    // The bot has written with that clock already.
    for since in [0, HOUR, 23 * HOUR] {
        let mut case = case.clone();
        case.files.push(session(900, case.now));
        case.files.push(session(901, case.now - since));
        in_every_column(case, |case| {
            assert_eq!(case.decide(), Err(Refusal::WokeRecently))
        });
    }
    let nothing = removable(
        &case.inventory(),
        Timestamp::from_nanos(case.now),
        &case.limits,
        CleanupMode::Emergency,
        true,
    );
    assert!(nothing.is_empty());
}

#[test]
fn a_bot_down_for_three_weeks_is_dormant() {
    let case = classic(328, TODAY - 40 * DAY, TODAY - 21 * DAY);
    in_every_column(case.clone(), |case| {
        assert!(matches!(
            case.decide(),
            Err(Refusal::Dormant { newest: Some(_) })
        ));
    });
    let mut back = case;
    back.files.push(session(900, TODAY - HOUR));
    back.files[0].modified = TODAY - HOUR;
    in_every_column(back, |case| {
        assert_eq!(case.decide(), Err(Refusal::WokeRecently))
    });
}

#[test]
fn no_session_and_no_sender_key_is_dormant() {
    let mut case = classic(328, TODAY - 40 * DAY, TODAY - HOUR);
    case.files
        .retain(|made| !matches!(made.what, What::Session { .. } | What::SenderKey { .. }));
    in_every_column(case, |case| {
        assert_eq!(case.decide(), Err(Refusal::Dormant { newest: None }))
    });
}

#[test]
fn force_opens_a_dormant_folder_and_nothing_else() {
    let mut case = classic(328, TODAY - 60 * DAY, TODAY - 21 * DAY);
    case.verdict.state = State::Unknown;
    case.ask.force = Some(Force {
        inactive_for: Duration::from_secs(0),
    });
    let plan = case.decide().unwrap();
    assert_eq!(plan.pre_keys_left, 50);
    assert!(
        plan.by_kind()
            .keys()
            .all(|kind| matches!(kind, Kind::PreKey | Kind::Session | Kind::SenderKey))
    );
    case.ask.tier = Some(Tier::Fatal);
    assert!(case.decide().is_ok());
    case.files.retain(|made| numbered(made).is_none());
    assert!(matches!(
        case.decide(),
        Err(Refusal::StaleAlert {
            live: 59,
            threshold: 200
        })
    ));
    for creds in [
        Creds::Missing,
        Creds::Broken(BrokenCreds::Empty),
        Creds::Unreadable(String::new()),
    ] {
        let case = Case {
            creds,
            ask: CleanRequest {
                tier: None,
                ..case.ask
            },
            ..case.clone()
        };
        assert!(matches!(case.decide(), Err(Refusal::CredsBroken(_))));
    }
}

#[test]
fn a_neglected_classic_folder_reads_as_what_it_is() {
    for (pre_keys_there, guard) in [(811, 30), (812, 812), (813, 812)] {
        let mut case = classic(pre_keys_there, TODAY - 20 * DAY, TODAY - HOUR);
        // As it would be with an old creds.json, too.
        for next in [None, Some(pre_keys_there + 1)] {
            if let Creds::Valid(facts) = &mut case.creds {
                facts.next_pre_key_id = next;
            }
            let mut number = 200;
            while case.files.len() < 886 {
                number += 1;
                case.files.push(session(number, TODAY - HOUR));
            }
            let inventory = case.inventory();
            let told = Batches::of(&inventory, BatchSetting::Auto);
            assert_eq!(told.measured, 30);
            assert_eq!(
                told.guard, guard,
                "{pre_keys_there} pre-keys, next {next:?}"
            );
            assert_eq!(told.is_ambiguous(), guard == 812);
            assert_eq!(pre_keys(&inventory), pre_keys_there as usize);
            assert_eq!(accumulated_files(&inventory, BatchSetting::Auto), 886);
            assert_eq!(Thresholds::default().tier(886), Some(Tier::Fatal));
        }
    }
    // 811 files are no hint; that 812 were minted is.
    let case = classic(811, TODAY, TODAY).with_next_pre_key(813);
    assert_eq!(
        Batches::of(&case.inventory(), BatchSetting::Auto).guard,
        812
    );
}

#[test]
fn a_modern_folder_stays_green() {
    let mut files = vec![Made::new("creds.json", What::Identity, TODAY)];
    files.extend((1..=812).map(|id| pre_key(id, TODAY)));
    // By the formula, with three files that count.
    let mut counted = Case::plain(files.clone()).with_next_pre_key(813);
    counted
        .files
        .extend((0..3).map(|number| session(number, TODAY)));
    assert_eq!(counted.files.len(), 816);
    for setting in [BatchSetting::Fixed(812), BatchSetting::Auto] {
        assert_eq!(accumulated_files(&counted.inventory(), setting), 34);
    }
    assert!(
        !Batches::of(&counted.inventory(), BatchSetting::Auto).is_ambiguous(),
        "they were minted together"
    );
    // As 7.0.0-rc14 leaves it after a login: the three are bookkeeping.
    let mut fresh = Case::plain(files).with_next_pre_key(813);
    for name in [
        "device-list-447700900001",
        "lid-mapping-447700900001",
        "lid-mapping-180001112223334_reverse",
    ] {
        let what = What::Bookkeeping {
            proves_large_batch: false,
        };
        fresh
            .files
            .push(Made::new(format!("{name}.json"), what, TODAY));
    }
    let told = Batches::of(&fresh.inventory(), BatchSetting::Auto);
    assert_eq!((told.guard, told.measured), (812, 812));
    assert_eq!(fresh.files.len(), 816);
    assert_eq!(
        accumulated_files(&fresh.inventory(), BatchSetting::Auto),
        31
    );
}

/// Exactly at a boundary the file stays; one nanosecond beyond, it goes.
#[test]
fn boundaries_to_the_nanosecond() {
    let newest = TODAY - 2 * DAY;
    for (at, goes) in [(newest - FORTNIGHT, false), (newest - FORTNIGHT - 1, true)] {
        for odd in [
            session(1, at),
            sender_key(0, "79100000007", Who::Number("79100000007"), 0, at),
        ] {
            let case = Case::plain(vec![session(8, newest), session(9, newest - 3 * DAY), odd]);
            assert_eq!(case.decide().is_ok(), goes, "{case:?}");
        }
        // The inside alone keeps it.
        let mut old = session(1, newest - 90 * DAY);
        old.inside = SessionActivity::at(Timestamp::from_nanos(at));
        let case = Case::plain(vec![session(8, newest), session(9, newest - 3 * DAY), old]);
        assert_eq!(case.decide().is_ok(), goes, "{case:?}");
    }
    for (age, goes) in [(DAY, false), (DAY + 1, true)] {
        let mut files = vec![session(8, TODAY), session(9, TODAY - 3 * DAY)];
        files.extend((1..=51).map(|id| pre_key(id, TODAY - age)));
        let mut case = Case::plain(files).with_next_pre_key(52);
        case.ask.mode = CleanupMode::Emergency;
        assert_eq!(case.decide().is_ok(), goes);
    }
    for (away, dormant) in [(FORTNIGHT, false), (FORTNIGHT + 1, true)] {
        let case = Case::plain(vec![
            session(8, TODAY - away),
            session(9, TODAY - away - 3 * DAY),
        ]);
        assert_eq!(
            matches!(case.decide(), Err(Refusal::Dormant { .. })),
            dormant
        );
    }
}

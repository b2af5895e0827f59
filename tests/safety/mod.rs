//! docs/safety.md holds to the code: the cells of the guard table and the order of the
//! refusals are taken from the policy. tests/safety/promises.md names the code and the tests of
//! each promise, and every function and test that is named exists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use baileys_exporter::connection::{Evidence, Finding, State, Verdict, fold};
use baileys_exporter::control::RestartObstacle;
use baileys_exporter::folder::{
    Creds, CredsFacts, Entry, FileName, Inventory, Kind, SessionActivity, Shape, Stamp, Timestamp,
};
use baileys_exporter::policy::guard::MOVABLE_KINDS;
use baileys_exporter::policy::insurance::RestoreRefusal;
use baileys_exporter::policy::{
    BatchSetting, CleanRequest, CleanupMode, CredsPlace, Force, Limits, Refusal, RestartBudget,
    StopInputs, StopRefusal, Thresholds, Tier, decide, may_stop, plan,
};
use baileys_exporter::remediator::quarantine::Obstacle;

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
/// Old enough for anything.
const OLD: i64 = 400 * DAY;
const GROUP: &str = "12036300000000001@g.us";
const OWN: &str = "79990000001";

fn text() -> String {
    super::doc("docs/safety.md").1
}

/// The promises by number, with their code and their tests.
fn contributors_table() -> String {
    super::doc("tests/safety/promises.md").1
}

/// The cells of a marked table, without its head.
fn rows(text: &str, name: &str) -> Vec<Vec<String>> {
    let (begin, end) = (
        format!("<!-- BEGIN {name} -->"),
        format!("<!-- END {name} -->"),
    );
    let table = &text[text.find(&begin).unwrap()..text.find(&end).unwrap()];
    table
        .lines()
        .filter(|line| line.starts_with('|'))
        .skip(2)
        .map(cells)
        .collect()
}

/// The guard table, with what "the same" stands for.
fn guard_rows(text: &str) -> Vec<Vec<String>> {
    let mut table = rows(text, "guard");
    for cells in &mut table {
        if cells[2] == "the same" {
            cells[2] = cells[1].clone();
        }
    }
    table
}

fn cells(line: &str) -> Vec<String> {
    line.trim()
        .trim_matches('|')
        .split('|')
        .map(|cell| cell.trim().to_owned())
        .collect()
}

fn now() -> Timestamp {
    Timestamp::from_secs(1_800_000_000)
}

fn ago(seconds: i64) -> Timestamp {
    Timestamp::from_nanos(now().nanos() - seconds * 1_000_000_000)
}

fn entry(name: &str, age: i64) -> Entry {
    let modified = ago(age);
    let inside = if name.starts_with("session-") {
        SessionActivity::at(modified)
    } else {
        SessionActivity::NotRead
    };
    let stamp = Stamp {
        modified,
        size: 10,
        ..Stamp::default()
    };
    Entry {
        name: FileName::new(name),
        shape: Shape::Regular,
        stamp,
        inside,
    }
}

// ---- the guard table ----

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Row {
    Of(Kind),
    OthersSenderKey,
    OwnSenderKey,
}

fn table_rows() -> Vec<Row> {
    let row = |kind| match kind {
        Kind::SenderKey => vec![Row::OthersSenderKey, Row::OwnSenderKey],
        kind => vec![Row::Of(kind)],
    };
    Kind::ALL.into_iter().flat_map(row).collect()
}

impl Row {
    fn title(self) -> String {
        match self {
            Row::Of(kind) => kind.label().to_owned(),
            Row::OthersSenderKey => "sender-key of others".to_owned(),
            Row::OwnSenderKey => "sender-key of the bot itself".to_owned(),
        }
    }

    fn kind(self) -> Kind {
        match self {
            Row::Of(kind) => kind,
            _ => Kind::SenderKey,
        }
    }

    /// The file that is looked at, and those without which it could not go.
    fn specimens(self, age: i64) -> Vec<Entry> {
        let others = |names: Vec<String>| names.iter().map(|name| entry(name, age)).collect();
        let own = format!("sender-key-{GROUP}--{OWN}--3.json");
        let memory = format!("sender-key-memory-{GROUP}.json");
        match self {
            Row::Of(Kind::Creds) => others(vec!["creds.json".into(), "creds.json.bak".into()]),
            Row::Of(Kind::PreKey) => {
                others((1..=51).map(|id| format!("pre-key-{id}.json")).collect())
            }
            Row::Of(Kind::Session) => others(vec!["session-79100000007.0.json".into()]),
            Row::Of(Kind::SenderKeyMemory) => others(vec![memory, own]),
            Row::Of(Kind::Unknown) => {
                others(vec!["notes.json".into(), "session-1.0.json.old".into()])
            }
            Row::Of(kind) => others(vec![format!("{}-AAAA.json", kind.label())]),
            Row::OthersSenderKey => {
                others(vec![format!("sender-key-{GROUP}--79100000007--0.json")])
            }
            Row::OwnSenderKey => others(vec![own, memory]),
        }
    }
}

/// A question to the policy about a folder that is alive.
#[derive(Clone)]
struct Question {
    column: CleanupMode,
    gone: bool,
    forced: bool,
    /// The folder's newest activity.
    newest: i64,
    batch: u32,
    own_number: Option<&'static str>,
    files: Vec<Entry>,
}

impl Question {
    fn about(row: Row, column: CleanupMode, age: i64) -> Self {
        Self {
            column,
            gone: true,
            forced: false,
            newest: 10 * HOUR,
            batch: 30,
            own_number: Some(OWN),
            files: row.specimens(age),
        }
    }

    /// The names that would be moved, in their order.
    fn moved(&self) -> Vec<String> {
        let facts = CredsFacts {
            own_number: self.own_number.map(str::to_owned),
            own_lid: None,
            logged_in: true,
            next_pre_key_id: None,
            login: None,
        };
        let mut files = self.files.clone();
        files.push(entry("session-79100000100.0.json", self.newest));
        files.push(entry("session-79100000101.0.json", self.newest + 5 * DAY));
        let inventory = Inventory::new(files, Creds::Valid(facts));
        let limits = Limits {
            batch: BatchSetting::Fixed(self.batch),
            ..Limits::default()
        };
        let force = self.forced.then_some(Force {
            inactive_for: Duration::ZERO,
        });
        let ask = CleanRequest {
            mode: self.column,
            tier: None,
            force,
        };
        match plan(&inventory, self.gone, now(), &limits, &ask) {
            Ok(plan) => plan
                .moves
                .iter()
                .map(|step| step.name.as_os_str().to_str().unwrap().to_owned())
                .collect(),
            Err(refusal) => {
                assert_eq!(refusal, Refusal::NothingRemovable);
                Vec::new()
            }
        }
    }

    /// Whether the first file goes.
    fn goes(&self) -> bool {
        let first = self.files[0].name.as_os_str().to_str().unwrap();
        self.moved().iter().any(|name| name == first)
    }
}

/// Whether anything of this kind ever goes, for any request.
fn ever_goes(row: Row, column: CleanupMode) -> bool {
    let mut ever = false;
    for gone in [true, false] {
        for forced in [true, false] {
            for age in [OLD, 15 * DAY, DAY] {
                let question = Question {
                    gone,
                    forced,
                    ..Question::about(row, column, age)
                };
                let moved = question.moved();
                let of_kind = |name: &String| FileName::new(name).parts().kind == row.kind();
                ever |= question.goes() || (row != Row::OwnSenderKey && moved.iter().any(of_kind));
            }
        }
    }
    ever
}

/// The greatest age in seconds at which the file stays.
fn stays_until(row: Row, column: CleanupMode, newest: i64, inside: Option<i64>) -> i64 {
    let goes = |age: i64| {
        let mut question = Question {
            newest,
            ..Question::about(row, column, age)
        };
        if let Some(written) = inside {
            question.files[0].stamp.modified = ago(written);
        }
        question.goes()
    };
    let (mut stays, mut leaves) = (0, OLD);
    assert!(!goes(stays) && goes(leaves));
    while leaves - stays > 1 {
        let middle = (stays + leaves) / 2;
        if goes(middle) {
            leaves = middle
        } else {
            stays = middle
        }
    }
    stays
}

/// `last used more than 14 days before the folder's newest activity`.
fn age_in_words(row: Row, column: CleanupMode) -> String {
    let verb = match row {
        Row::Of(Kind::PreKey) => "minted",
        // What stands inside protects it although the file is old.
        Row::Of(Kind::Session) => {
            let by_file = stays_until(row, column, 10 * HOUR, None);
            assert_eq!(stays_until(row, column, 10 * HOUR, Some(OLD)), by_file);
            "last used"
        }
        _ => "last written",
    };
    let (early, late) = (
        stays_until(row, column, 10 * HOUR, None),
        stays_until(row, column, 20 * HOUR, None),
    );
    let in_words = |seconds: i64, unit: i64, word: &str| {
        assert_eq!(seconds % unit, 0, "{row:?}: {seconds} s");
        format!("{verb} more than {} {word}", seconds / unit)
    };
    match late - early {
        0 => in_words(early, HOUR, "hours ago"),
        shift => {
            assert_eq!(shift, 10 * HOUR, "{row:?}");
            in_words(
                early - 10 * HOUR,
                DAY,
                "days before the folder's newest activity",
            )
        }
    }
}

/// How many of the newest pre-keys stay with this batch; the others are the lowest ids.
fn pre_keys_that_stay(column: CleanupMode, batch: u32) -> u32 {
    let all = batch + 120;
    let mut question = Question {
        batch,
        ..Question::about(Row::Of(Kind::PreKey), column, OLD)
    };
    // The highest ids are not the youngest.
    question.files = (1..=all)
        .map(|id| entry(&format!("pre-key-{id}.json"), OLD + i64::from(id) * HOUR))
        .collect();
    let moved: BTreeSet<String> = question.moved().into_iter().collect();
    let stay = all - moved.len() as u32;
    let lowest: BTreeSet<String> = (1..=all - stay)
        .map(|id| format!("pre-key-{id}.json"))
        .collect();
    assert_eq!(moved, lowest, "by id");
    stay
}

fn pre_keys_in_words(column: CleanupMode) -> String {
    let least = pre_keys_that_stay(column, 0);
    let beyond = pre_keys_that_stay(column, 812) - 812;
    for batch in (0..100).chain([812]) {
        assert_eq!(
            pre_keys_that_stay(column, batch),
            least.max(batch + beyond),
            "batch {batch}"
        );
    }
    format!("beyond the newest max({least}, batch + {beyond}) by id")
}

/// A group's memory and the bot's own keys of it go together, the memory first, or stay.
fn go_together(column: CleanupMode) {
    let (memory, keys) = (
        format!("sender-key-memory-{GROUP}.json"),
        [3, 4].map(|device| format!("sender-key-{GROUP}--{OWN}--{device}.json")),
    );
    for old in 0..8u32 {
        for there in 1..8u32 {
            let all = [&memory, &keys[0], &keys[1]];
            let is = |bits: u32, at: usize| bits & (1 << at) != 0;
            let files: Vec<Entry> = (0..3)
                .filter(|at| is(there, *at))
                .map(|at| entry(all[at], if is(old, at) { OLD } else { DAY }))
                .collect();
            let moved = Question {
                files,
                ..Question::about(Row::OwnSenderKey, column, OLD)
            }
            .moved();
            let complete = is(there, 0) && there != 1 && there & old == there;
            let expected = if complete {
                there.count_ones() as usize
            } else {
                0
            };
            assert_eq!(moved.len(), expected, "{old:03b} of {there:03b}: {moved:?}");
            assert!(
                moved.first().is_none_or(|first| *first == memory),
                "{moved:?}"
            );
        }
    }
}

fn cell(row: Row, column: CleanupMode) -> String {
    if !ever_goes(row, column) {
        return "never".to_owned();
    }
    let mut words = Vec::new();
    if row == Row::Of(Kind::PreKey) {
        words.push(pre_keys_in_words(column));
    }
    words.push(age_in_words(row, column));
    let question = Question::about(row, column, OLD);
    let nobodys = Question {
        own_number: None,
        ..question.clone()
    };
    if row.kind() == Kind::SenderKey && !nobodys.goes() {
        words.push("creds.json says whose it is".to_owned());
    }
    if !(Question {
        gone: false,
        ..question
    })
    .goes()
    {
        words.push("the process proven gone".to_owned());
    }
    if matches!(row, Row::OwnSenderKey | Row::Of(Kind::SenderKeyMemory)) {
        go_together(column);
        words.push(match row {
            Row::OwnSenderKey => "together with the group's sender-key-memory".to_owned(),
            _ => "together with all of the bot's own sender-keys of the group".to_owned(),
        });
    }
    words.join(", ")
}

#[test]
fn the_guard_table_is_what_the_guard_does() {
    let text = text();
    let thresholds = Thresholds::default();
    let head = format!(
        "| kind | cleanup, from {} | emergency, from {} |\n",
        thresholds.of(Tier::Cleanup),
        thresholds.of(Tier::Emergency)
    );
    assert!(
        text.contains(&format!("<!-- BEGIN guard -->\n{head}")),
        "{head}"
    );
    let written = guard_rows(&text);
    let functions = rows(&contributors_table(), "guard code");
    let titles: Vec<String> = written.iter().map(|cells| cells[0].clone()).collect();
    assert_eq!(
        titles,
        table_rows().into_iter().map(Row::title).collect::<Vec<_>>()
    );
    let guard = std::fs::read_to_string(path_of("src/policy/guard.rs")).unwrap();
    let mut movable = BTreeSet::new();
    assert_eq!(functions.len(), written.len());
    for ((row, cells), function) in table_rows().into_iter().zip(&written).zip(&functions) {
        assert_eq!((cells.len(), &function[0]), (3, &cells[0]));
        for (column, written) in CleanupMode::ALL.into_iter().zip(&cells[1..3]) {
            assert_eq!(
                *written,
                cell(row, column),
                "docs/safety.md: {} in {column:?}",
                cells[0]
            );
            if written != "never" {
                movable.insert(row.kind());
            }
        }
        let function = function[1].trim_matches('`');
        assert!(
            defines(&guard, function),
            "tests/safety/promises.md: src/policy/guard.rs has no {function}"
        );
    }
    assert_eq!(movable, BTreeSet::from(MOVABLE_KINDS));
}

/// The words of README.md and of the guard's own header for a cell of the table above.
fn in_short(title: &str, cell: &str) -> String {
    let activity = "before the folder's newest activity";
    let process = ", creds.json says whose it is, the process proven gone, together with the group's sender-key-memory";
    let keys =
        ", the process proven gone, together with all of the bot's own sender-keys of the group";
    let days = format!("more than 14 days {activity}");
    let known = [
        ("never".to_owned(), "never"),
        (
            format!("last used {days}"),
            "last used more than 14 days before the folder's newest activity",
        ),
        (
            format!("last written {days}, creds.json says whose it is"),
            "last written more than 14 days before it, where creds.json says whose it is",
        ),
        (
            format!("last written {days}{process}"),
            "the same way, all of a group or none, and only when the process is proven gone",
        ),
        (
            format!("last written {days}{keys}"),
            "the same way, all of a group or none, and only when the process is proven gone",
        ),
        (
            format!("beyond the newest max(50, batch + 20) by id, minted {days}"),
            "beyond the newest max(50, batch + 20) by id **and** minted more than 14 days before it",
        ),
        (
            "beyond the newest max(50, batch + 20) by id, minted more than 24 hours ago".to_owned(),
            "beyond the newest max(50, batch + 20) by id **and** minted more than 24 hours ago",
        ),
    ];
    let short = known
        .iter()
        .find(|(whole, _)| whole == cell)
        .map(|(_, short)| (*short).to_owned());
    short.unwrap_or_else(|| {
        panic!("{title}: README.md and src/policy/guard.rs have no words for: {cell}")
    })
}

/// README.md and the guard's header tell the same table in short.
#[test]
fn the_short_tables_are_the_guard_table() {
    let whole: BTreeMap<String, [String; 2]> = guard_rows(&text())
        .into_iter()
        .map(|cells| {
            let short = [1, 2].map(|column| in_short(&cells[0], &cells[column]));
            (cells[0].clone(), short)
        })
        .collect();
    for (page, prefix) in [("README.md", ""), ("src/policy/guard.rs", "//! ")] {
        let (_, page_text) = super::doc(page);
        let lines = page_text
            .lines()
            .filter_map(|line| line.strip_prefix(prefix));
        let table = lines
            .skip_while(|line| !line.starts_with("| kind | cleanup"))
            .skip(2);
        let mut told = BTreeMap::new();
        for row in table.take_while(|line| line.starts_with('|')).map(cells) {
            let [kinds, cleanup, emergency] = <[String; 3]>::try_from(row).unwrap();
            let emergency = if emergency == "the same" {
                cleanup.clone()
            } else {
                emergency
            };
            for kind in kinds.split(", ") {
                let twice = told.insert(kind.to_owned(), [cleanup.clone(), emergency.clone()]);
                assert_eq!(twice, None, "{page}: {kind} stands there twice");
            }
        }
        assert_eq!(told, whole, "{page}");
    }
}

// ---- the order of the refusals ----

/// A folder that may be cleaned, and all other inputs.
#[derive(Clone)]
struct Asked {
    files: Vec<(String, i64)>,
    creds: Creds,
    findings: Vec<Finding>,
    logged_out: bool,
    obstacle: Option<RestartObstacle>,
    stops: Vec<i64>,
    limits: Limits,
}

impl Asked {
    fn fine(finding: Finding) -> Self {
        let session = |n: i64, age: i64| (format!("session-{}.0.json", 79_100_000_000 + n), age);
        let young = (0..20).map(|n| session(n, n % 10 * DAY));
        let old = (100..280).map(|n| session(n, 40 * DAY));
        Self {
            files: young.chain(old).collect(),
            creds: Creds::Valid(CredsFacts {
                logged_in: true,
                ..CredsFacts::default()
            }),
            findings: vec![finding, Finding::Quiet],
            logged_out: false,
            obstacle: None,
            stops: Vec::new(),
            limits: Limits::default(),
        }
    }

    fn wrong(&mut self, reason: &str) {
        match reason {
            "connected" => self.findings = vec![Finding::Connected],
            "connection_unknown" => self.findings = vec![Finding::NoAnswer],
            "stale_alert" => self.files.truncate(10),
            "creds_broken" => self.creds = Creds::Missing,
            "creds_elsewhere" => {
                self.creds = Creds::Missing;
                self.limits.creds = CredsPlace::Elsewhere;
            }
            "not_logged_in" => self.creds = Creds::Valid(CredsFacts::default()),
            "logged_out" => self.logged_out = true,
            "dormant" => self.files.iter_mut().for_each(|(_, age)| *age += 20 * DAY),
            "woke_recently" => {
                self.files
                    .iter_mut()
                    .filter(|(_, age)| *age < 30 * DAY)
                    .for_each(|(_, age)| *age = HOUR);
            }
            "nothing_removable" => self.files.iter_mut().for_each(|(_, age)| *age %= 10 * DAY),
            "not_worth_a_restart" => {
                self.files
                    .extend((0..200).map(|n| (format!("session-{n}.0.json"), n % 10 * DAY)));
            }
            "not_restartable" => self.obstacle = Some(RestartObstacle::AutoRemove),
            "service_cooldown" => self.stops.push(HOUR),
            "service_budget" => self.stops.extend([7 * HOUR, 12 * HOUR]),
            other => panic!("docs/safety.md: the policy knows no {other} here"),
        }
    }

    fn inventory(&self) -> Inventory {
        Inventory::new(
            self.files.iter().map(|(name, age)| entry(name, *age)),
            self.creds.clone(),
        )
    }

    fn verdict(&self) -> Verdict {
        fold(
            self.findings
                .iter()
                .map(|finding| Evidence::new("test", *finding, ""))
                .collect(),
        )
    }

    fn clean_up(&self) -> &'static str {
        let ask = CleanRequest {
            mode: CleanupMode::Cleanup,
            tier: Some(Tier::Cleanup),
            force: None,
        };
        let answer = decide(
            &self.inventory(),
            &self.verdict(),
            now(),
            &self.limits,
            &ask,
        );
        answer.map_or_else(|refusal| refusal.label(), |_| "")
    }

    fn stop(&self) -> &'static str {
        let before = StopInputs {
            inventory: &self.inventory(),
            verdict: &self.verdict(),
            logged_out: self.logged_out,
            clock_set: None,
            limits: &self.limits,
            mode: CleanupMode::Emergency,
            tier: Tier::Emergency,
            immovable: &BTreeMap::new(),
            obstacle: self.obstacle,
            service: &RestartBudget {
                stops: self
                    .stops
                    .iter()
                    .map(|seconds| Duration::from_secs(seconds.unsigned_abs()))
                    .collect(),
                cooldown: Duration::from_secs(6 * 3_600),
                daily_budget: 2,
            },
        };
        may_stop(&before, now()).map_or_else(|hold| hold.label(), |_| "")
    }
}

/// With everything wrong that stands at or below a row, the row's own reason is the result.
fn in_this_order(
    text: &str,
    name: &str,
    fine: &Asked,
    ask: impl Fn(&Asked) -> &'static str,
) -> Vec<String> {
    assert_eq!(ask(fine), "", "{name}");
    let reasons: Vec<String> = rows(text, name)
        .iter()
        .map(|cells| cells[0].trim_matches('`').to_owned())
        .collect();
    for (at, reason) in reasons.iter().enumerate() {
        let mut asked = fine.clone();
        reasons[at..]
            .iter()
            .rev()
            .for_each(|reason| asked.wrong(reason));
        assert_eq!(
            ask(&asked),
            reason,
            "docs/safety.md, {name}: {:?} are wrong",
            &reasons[at..]
        );
    }
    reasons
}

#[test]
fn the_refusals_come_in_the_documented_order() {
    let text = text();
    assert_eq!(
        Asked::fine(Finding::Disconnected).verdict().state,
        State::Disconnected
    );
    let fine = Asked::fine(Finding::Disconnected);
    let told = in_this_order(&text, "refusals of a clean-up", &fine, Asked::clean_up);
    let all: BTreeSet<&str> = told.iter().map(String::as_str).collect();
    assert_eq!(all, BTreeSet::from(Refusal::LABELS));
    let fine = Asked::fine(Finding::Connected);
    let told = in_this_order(&text, "refusals of a stop", &fine, Asked::stop);
    let all: BTreeSet<&str> = told.iter().map(String::as_str).collect();
    // These are checked elsewhere; that the bot is connected is no reason here.
    let elsewhere = [
        "connected",
        "service_unknown",
        "breaker_open",
        "creds_not_copied",
        "paused",
    ];
    let labels = Refusal::LABELS.into_iter().chain(StopRefusal::LABELS);
    assert_eq!(
        all,
        labels.filter(|label| !elsewhere.contains(label)).collect()
    );
    let restore = RestoreRefusal::LABELS.into_iter();
    for label in StopRefusal::LABELS
        .into_iter()
        .chain(Obstacle::REFUSALS)
        .chain(restore)
        .chain(["unknown_session", "duplicate_name", "copy"])
    {
        assert!(
            text.contains(&format!("`{label}`")),
            "docs/safety.md does not name {label}"
        );
    }
}

// ---- what is named exists ----

fn path_of(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The line on which a function begins, or a constant.
fn definition(source: &str, name: &str) -> Option<usize> {
    let begins = |line: &str, word: &str| {
        let at = line
            .find(word)
            .filter(|at| *at == 0 || line[..*at].ends_with(' '));
        at.is_some_and(|at| {
            let rest = line[at + word.len()..].strip_prefix(name);
            rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
        })
    };
    source.lines().position(|line| {
        let line = line.trim_start();
        !line.starts_with("//") && (begins(line, "fn ") || begins(line, "const "))
    })
}

fn defines(source: &str, name: &str) -> bool {
    definition(source, name).is_some()
}

/// Whether a function of this name is run as a test, and not ignored.
fn is_test(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let Some(at) = definition(source, name) else {
        return false;
    };
    let above = lines[..at].iter().rev();
    let attributes: Vec<&&str> = above
        .take_while(|line| line.starts_with("#[") || line.starts_with("///"))
        .collect();
    attributes
        .iter()
        .any(|line| **line == "#[test]" || line.starts_with("#[tokio::test"))
        && !attributes
            .iter()
            .any(|line| line.trim_start_matches("#[").starts_with("ignore"))
}

/// Whether it is a test's name, or a function's; an error where it does not exist.
fn look_up(files: &mut BTreeMap<String, String>, named: &str) -> Result<bool, String> {
    let (file, name) = named.split_once("::").unwrap();
    let Ok(source) = std::fs::read_to_string(path_of(file)) else {
        return Err(format!("there is no {file}"));
    };
    let source: &String = files.entry(file.to_owned()).or_insert(source);
    if file.starts_with("alerting-rules/tests/") {
        let fires = format!("alertname: {name}\n");
        return if source.contains(&fires) {
            Ok(true)
        } else {
            Err(format!("{file} tests no {name}"))
        };
    }
    let is_product = file.starts_with("src/") || file.starts_with("crates/");
    let holds_tests =
        file.starts_with("tests/") || file.ends_with("/tests.rs") || file.contains("/tests/");
    let (is_known, what) = match holds_tests {
        true => (is_test(source, name), true),
        false => (is_product && defines(source, name), false),
    };
    if is_known {
        Ok(what)
    } else {
        Err(format!("{file} has no {name}"))
    }
}

/// What stands in backticks.
fn named(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// A letter and a number, such as G1.
fn is_number_of_promise(word: &str) -> bool {
    word.strip_prefix(|c: char| c.is_ascii_uppercase())
        .is_some_and(|number| number.parse::<u32>().is_ok())
}

/// Number and text of each promise in docs/safety.md, in order.
fn promises(text: &str) -> Vec<(String, String)> {
    let items = text.lines().filter_map(|line| {
        let (number, promise) = line.strip_prefix("- **")?.split_once("** ")?;
        is_number_of_promise(number).then(|| (number.to_owned(), promise.trim().to_owned()))
    });
    items.collect()
}

#[test]
fn every_promise_names_code_and_a_test_that_exist() {
    let (text, table) = (text(), contributors_table());
    let mut files = BTreeMap::new();
    let is_reference = |word: &&str| word.contains(".rs::") || word.contains(".yml::");
    let mut wrong = Vec::new();
    for line in text.lines().chain(table.lines()) {
        wrong.extend(
            named(line)
                .filter(is_reference)
                .filter_map(|word| look_up(&mut files, word).err()),
        );
        for word in named(line).filter(|word| !word.contains("::") && !word.contains(' ')) {
            let is_path = [
                "src/",
                "crates/",
                "tests/",
                "docs/",
                "deploy/",
                "alerting-rules/",
            ];
            if is_path.iter().any(|dir| word.starts_with(dir)) && !path_of(word).exists() {
                wrong.push(format!("there is no {word}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new(), "tests/safety/promises.md");
    let promises = promises(&text);
    assert!(promises.len() > 180, "{}", promises.len());
    // In each section from 1 on, so that a number stands for one promise.
    let mut last = (String::new(), 0);
    let mut letters = BTreeSet::new();
    for (number, promise) in &promises {
        let (letter, nth) = number.split_at(1);
        let nth: u32 = nth.parse().unwrap();
        let follows = match letter == last.0 {
            true => nth == last.1 + 1,
            false => nth == 1 && letters.insert(letter.to_owned()),
        };
        assert!(follows, "docs/safety.md: {number} comes after {last:?}");
        assert!(!promise.is_empty(), "docs/safety.md: {number} says nothing");
        last = (letter.to_owned(), nth);
    }
    let mut kept = Vec::new();
    for line in table.lines().filter(|line| line.starts_with('|')) {
        let Ok([number, code, test]) = <[String; 3]>::try_from(cells(line)) else {
            continue;
        };
        if !is_number_of_promise(&number) {
            continue;
        }
        let each = |cell: &str, is_wanted: bool| {
            let mut files = BTreeMap::new();
            let kinds: Vec<bool> = named(cell)
                .map(|word| look_up(&mut files, word).unwrap())
                .collect();
            !kinds.is_empty() && kinds.iter().all(|kind| *kind == is_wanted)
        };
        assert!(each(&code, false), "promises.md: no code for {number}");
        assert!(each(&test, true), "promises.md: no test for {number}");
        kept.push(number);
    }
    let numbers: Vec<String> = promises.into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, kept, "docs/safety.md and tests/safety/promises.md");
    for page in ["README.md", "docs/restarts.md"] {
        let (_, page_text) = super::doc(page);
        let lines = page_text.lines().filter(|line| line.contains("safety.md"));
        assert_eq!(lines.count(), 1, "{page} links docs/safety.md once");
    }
}

//! What must hold for any input. Shared by the fuzz targets and by tests/fuzz_corpus.rs,
//! which replays the corpus: a body panics where a property does not hold.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;
use std::time::Duration;

use baileys_exporter::config::Settings;
use baileys_exporter::connection::Verdict;
use baileys_exporter::folder::creds::{BrokenCreds, parse_creds, parse_session};
use baileys_exporter::folder::identity::{
    Identity, MAX_PRE_KEY_ID, highest_counter, insurable, raise_counters,
};
use baileys_exporter::folder::kind::{
    PREFIXES, has_lid_name, is_telltale, parse_name, pre_key_id, sender_key_id,
};
use baileys_exporter::folder::{
    Creds, CredsFacts, Entry, FileName, Inventory, Kind, SessionActivity, SessionName, Shape,
    Stamp, Timestamp,
};
use baileys_exporter::logs::pattern::{Hit, Pattern, Patterns, RecordSigns, ScanState, Severity};
use baileys_exporter::logs::record;
use baileys_exporter::policy::guard::MOVABLE_KINDS;
use baileys_exporter::policy::{CleanRequest, CleanupMode, Force, Limits, Tier, decide, plan};
use baileys_exporter::remediator::store::runs::Action;
use baileys_exporter::remediator::webhook::{self, BadPayload, Ignored, LADDER};
use exporter_toolkit::web_config_of_text;
use serde::de::IgnoredAny;
use serde_json::Value;

/// A body of a webhook request. Its first byte chooses whether a label is demanded.
pub fn webhook(data: &[u8]) {
    let Some((first, body)) = data.split_first() else {
        return;
    };
    let demanded = match first % 2 {
        0 => BTreeMap::new(),
        _ => BTreeMap::from([("instance".to_owned(), "host1".to_owned())]),
    };
    let json = as_json(body);
    let payload = match webhook::parse(body) {
        Ok(payload) => payload,
        Err(error) => {
            // Nothing of the body is in the answer: but for numbers it is one of two texts.
            let said = error.to_string();
            let text: String = said.chars().filter(|c| !c.is_ascii_digit()).collect();
            match error {
                BadPayload::Shape(line, _) => {
                    assert!(line <= body.iter().filter(|b| **b == b'\n').count() + 1);
                    assert_eq!(
                        text,
                        "the body is not Alertmanager's webhook JSON (line , column )"
                    );
                }
                BadPayload::Version => {
                    assert_eq!(
                        text,
                        "only version  of Alertmanager's webhook payload is supported"
                    );
                    assert!(json.is_none_or(|json| json["version"] != "4"));
                }
            }
            return;
        }
    };
    // What is accepted is a JSON object that says what we took from it.
    assert!(is_json(body), "a payload is JSON");
    let Some(json) = json else { return };
    assert!(json.is_object(), "a payload is an object");
    assert_eq!(json["version"], "4");
    assert_eq!(
        json.get("truncatedAlerts").map_or(Some(0), Value::as_u64),
        Some(payload.truncated)
    );
    let alerts = json["alerts"].as_array().unwrap();
    assert_eq!(alerts.len(), payload.alerts.len());
    for (json, alert) in alerts.iter().zip(&payload.alerts) {
        let label = |name: &str| json["labels"][name].as_str();
        let tier = label("tier").and_then(Tier::from_label);
        let action = match tier {
            Some(Tier::Warning) => Some(Action::Plan),
            Some(Tier::Cleanup) => Some(Action::Cleanup),
            Some(Tier::Emergency) => Some(Action::Emergency),
            Some(Tier::Monitor | Tier::Fatal) | None => None,
        };
        let is_ours = demanded
            .iter()
            .all(|(name, value)| label(name) == Some(value));
        let asked = webhook::request(alert, &demanded);
        assert_eq!(
            asked,
            webhook::request(alert, &demanded),
            "the same alert asks for the same"
        );
        match asked {
            Ok(request) => {
                assert_eq!(json["status"], "firing");
                assert_eq!(label("ladder"), Some(LADDER));
                assert!(is_ours, "a label is missing");
                assert_eq!(Some(request.action), action);
                assert_eq!(Some(request.tier.as_str()), tier.map(Tier::label));
                assert_eq!(Some(request.session.as_str()), label("session"));
                assert!(!request.session.is_empty());
                for text in [&request.fingerprint, &request.starts_at] {
                    assert!(text.len() <= 64 && text.bytes().all(|b| b.is_ascii_graphic()));
                }
            }
            Err(why) => {
                let holds = match why {
                    Ignored::Resolved => json["status"] != "firing",
                    Ignored::OtherLadder => label("ladder") != Some(LADDER),
                    Ignored::OtherTarget => !is_ours,
                    Ignored::NoAction => action.is_none(),
                    Ignored::NoSession => label("session").is_none_or(str::is_empty),
                };
                assert!(holds, "{why:?}");
                assert!(Ignored::LABELS.contains(&why.label()));
            }
        }
    }
}

/// The names of a folder's files, one a line.
pub fn names(data: &[u8]) {
    let names: BTreeSet<&[u8]> = data
        .split(|b| *b == b'\n' || *b == b'/')
        .take(200)
        .collect();
    for name in &names {
        one_name(name);
    }
    // Every file is in exactly one key, and nothing but the four kinds ever moves, however
    // old it is, whatever a person forces, and whoever the bot is.
    let old = Stamp {
        inode: 1,
        size: 1,
        modified: Timestamp::from_secs(1_000),
        ..Stamp::default()
    };
    let entries = names.iter().map(|name| Entry {
        name: FileName::new(OsStr::from_bytes(name)),
        shape: Shape::Regular,
        stamp: old,
        inside: match parse_name(name).kind {
            Kind::Session => SessionActivity::Times(None),
            _ => SessionActivity::NotRead,
        },
    });
    let facts = CredsFacts {
        own_number: Some("79100000000".into()),
        own_lid: None,
        logged_in: true,
        next_pre_key_id: Some(900),
        login: None,
    };
    let inventory = Inventory::new(entries, Creds::Valid(facts));
    assert_eq!(
        inventory
            .units()
            .map(|unit| unit.files.len())
            .sum::<usize>(),
        names.len()
    );
    assert_eq!(
        Kind::ALL
            .iter()
            .map(|kind| inventory.count(*kind))
            .sum::<usize>(),
        names.len()
    );
    for unit in inventory.units() {
        assert!(
            unit.files
                .iter()
                .all(|file| file.kind() == unit.kind && file.name.parts().id == unit.id)
        );
    }
    let now = Timestamp::from_secs(1_800_000_000);
    for mode in [CleanupMode::Cleanup, CleanupMode::Emergency] {
        let force = Some(Force {
            inactive_for: Duration::ZERO,
        });
        let ask = CleanRequest {
            mode,
            tier: None,
            force,
        };
        let Ok(plan) = plan(&inventory, true, now, &Limits::default(), &ask) else {
            continue;
        };
        for moved in &plan.moves {
            let parts = moved.name.parts();
            assert!(
                MOVABLE_KINDS.contains(&parts.kind),
                "a {} would move",
                parts.kind.label()
            );
            assert!(names.contains(moved.name.as_bytes()));
            assert!(parts.kind != Kind::PreKey || pre_key_id(parts.id).is_some());
        }
        let unique: BTreeSet<&[u8]> = plan
            .moves
            .iter()
            .map(|moved| moved.name.as_bytes())
            .collect();
        assert_eq!(unique.len(), plan.moves.len(), "nothing moves twice");
        let ask = CleanRequest {
            mode,
            tier: None,
            force: None,
        };
        let verdict = Verdict::unknown("fuzz", "nobody knows");
        assert!(decide(&inventory, &verdict, now, &Limits::default(), &ask).is_err());
    }
}

fn one_name(name: &[u8]) {
    let parts = parse_name(name);
    assert_eq!(parts, parse_name(name), "classification is stable");
    assert_eq!(parts, FileName::new(OsStr::from_bytes(name)).parts());
    assert_eq!(Kind::from_label(parts.kind.label()), Some(parts.kind));
    // A name is put together again from what it was taken apart into.
    let rest = name
        .strip_prefix(parts.main)
        .expect("the main name is the beginning");
    match parts.companion {
        true => assert!(rest == b".tmp" || rest == b".bak"),
        false => assert!(rest.is_empty()),
    }
    // The longest prefix wins, and no name of a known shape is left unknown.
    let stem = parts.main.strip_suffix(b".json");
    let fits = |(prefix, _): &&(&str, Kind)| {
        stem.is_some_and(|stem| stem.starts_with(&[prefix.as_bytes(), b"-"].concat()))
    };
    let longest = PREFIXES
        .iter()
        .filter(fits)
        .max_by_key(|(prefix, _)| prefix.len());
    match (parts.kind, longest) {
        (Kind::Creds, _) => assert_eq!(parts.main, b"creds.json"),
        (Kind::Unknown, None) => assert!(!parts.companion && parts.id.is_empty()),
        (kind, Some((prefix, of))) => {
            assert_eq!(kind, *of);
            let whole = [prefix.as_bytes(), b"-", parts.id, b".json"].concat();
            assert_eq!(whole, parts.main);
        }
        (kind, None) => panic!("{kind:?} without a prefix"),
    }
    // The main file of a companion is of the same key.
    if parts.companion {
        let main = parse_name(parts.main);
        assert_eq!(
            (main.kind, main.id, main.companion),
            (parts.kind, parts.id, false)
        );
    }
    if let Some(number) = pre_key_id(parts.id) {
        assert_eq!(number.to_string().as_bytes(), parts.id);
    }
    if let Some(key) = sender_key_id(parts.id) {
        let user = [key.group, b"--", key.user].concat();
        assert!(parts.id.starts_with(&user) && !key.group.is_empty());
        assert!(key.user.iter().all(u8::is_ascii_digit) && !key.user.is_empty());
    }
    if has_lid_name(parts.kind, parts.id) {
        assert!(matches!(parts.kind, Kind::Session | Kind::SenderKey));
    }
    if is_telltale(name) {
        let plain = [
            Kind::PreKey,
            Kind::Session,
            Kind::SenderKey,
            Kind::AppStateSyncVersion,
        ];
        assert!(plain.contains(&parts.kind));
    }
    // A name is never shown; a session's name is printable.
    let shown = format!("{:?}", FileName::new(OsStr::from_bytes(name)));
    assert_eq!(shown, format!("FileName({}…)", parts.kind.label()));
    let session = SessionName::from_dir(OsStr::from_bytes(name));
    assert!(!session.as_str().chars().any(char::is_control));
}

/// The bytes of a session file.
pub fn session(data: &[u8]) {
    let parsed = parse_session(data);
    assert_eq!(parsed, parse_session(data));
    let Ok(found) = parsed else { return };
    // It is what a plain reading of the JSON says: an older time would let it be moved.
    assert!(is_json(data), "what is understood is JSON");
    let Some(json) = as_json(data) else { return };
    let sessions = json["_sessions"].as_object().expect("a map of sessions");
    let times = || {
        let number = |session: &serde_json::Value, key: &str| {
            session["indexInfo"][key].as_f64().expect("a number")
        };
        sessions
            .values()
            .flat_map(move |session| ["used", "created"].map(|key| number(session, key)))
            .map(Timestamp::from_millis)
    };
    assert_eq!(found.map(|found| found.last), times().max());
    assert_eq!(found.map(|found| found.first), times().min());
    never_whole_when_cut(data, |cut| parse_session(cut).is_err());
}

/// The bytes of a creds.json.
pub fn creds(data: &[u8]) {
    let parsed = parse_creds(data);
    assert_eq!(parsed, parse_creds(data));
    let facts = match parsed {
        Ok(facts) => facts,
        Err(BrokenCreds::Empty) => return assert!(data.iter().all(u8::is_ascii_whitespace)),
        Err(BrokenCreds::CutOff) => {
            return assert!(!is_json(data), "whole JSON is not cut off");
        }
        Err(BrokenCreds::NotCreds) => return,
    };
    assert!(is_json(data), "what is valid is JSON");
    let Some(json) = as_json(data) else { return };
    assert!(json.is_object(), "creds.json is an object");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let id = text(&json["me"]["id"]);
    assert_eq!(
        facts.logged_in,
        !id.is_empty() && !json["account"].is_null()
    );
    assert_eq!(
        facts.next_pre_key_id.map(u64::from),
        json["nextPreKeyId"].as_u64()
    );
    for (own, jid) in [
        (&facts.own_number, id),
        (&facts.own_lid, text(&json["me"]["lid"])),
    ] {
        let Some(own) = own else { continue };
        assert!(
            !own.is_empty()
                && own.bytes().all(|b| b.is_ascii_digit())
                && jid.starts_with(own.as_str())
        );
    }
    // No number of the account is shown.
    let hidden = CredsFacts {
        own_number: facts.own_number.as_ref().map(|_| "0".into()),
        own_lid: facts.own_lid.as_ref().map(|_| "0".into()),
        ..facts.clone()
    };
    assert_eq!(format!("{facts:?}"), format!("{hidden:?}"));
    worth_keeping(data, &facts, &json);
    // A write that was cut off is never taken for a login.
    never_whole_when_cut(data, |cut| parse_creds(cut).is_err());
}

/// What identity insurance does with a creds.json that is valid.
fn worth_keeping(data: &[u8], facts: &CredsFacts, json: &Value) {
    let kept = insurable(data);
    assert_eq!(kept, insurable(data));
    if let Some(kept) = &kept {
        assert!(facts.logged_in && kept.facts == *facts);
        assert_eq!(Some(kept.next_pre_key_id), facts.next_pre_key_id);
        assert!(!json["signedIdentityKey"]["public"].is_null());
        assert_eq!(
            Identity::parse(&kept.identity.to_string()),
            Some(kept.identity)
        );
    }
    for at_least in [0, 31, MAX_PRE_KEY_ID] {
        let Ok((raised, number)) = raise_counters(data, at_least) else {
            continue;
        };
        // Nothing but the two counters has changed, and neither is lower than it was.
        assert!(number >= at_least && facts.next_pre_key_id.is_none_or(|before| number >= before));
        let expected = CredsFacts {
            next_pre_key_id: Some(number),
            ..facts.clone()
        };
        assert_eq!(parse_creds(&raised), Ok(expected));
        let mut wanted = json.clone();
        for counter in ["nextPreKeyId", "firstUnuploadedPreKeyId"] {
            wanted[counter] = number.into();
        }
        assert_eq!(as_json(&raised), Some(wanted));
        assert_eq!(
            raise_counters(&raised, at_least),
            Ok((raised.clone(), number)),
            "once is enough"
        );
        assert!(number > MAX_PRE_KEY_ID + 1 || highest_counter(&raised) >= Some(number));
        let identity = |kept: Option<_>| {
            kept.map(|kept: baileys_exporter::folder::identity::Insurable| kept.identity)
        };
        if kept.is_some() {
            assert_eq!(identity(insurable(&raised)), identity(kept.clone()));
        }
    }
}

/// The JSON as Node.js reads it: what is no UTF-8 in a text does not make it unreadable.
/// `None` also where a number is too large for serde_json; Node.js reads it as infinite.
fn as_json(data: &[u8]) -> Option<Value> {
    serde_json::from_str(&String::from_utf8_lossy(data)).ok()
}

/// Whether it is JSON at all.
fn is_json(data: &[u8]) -> bool {
    serde_json::from_str::<IgnoredAny>(&String::from_utf8_lossy(data)).is_ok()
}

/// No beginning of whole JSON is whole, wherever it is cut.
fn never_whole_when_cut(data: &[u8], refused: impl Fn(&[u8]) -> bool) {
    let end = data.trim_ascii_end().len();
    let step = (end / 16).max(1);
    for at in (0..end).step_by(step).chain(end.checked_sub(1)) {
        assert!(
            refused(&data[..at]),
            "cut off at {at} of {end} bytes it is taken for whole"
        );
    }
}

/// What stands for a password or a token in the inputs of [`config`].
pub const CANARY: &str = "S3cretCanary";

/// A configuration file.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let said = Settings::of_text(text);
    let (error, of_shape) = match said {
        Ok(Ok(settings)) => return weakens_no_guard(&settings),
        Ok(Err(error)) => (error, false),
        Err(error) => (error, true),
    };
    assert!(!error.trim().is_empty());
    if !error.contains(CANARY) {
        return;
    }
    // Keys are named, values are not repeated.
    let Some(places) = places_of_canary(text) else {
        return;
    };
    // Of a value that could not be used, an expression, a glob or a name is shown; what may
    // hold a credential is not.
    let secret = |place: &Vec<String>| {
        place.first().is_some_and(|key| key == "connection")
            && place
                .get(1)
                .is_some_and(|key| key == "command" || key == "http")
    };
    assert!(
        !of_shape,
        "an error of the file's shape repeats a value: {error}"
    );
    assert!(
        !places.iter().all(secret),
        "an error repeats what may be a credential: {error}"
    );
}

/// The web configuration, as far as it names no other file.
pub fn web_config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Err(error) = web_config_of_text(text) else {
        // Whatever is taken asks for something.
        return assert!(
            text.contains(':') || text.contains('{'),
            "a half-written file opens the door"
        );
    };
    assert!(!error.trim().is_empty());
    if error.contains(CANARY) {
        // A key, which may span lines, is named.
        let is_key = error.contains("unknown field `") || places_of_canary(text).is_none();
        assert!(
            is_key,
            "an error repeats what may be a hash or a key: {error}"
        );
    }
}

/// The places of values with the canary; `None` if a key may hold it.
fn places_of_canary(text: &str) -> Option<Vec<Vec<String>>> {
    let mut places = Vec::new();
    match serde_saphyr::from_str::<Value>(text) {
        Ok(value) => find_canary(&value, &mut Vec::new(), &mut places).then_some(places),
        Err(_) => {
            let is_key = |line: &str| {
                line.split(CANARY).skip(1).any(|after| after.contains(':'))
                    || line.contains(['?', '{', '[', '\r'])
            };
            let in_a_key = text
                .lines()
                .any(|line| line.contains(CANARY) && is_key(line));
            (!in_a_key).then_some(places)
        }
    }
}

/// The places of values with the canary; `false` if a key holds it.
fn find_canary(value: &Value, at: &mut Vec<String>, places: &mut Vec<Vec<String>>) -> bool {
    match value {
        Value::String(text) if text.contains(CANARY) => places.push(at.clone()),
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                at.push(index.to_string());
                if !find_canary(value, at, places) {
                    return false;
                }
                at.pop();
            }
        }
        Value::Object(values) => {
            for (key, value) in values {
                if key.contains(CANARY) {
                    return false;
                }
                at.push(key.clone());
                if !find_canary(value, at, places) {
                    return false;
                }
                at.pop();
            }
        }
        _ => {}
    }
    true
}

/// No configuration goes below what the guards promise.
fn weakens_no_guard(settings: &Settings) {
    for name in ["bot", "company_7", ""] {
        let limits = settings.limits(&SessionName::from_dir(OsStr::new(name)));
        let least = Limits::default();
        assert!(limits.pre_keys_kept >= least.pre_keys_kept);
        assert!(limits.inactive_for >= Duration::from_secs(14 * 86_400));
        assert!(limits.thresholds.is_ascending());
    }
    let day = Duration::from_secs(86_400);
    assert!(settings.retention >= day);
    assert!(
        settings.insurance.keep.keep_for >= day
            && (1..=20).contains(&settings.insurance.keep.per_identity)
    );
    assert!(settings.armed.look_every >= Duration::from_secs(1));
    // A session's name that would be a path, several words or a pattern fills nothing in.
    for name in ["../7f7f", "a 7f7f", "a;7f7f", "*7f7f"] {
        let service = settings
            .services
            .of(&SessionName::from_dir(OsStr::new(name)));
        assert!(
            service.is_none_or(|service| !service.name.contains(name) || service.check().is_err())
        );
    }
}

/// What is searched for in [`logs`]: the shipped patterns, alone and with some of one's own.
fn patterns() -> &'static [Patterns; 2] {
    static PATTERNS: OnceLock<[Patterns; 2]> = OnceLock::new();
    PATTERNS.get_or_init(|| {
        let own = [
            "own", "a.b", "^a", "b$", "(?-i)OWN", r"\bown\b", r"foo\s+a", "[^a]b", r"\xff",
        ];
        let own: Vec<Pattern> = own
            .iter()
            .enumerate()
            .map(|(index, regex)| Pattern {
                name: format!("own_{index}").into(),
                regex: (*regex).into(),
                exclude: (index == 0).then(|| "not own".into()),
                severity: Severity::Info,
                help: "".into(),
                printed_by: "".into(),
            })
            .collect();
        [
            Patterns::shipped_and(&[]).unwrap(),
            Patterns::shipped_and(&own).unwrap(),
        ]
    })
}

/// A chunk of a log. Its first byte chooses the patterns, its second a place to split it.
pub fn logs(data: &[u8]) {
    let [which, split, chunk @ ..] = data else {
        return;
    };
    let patterns = &patterns()[usize::from(*which) % 2];
    for line in chunk.split(|b| *b == b'\n') {
        // Envelopes only take away, but for escapes and what is decoded.
        let unwrapped = record::unwrap(line);
        assert!(unwrapped.text.len() <= line.len() * 3);
    }
    // Where a chunk ends makes no difference.
    let near = chunk.len() * usize::from(*split) / 256;
    let cut = chunk[near..]
        .iter()
        .position(|b| *b == b'\n')
        .map_or(chunk.len(), |at| near + at + 1);
    let (first, second) = chunk.split_at(cut);
    let whole = totals(&scanned(patterns, &[chunk]));
    assert_eq!(whole, totals(&scanned(patterns, &[first, second])));
    // A line in parts holds what it holds as a whole, as far as a part can tell.
    let mut state = ScanState::default();
    patterns.scan_part(first, false, &mut state, |_, _| {});
    patterns.scan_part(second, true, &mut state, |_, _| {});
    assert!(state.is_empty());
}

/// Patterns, lines with secrets and reports of a connection.
fn totals(found: &[RecordSigns]) -> (Vec<usize>, u64, usize) {
    let signs = found.iter().flat_map(|found| &found.signs);
    let mut signs: Vec<usize> = signs.map(|sign| sign.pattern).collect();
    signs.sort_unstable();
    let opened = found.iter().filter(|found| found.opened.is_some()).count();
    (signs, found.iter().map(|found| found.secrets).sum(), opened)
}

fn scanned(patterns: &Patterns, chunks: &[&[u8]]) -> Vec<RecordSigns> {
    let (mut all, mut state) = (Vec::new(), ScanState::default());
    let mut sink = |_: Hit<'_>, found: &RecordSigns| all.push(found.clone());
    for chunk in chunks {
        patterns.scan(chunk, &mut state, &mut Vec::new(), &mut sink);
    }
    patterns.flush(&mut state, &mut sink);
    all
}

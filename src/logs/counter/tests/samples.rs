//! What bots print, in the formats of many logs: tests/fixtures/logs/reports.txt.

use super::*;
use crate::logs::pattern::REPORTED;

/// A text, and for each pattern that may page the events and reports that it contains.
struct TextSample {
    wanted: Vec<(String, u64, u64)>,
    /// It may count, but is not a report.
    chat: bool,
    text: String,
}

fn samples() -> Vec<TextSample> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/logs/reports.txt");
    let all = std::fs::read_to_string(path).unwrap();
    let mut samples: Vec<TextSample> = Vec::new();
    for line in all.lines() {
        if line.starts_with("# ") {
            continue;
        }
        if let Some(header) = line.strip_prefix("== ") {
            let counts = header.split(' ').filter_map(|part| {
                let (name, counts) = part.split_once('=')?;
                let (events, reports) = counts.split_once('/').unwrap();
                Some((
                    name.to_owned(),
                    events.parse().unwrap(),
                    reports.parse().unwrap(),
                ))
            });
            samples.push(TextSample {
                wanted: counts.collect(),
                chat: header == "chat",
                text: String::new(),
            });
        } else {
            let sample = samples.last_mut().unwrap();
            sample.text.push_str(line);
            sample.text.push('\n');
        }
    }
    samples
}

/// Counts this text: events and reports of each pattern that may page.
fn counted(counter: &mut Counter, text: &str) -> Vec<(String, u64, u64)> {
    counter.counts = Counts::default();
    counter.scans.clear();
    counter.lines(block("/l/a-out.log", text));
    counter.flush_all();
    let Some(counts) = counter.counts().sessions.get("a") else {
        return Vec::new();
    };
    let of = |counts: &HashMap<String, Count>, name: &str| {
        counts.get(name).map_or(0, |count| count.value)
    };
    REPORTED
        .iter()
        .map(|name| {
            (
                (*name).to_owned(),
                of(&counts.events, name),
                of(&counts.reports, name),
            )
        })
        .filter(|(_, events, reports)| events + reports > 0)
        .collect()
}

#[test]
fn every_sample_counts_and_is_a_report_as_by_hand() {
    let mut counter = counter(None, &["a"]);
    let samples = samples();
    assert!(samples.len() > 250, "{}", samples.len());
    let mut wrong = Vec::new();
    for sample in samples {
        let seen = counted(
            &mut counter,
            &format!("{}next line of the bot\n", sample.text),
        );
        let right = match sample.chat {
            true => seen.iter().all(|(_, _, reports)| *reports == 0),
            false => {
                let mut wanted = sample.wanted.clone();
                wanted.sort();
                let mut seen = seen.clone();
                seen.sort();
                wanted == seen
            }
        };
        if !right {
            wrong.push(format!("{:?} {seen:?} {}", sample.wanted, sample.text));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Text before each line in a log.
const PREFIXES: &[&str] = &[
    "",
    "Nov 29 10:00:00 host node[123]: ",
    "Nov  9 10:00:00 host bot ventas[123]: ",
    "Nov 29 10:00:00 host wabot: ",
    "Nov 29 10:00:00 bot wabot[7]: ",
    "<30>1 2026-11-29T10:00:00.123456+00:00 host node 123 - - ",
    "2026-11-29T10:00:00+0000 host node[123]: ",
    "Nov 29 10:00:00.123456 host node[123]: ",
    "Sun 2026-11-29 10:00:00 UTC host node[123]: ",
    "1764412800.123456 host node[123]: ",
    "[12345.123456] host node[123]: ",
    "[    5.123456] host node[123]: ",
    "Nov 29 10:00:00 host bot@a.service[123]: ",
    "2026-11-29T10:00:00.123456+00:00 host node[123]: ",
    "wabot-1  | ",
    "wabot-1  | 2026-11-29T10:00:00.123456789Z ",
    "2026-11-29T10:00:00.123456789Z ",
    "2026-11-29T10:00:00.123456789Z stdout F ",
    "[pod/wabot-7d9/wabot] ",
    "[pod/wabot-7d9/wabot] 2026-11-29T10:00:00.123456789Z ",
    "wabot-7d9f wabot ",
    // pm2 with formats of moment.js.
    "2026-11-29T10:00:00: ",
    "2026-11-29 10:00:00: ",
    "2026-11-29 10:00 +00:00: ",
    "2026-11-29 10:00: ",
    "29-11-2026 10:00:00: ",
    "29-11-2026 10:00 -03:00: ",
    "29/11/2026 10:00:00: ",
    "29/11 10:00: ",
    "29.11.2026 10:00:00: ",
    "2026/11/29 10:00:00: ",
    "20261129 10:00:00: ",
    "20261129-10:00:00: ",
    "11-29 10:00:00.123: ",
    "[2026-11-29 10:00:00]: ",
    "[29/11/2026 10:00]: ",
    "10:00:00: ",
    "10:00:00 29/11/2026: ",
    "2026-11-29 10:00:00 AM: ",
    "11/29/2026, 10:00:00 p.m.: ",
    "Nov 29th 2026, 10:00:00 am: ",
    "Sunday, November 29th 2026, 10:00:00 am: ",
    "29 Nov 2026 10:00:00: ",
    "Sun Nov 29 2026 10:00:00 GMT+0000 (Coordinated Universal Time): ",
    "Sun, 29 Nov 2026 10:00:00 GMT: ",
    "29/Nov/2026:10:00:00 +0000: ",
    "2026-11-29 10:00:00 CEST: ",
    "2026-11-29: ",
    "1764412800: ",
    "1764412800123: ",
    "0|a        | ",
    "0|a        | 2026-11-29T10:00:00: ",
    "0|a        | 29-11-2026 10:00:00: ",
    // `ts`, s6, multilog, Fly, Heroku.
    "Nov 29 10:00:00 ",
    "2026-11-29 10:00:00.123456789  ",
    "@400000006565b2a01d2b3c4d ",
    "2026-11-29T10:00:00Z app[e784aa01] gru [info]",
    "2026-11-29T10:00:00.123456+00:00 app[web.1]: ",
    "<6>",
    // Programs that run several others.
    "wabot:start: ",
    "@acme/wabot:dev: ",
    "[wabot] ",
    "[1] ",
    "10:00:00 bot.1   | ",
    "2026-11-29 10:00:00,123 ",
    "\u{1b}[36mwabot-1  |\u{1b}[0m ",
];

/// An error of the library, as `console.log` prints it.
const BOOM: &str = "WhatsApp connection closed due to  Error: Stream Errored (conflict)\n    at WebSocket.<anonymous> (/app/node_modules/baileys/lib/Socket/socket.js:518:7)\n    at WebSocket.emit (node:events:390:28) {\n  data: {\n    tag: 'stream:error',\n    attrs: { code: '401' },\n    content: [ { tag: 'conflict', attrs: { type: 'device_removed' } } ]\n  },\n  isBoom: true,\n  isServer: false,\n  output: {\n    statusCode: 401,\n    payload: {\n      statusCode: 401,\n      error: 'Unauthorized',\n      message: 'Stream Errored (conflict)'\n    },\n    headers: {}\n  }\n} , reconnecting:  false";
const PINO: &str = r#"{"level":50,"time":1766198561876,"pid":31,"hostname":"h","reasonNode":{"tag":"conflict","attrs":{"type":"device_removed"}},"fullErrorNode":{"tag":"stream:error","attrs":{"code":"401"},"content":[{"tag":"conflict","attrs":{"type":"device_removed"}}]},"msg":"stream errored out"}"#;
const PRETTY: &str = "[10:00:00.123] ERROR (31): stream errored out\n    reasonNode: {\n      \"tag\": \"conflict\",\n      \"attrs\": {\n        \"type\": \"device_removed\"\n      }\n    }\n    fullErrorNode: {\n      \"tag\": \"stream:error\",\n      \"attrs\": {\n        \"code\": \"401\"\n      },\n      \"content\": [\n        {\n          \"tag\": \"conflict\",\n          \"attrs\": {\n            \"type\": \"device_removed\"\n          }\n        }\n      ]\n    }";

/// An answer of HTTP, as `console.log` prints it.
const HTTP: &str = "{\n  statusCode: 401,\n  headers: {\n    connection: 'close',\n    'content-type': 'application/json',\n    date: 'Mon, 30 Nov 2026 10:00:00 GMT'\n  }\n}";

#[test]
fn what_stands_before_the_lines_of_a_log_makes_no_difference() {
    let mut counter = counter(None, &["a"]);
    let replaced = BOOM
        .replace("device_removed", "replaced")
        .replace("401", "440");
    let removed = ("device_removed", 1, 1);
    let mut wrong = Vec::new();
    let mut look = |what: &str, text: String, wanted: (&str, u64, u64)| {
        let seen = counted(&mut counter, &text);
        if seen != [(wanted.0.to_owned(), wanted.1, wanted.2)] {
            wrong.push(format!("{what}: {seen:?}"));
        }
    };
    let json = |text: &str| serde_json::to_string(text).unwrap();
    for (text, wanted) in [
        (BOOM, removed),
        (&replaced, ("connection_replaced", 1, 1)),
        (PINO, removed),
        (PRETTY, removed),
        ("Device Logged Out, Please Scan Again And Run.", removed),
    ] {
        let lines = || text.lines().chain(["next line of the bot"]);
        for prefix in PREFIXES {
            let prefixed: String = lines().map(|line| format!("{prefix}{line}\n")).collect();
            look(&format!("{prefix:?} {:.20}", text), prefixed, wanted);
        }
        let railway: String = lines()
            .map(|line| {
                format!(
                    "{{\"timestamp\":\"t\",\"severity\":\"info\",\"message\":{}}}\n",
                    json(line)
                )
            })
            .collect();
        look(&format!("severity {:.20}", text), railway, wanted);
        let winston: String = lines()
            .map(|line| {
                format!(
                    "{{\"level\":\"info\",\"message\":{},\"timestamp\":\"t\"}}\n",
                    json(line)
                )
            })
            .collect();
        look(&format!("level {:.20}", text), winston, wanted);
    }
    for prefix in PREFIXES {
        let prefixed: String = HTTP
            .lines()
            .map(|line| format!("{prefix}{line}\n"))
            .collect();
        let seen = counted(&mut counter, &prefixed);
        if !seen.is_empty() {
            wrong.push(format!("{prefix:?} HTTP: {seen:?}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

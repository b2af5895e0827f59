use super::*;

fn text(line: &str) -> String {
    String::from_utf8(unwrap(line.as_bytes()).text.into_owned()).unwrap()
}

const PINO: &str = r#"{"level":50,"time":1,"pid":7,"hostname":"h","msg":"stream errored out"}"#;

fn json(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

#[test]
fn envelopes_are_opened_with_their_keys_in_any_order() {
    let pino = json(PINO);
    let ended = json(&format!("{PINO}\n"));
    let bytes: Vec<u8> = PINO.bytes().collect();
    let numbers = serde_json::to_string(&bytes).unwrap();
    for line in [
        PINO.to_owned(),
        format!("{PINO}\r"),
        format!("\u{feff}{PINO}"),
        // Docker.
        format!(r#"{{"log":{ended},"stream":"stdout","time":"2026-11-28T20:00:00.1Z"}}"#),
        format!(r#"{{"time":"2026-11-28T20:00:00.1Z","stream":"stdout","log":{ended}}}"#),
        format!(r#"{{"log":{ended},"stream":"stdout","attrs":{{"tag":"x"}},"time":"t"}}"#),
        // journald.
        format!(r#"{{"__CURSOR":"s=1","_SYSTEMD_UNIT":"bot.service","MESSAGE":{pino}}}"#),
        format!(r#"{{"MESSAGE":{numbers},"PRIORITY":"6"}}"#),
        // CRI.
        format!("2026-11-28T20:00:00.123456789Z stdout F {PINO}"),
        format!("2026-11-28T20:00:00.123456789+01:00 stderr F {PINO}"),
        // filebeat, over CRI as well.
        format!(r#"{{"@timestamp":"t","log":{{"offset":1}},"message":{pino},"agent":{{}}}}"#),
        format!(
            r#"{{"agent":{{}},"message":{},"@timestamp":"t"}}"#,
            json(&format!("2026-11-28T20:00:00.1Z stdout F {PINO}"))
        ),
        // fluent-bit.
        format!(r#"{{"date":1795.5,"log":{pino}}}"#),
        format!(
            r#"{{"date":1795.5,"log":{},"kubernetes":{{}}}}"#,
            json(&format!("2026-11-28T20:00:00.1Z stdout F {PINO}"))
        ),
        format!(r#"{{"time":"t","stream":"stdout","logtag":"F","log":{pino}}}"#),
        // vector.
        format!(
            r#"{{"file":"/x.log","host":"h","message":{pino},"source_type":"file","timestamp":"t"}}"#
        ),
        // pm2.
        format!(
            r#"{{"message":{ended},"timestamp":"t","type":"out","process_id":0,"app_name":"bot"}}"#
        ),
        format!(
            r#"{{"app_name":"bot","process_id":0,"type":"out","timestamp":"t","message":{ended}}}"#
        ),
        // Prefixes.
        format!("<14>1 2026-11-28T20:00:00Z vps bot 7 - - {PINO}"),
        format!("<14>Nov 28 20:00:01 vps bot[7]: {PINO}"),
        format!("Nov  8 20:00:01 vps node[4711]: {PINO}"),
        format!("Nov 28 20:00:01 vps bot: {PINO}"),
        format!("2026-11-28T20:00:01+0100 vps node[4711]: {PINO}"),
        format!("bot-1  | {PINO}"),
        format!("\u{1b}[36mbot-1  | \u{1b}[0m{PINO}"),
        format!("0|wbot  | {PINO}"),
        format!("2026-11-28T20:00:00.123456789Z {PINO}"),
        format!("2026-11-23T18:16:57: {PINO}"),
        format!("2026-11-23 18:16:57.123 +02:00: {PINO}"),
        format!("2026-11-28T05:08:36.920530+00:00 app[worker.1]: {PINO}"),
        format!("0|wbot  | 2026-11-23T18:16:57: {PINO}"),
        format!("1763408381478,{PINO}"),
        format!("1763408381478,\"{}\"", PINO.replace('"', "\"\"")),
    ] {
        assert_eq!(text(&line), PINO, "{line}");
        assert!(!unwrap(line.as_bytes()).partial, "{line}");
    }
}

#[test]
fn a_record_of_a_logger_is_no_envelope() {
    for line in [
        PINO,
        r#"{"level":"error","message":"stream errored out","node":{"tag":"x"},"timestamp":"t"}"#,
        r#"{"@timestamp":"t","level":"error","message":"stream errored out","fields":{}}"#,
        r#"{"level":30,"msg":"x","log":"device_removed"}"#,
        r#"{"log":5}"#,
        r#"{"message":"not all of it"#,
        "[18:14:04.021] INFO (7): x",
        "Session error:Error: Bad MAC Error: Bad MAC",
        "    at x (y)",
    ] {
        assert_eq!(text(line), line);
    }
}

#[test]
fn the_indentation_behind_a_prefix_stays() {
    for line in [
        "2026-11-23T18:16:57:     node: {",
        "2026-11-28T20:00:00.123456789Z stdout F     node: {",
        "2026-11-28T20:00:00.123456789Z     node: {",
        "bot-1  |     node: {",
        "0|wbot  |     node: {",
        "Nov 28 20:00:01 vps node[4711]:     node: {",
        r#"{"log":"    node: {\n","stream":"stdout","time":"t"}"#,
    ] {
        assert_eq!(text(line), "    node: {", "{line}");
        assert!(is_continuation(&unwrap(line.as_bytes()).text));
    }
}

#[test]
fn a_tag_before_another_tag_stays() {
    let line = "[Evolution API]  [salon]  v2.2.2  163   -  Thu Nov 26 2026 22:36:12     INFO   [ChannelStartupService]";
    assert_eq!(text(line), line);
    assert!(!is_continuation(line.as_bytes()));
}

#[test]
fn parts_are_known() {
    for (line, part) in [
        (r#"{"log":"abc","stream":"stdout","time":"t"}"#, true),
        (r#"{"time":"t","log":"abc","stream":"stdout"}"#, true),
        (r#"{"log":"abc\n","stream":"stdout","time":"t"}"#, false),
        (r#"{"log":"abc","date":1.5}"#, false),
        ("2026-11-28T20:00:00.1Z stdout P abc", true),
        ("2026-11-28T20:00:00.1Z stdout F abc", false),
        (
            r#"{"logtag":"P","log":"abc","stream":"stdout","time":"t"}"#,
            true,
        ),
        (r#"{"MESSAGE":"abc","_LINE_BREAK":"line-max"}"#, true),
        ("abc", false),
    ] {
        let unwrapped = unwrap(line.as_bytes());
        assert_eq!(unwrapped.partial, part, "{line}");
        assert_eq!(&*unwrapped.text, b"abc", "{line}");
        // The search for literals finds those of other envelopes.
        let by_docker = line.contains("\"log\"") && may_be_docker_part(line.as_bytes());
        let by_literal = line.contains("stdout P ") || line.contains("line-max");
        assert!(!part || by_docker || by_literal, "{line}");
    }
}

/// A service before a bar is removed; a name or a number is part of the text.
#[test]
fn what_stands_before_a_bar() {
    let text = |line: &str| String::from_utf8(unwrap(line.as_bytes()).text.into_owned()).unwrap();
    for service in [
        "bot | ",
        "wabot-1  | ",
        "WhatsApp-Bot  | ",
        "bot.1   | ",
        "0|Ventas  | ",
    ] {
        let line = format!("{service}Device Logged Out");
        assert_eq!(text(&line), "Device Logged Out");
    }
    for sender in ["Ana | ", "5215550001111 | "] {
        let line = format!("{sender}Device Logged Out");
        assert_eq!(text(&line), line);
        let record = format!("{sender}{{\"level\":30,\"msg\":\"x\"}}");
        assert!(text(&record).starts_with('{'), "{record}");
    }
}

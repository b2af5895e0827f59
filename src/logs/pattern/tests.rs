use super::super::record;
use super::*;
use proptest::prelude::*;
use std::sync::LazyLock;

fn shipped() -> &'static Patterns {
    static SHIPPED: LazyLock<Patterns> = LazyLock::new(|| Patterns::shipped_and(&[]).unwrap());
    &SHIPPED
}

fn own(regex: &str) -> Pattern {
    Pattern {
        name: "own".into(),
        regex: regex.to_owned().into(),
        exclude: None,
        severity: Severity::Info,
        help: "".into(),
        printed_by: "".into(),
    }
}

/// The signs, one after the other.
fn scanned(patterns: &Patterns, text: &[u8]) -> Vec<RecordSigns> {
    let mut all = Vec::new();
    let mut state = ScanState::default();
    let mut sink = |_: Hit<'_>, found: &RecordSigns| all.push(found.clone());
    patterns.scan(text, &mut state, &mut Vec::new(), &mut sink);
    patterns.flush(&mut state, &mut sink);
    all
}

fn counts(text: &str) -> Vec<(&'static str, u64)> {
    let patterns = shipped();
    let mut counts = vec![0; SHIPPED.len()];
    for found in scanned(patterns, text.as_bytes()) {
        found
            .signs
            .iter()
            .for_each(|sign| counts[sign.pattern] += 1);
    }
    let all = SHIPPED.iter().zip(counts);
    all.filter(|(_, count)| *count > 0)
        .map(|(pattern, count)| (pattern.name.as_ref(), count))
        .collect()
}

#[test]
fn one_event_counts_once() {
    let is = |name, count| vec![(name, count)];
    assert_eq!(
        counts("Session error:Error: Bad MAC Error: Bad MAC\n    at x (y)\n"),
        is("bad_mac", 1)
    );
    let first_message = r#"{"err":{"message":"Bad MAC","stack":"Error: Bad MAC\n"},"msg":"x"}"#;
    assert_eq!(counts(first_message), is("bad_mac", 1));
    let record = r#"{"message":"a\nClosing stale open session for x\nClosing stale open session for x\n","timestamp":"t","type":"err","process_id":3,"app_name":"a"}"#;
    assert_eq!(counts(record), is("closing_stale_open_session", 2));
    let many = format!(
        r#"{{"message":"{}","app_name":"a"}}"#,
        r"Closing stale open session for new outgoing prekey bundle\n".repeat(2_000)
    );
    assert!(many.len() > MAX_LINE);
    assert_eq!(counts(&many), is("closing_stale_open_session", 2_000));
    let pretty = concat!(
        "[18:16:57.000] ERROR (7): stream errored out\n",
        "    reasonNode: {\n      \"tag\": \"conflict\",\n      \"attrs\": {\n        \"type\": \"device_removed\"\n      }\n    }\n",
        "    fullErrorNode: {\n          \"attrs\": {\n            \"type\": \"device_removed\"\n"
    );
    let both = vec![("device_removed", 1), ("stream_errored", 1)];
    assert_eq!(counts(pretty), both);
    for prefix in PREFIXES {
        let prefixed: String = pretty
            .lines()
            .map(|line| format!("{prefix}{line}\n"))
            .collect();
        assert_eq!(counts(&prefixed), both, "{prefix}");
    }
    assert_eq!(
        counts("Connection replaced\nconnectionReplaced\n"),
        is("connection_replaced", 2)
    );
}

/// Text before a line in a log.
const PREFIXES: [&str; 11] = [
    "2026-11-23T18:16:57: ",
    "2026-11-23 23:47:29.822 +00:00: ",
    "0|wbot  | ",
    "bot-1  | ",
    "2026-11-28T20:00:00.123456789Z stdout F ",
    "2026-11-28T20:00:00.123456789Z ",
    "Nov 28 20:00:01 vps node[4711]: ",
    "2026-11-28T20:00:01+00:00 vps node[4711]: ",
    "<14>1 2026-11-28T20:00:01.001Z vps node 4711 - - ",
    "2026-11-28T05:08:36.920530+00:00 app[worker.1]: ",
    "\u{1b}[36mbot-1  |\u{1b}[0m ",
];

/// Many programs print the code of an error.
#[test]
fn a_code_counts_only_in_whatsapps_own_error() {
    let codes = |text: &str| {
        let all = counts(&format!("{text}\n")).into_iter();
        all.filter(|(name, _)| name.starts_with("stream_error_"))
            .collect::<Vec<_>>()
    };
    for code in ["401", "500", "503", "515"] {
        let name = SHIPPED
            .iter()
            .find(|pattern| pattern.name.ends_with(code))
            .unwrap()
            .name
            .as_ref();
        let raw = format!(r#""node":{{"tag":"stream:error","attrs":{{"code":"{code}"}}}}"#);
        let pretty = |indent: usize| {
            let space = " ".repeat(indent);
            format!(
                "{space}\"tag\": \"stream:error\",\n{space}\"attrs\": {{\n{space}  \"code\": \"{code}\"\n{space}}}"
            )
        };
        let mut forms = vec![
            format!(r#"{{"level":50,"time":"t",{raw},"msg":"stream errored out"}}"#),
            format!(r#"[23:47:12.135] ERROR (2): stream errored out {{{raw}}}"#),
            format!(
                "[23:47:12.135] ERROR (2): stream errored out\n    node: {{\n{}\n    }}",
                pretty(6)
            ),
            format!("close {{\n{}\n}}", pretty(2)),
            format!("close {{ tag: 'stream:error', attrs: {{ code: '{code}' }} }}"),
            format!(
                r#"{{"msg":"x","node":{{"attrs":{{"code":"{code}"}},"content":[{{"attrs":{{}},"tag":"x"}}],"tag":"stream:error"}}}}"#
            ),
            format!(r#"{{"level":10,"xml":"<stream:error code='{code}'/>","msg":"recv xml"}}"#),
        ];
        for form in forms.clone() {
            for prefix in PREFIXES {
                let lines = form.lines().map(|line| format!("{prefix}{line}"));
                forms.push(lines.collect::<Vec<_>>().join("\n"));
            }
            forms.push(form.replace('\n', "\r\n"));
        }
        for form in forms {
            assert_eq!(codes(&form), [(name, 1)], "{form}");
        }
        for line in [
            format!(
                r#"{{"level":50,"err":{{"type":"AxiosError","code":"{code}"}},"msg":"the shop said no"}}"#
            ),
            format!(r#"{{"level":50,"err":{{"code":"{code}"}},"msg":"stream errored out"}}"#),
            format!(
                r#"{{"body":{{"code":"{code}"}},{},"msg":"x"}}"#,
                raw.replace(code, "999")
            ),
            format!("x\n        \"code\": \"{code}\""),
            format!("x\n          \"code\": \"{code}\""),
            format!(r#"they wrote: "code":"{code}""#),
        ] {
            assert_eq!(codes(&line), [], "{line}");
        }
    }
}

/// Searching for literals is several times as fast as an expression.
#[test]
fn the_shipped_patterns_are_searched_for_by_literals() {
    assert!(shipped().sieve.sees_through_envelopes());
}

/// Its class contains the newline, but it sees one line at a time.
#[test]
fn an_expression_of_the_configuration_matches_within_a_line() {
    let patterns = Patterns::shipped_and(&[own("\\W{2}a")]).unwrap();
    assert!(patterns.judge(b"x\n aXb").is_empty());
    assert_eq!(patterns.judge(b"x\n  aXb").signs.len(), 1);
}

/// The lines of a record are in two chunks, and a pattern of the configuration is too short to
/// search for.
#[test]
fn a_short_expression_of_the_configuration_hides_no_record() {
    let patterns = Patterns::shipped_and(&[own("b$")]).unwrap();
    let (mut state, mut found) = (ScanState::default(), Vec::new());
    let mut sink = |_: Hit<'_>, more: &RecordSigns| found.push(more.clone());
    for chunk in [
        "\"tag\":\"stream:error\",\"attrs\":{\n",
        "        \"code\": \"401\"\n",
    ] {
        patterns.scan(chunk.as_bytes(), &mut state, &mut Vec::new(), &mut sink);
    }
    assert!(!totals(&found).0.is_empty());
    // One line without a carriage return, then one with it.
    assert_eq!(totals(&scanned(&patterns, b"x\nb\r\n")).0.len(), 1);
}

#[test]
fn what_cannot_be_used_is_refused() {
    for (regex, says) in [
        ("a\\nb", "across lines"),
        ("a\nb", "across lines"),
        ("(?s)a.b", "across lines"),
        ("a[\\s\\S]b", "across lines"),
        ("a\\z", "across lines"),
        ("\\Aa", "across lines"),
        ("(?-m)^a", "across lines"),
        ("a(\\n|x)b", "across lines"),
        ("a(b", "cannot be compiled"),
        ("a*", "empty line"),
        ("", "empty line"),
        ("^$", "empty line"),
    ] {
        let error = Patterns::shipped_and(&[
            own("fine"),
            Pattern {
                name: "two".into(),
                ..own(regex)
            },
        ]);
        let error = error.unwrap_err();
        assert!(error.message.contains(says), "{regex:?}: {error}");
        assert_eq!(error.index, 1, "{regex:?}");
    }
    for regex in ["a\\sb", "a[^\"]+b", "^a.*b$", "\\bä\\b", "a\\D"] {
        Patterns::shipped_and(&[own(regex)]).unwrap_or_else(|error| panic!("{regex}: {error}"));
    }
    let bad = |pattern| Patterns::shipped_and(&[pattern]).unwrap_err().message;
    assert!(
        bad(Pattern {
            name: "Own".into(),
            ..own("x")
        })
        .contains("a-z")
    );
    assert!(
        bad(Pattern {
            exclude: Some("(".into()),
            ..own("x")
        })
        .contains("compiled")
    );
    assert!(
        bad(Pattern {
            exclude: Some("x\\n".into()),
            ..own("x")
        })
        .contains("across")
    );
    assert!(
        Patterns::shipped_and(&[own("x"), own("y")])
            .unwrap_err()
            .message
            .contains("given twice")
    );
    let replaced = Patterns::shipped_and(&[Pattern {
        name: "bad_mac".into(),
        ..own("x")
    }])
    .unwrap();
    assert_eq!(replaced.patterns().len(), SHIPPED.len());
}

#[test]
fn only_what_pino_says_tells_of_the_connection() {
    let patterns = shipped();
    let opened = |line: &str| patterns.judge(&record::unwrap(line.as_bytes()).text).opened;
    let raw = |msg: &str, more: &str| {
        format!(
            r#"{{"level":30,"time":"2026-11-23T18:14:04.021Z","pid":7,"hostname":"vm",{more}"msg":"{msg}"}}"#
        )
    };
    let is = raw("opened connection to WA", "");
    assert_eq!(opened(&is), Some(true));
    assert_eq!(opened(&format!("2026-11-23T18:16:57: {is}")), Some(true));
    assert_eq!(opened(&format!("0|wbot  | {is}")), Some(true));
    assert_eq!(
        opened(&raw("connection errored", r#""trace":"Error: {x}\n","#)),
        Some(false)
    );
    assert_eq!(
        opened("[18:14:04.021] INFO (26088): opened connection to WA"),
        Some(true)
    );
    assert_eq!(
        opened("2026-11-23 18:16:57.145 +00:00: [18:14:04.021] ERROR (26088): stream errored out"),
        Some(false)
    );
    assert_eq!(
        opened(
            "[18:14:04.021] \u{1b}[32mINFO\u{1b}[39m (26088): \u{1b}[36mconnection closed\u{1b}[39m"
        ),
        Some(false)
    );
    assert_eq!(
        opened("[18:14:04.021] INFO (2): connection errored {\"class\":\"baileys\"}"),
        Some(false)
    );
    // A message that someone sends to the bot.
    for text in [
        "hello INFO: connection closed",
        r#"\"msg\":\"connection closed\"}"#,
        "[18:14:04.021] INFO (7): connection closed",
    ] {
        assert_eq!(
            opened(&raw("message received", &format!(r#""text":"{text}","#))),
            None,
            "{text}"
        );
        assert_eq!(opened(&raw(text, "")), None, "{text}");
        assert_eq!(
            opened(&format!("[18:14:04.021] INFO (7): got {text}")),
            None,
            "{text}"
        );
    }
    assert_eq!(opened("he wrote: opened connection to WA"), None);
    assert_eq!(opened("INFO (7): opened connection to WA"), None);
    assert_eq!(opened(r#"{"msg":"connection closed"}"#), None);
}

#[test]
fn secrets() {
    let patterns = shipped();
    let secrets = |line: &str| {
        let found = scanned(patterns, line.as_bytes());
        found.iter().map(|found| found.secrets).sum::<u64>()
    };
    for line in [
        "      privKey: <Buffer 00 00 00 00>",
        "2026-11-23T18:16:58:     rootKey: <Buffer 00>",
        r#"{"keyPair":{"private":{"type":"Buffer","data":"AAAA"}}}"#,
        r#""rootKey":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=""#,
        "  private: Uint8Array(32) [",
        r#"{"advSecretKey":"AAAAAAAAAAAA"}"#,
    ] {
        assert_eq!(secrets(line), 1, "{line}");
    }
    for line in [
        "pubKey: <Buffer 05 00>",
        "chainKey: [Object]",
        "a private: chat",
        "privKey: [Object]",
    ] {
        assert_eq!(secrets(line), 0, "{line}");
    }
    let record = r#"{"message":"  privKey: <Buffer 00>\n  rootKey: <Buffer 00>\n","app_name":"a"}"#;
    assert_eq!(secrets(record), 2);
}

/// Pieces that make hits, near misses and broken lines likely.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&[u8]> = vec![
        b"\n",
        b"\n",
        b"\n",
        b" ",
        b"\r",
        b"\0",
        b"\xff\xfe",
        b"Session error:",
        b"Error: Bad MAC",
        b"\"message\":\"Bad MAC\"",
        b"\"tag\":\"stream:error\",\"attrs\":{",
        b"\"code\":\"401\"",
        b"        \"code\": \"401\"",
        b"closing STALE open session",
        b"closing stale open",
        b" session",
        b"waiting for message",
        b"device_removed",
        b"        \"type\": \"replaced\"",
        b"            \"type\": \"replaced\"",
        b": ",
        b"{\"message\":\"",
        b"\\n",
        b"\",\"app_name\":\"x\"}",
        b"privKey: <Buffer 0",
        b"aXb",
        b"a",
        b"b",
        b"own",
        b"OWN",
        b"foo",
        b"\"msg\":\"connection closed\"}",
        b"[18:16:57.000] ERROR (7): stream errored out",
        b"\n    reasonNode: {\n",
        b"Stream Errored (conflict) x",
        b"Connection closed. ",
        b"\n    at ",
        b"statusCode: 440",
        b"statusCode: 401",
        b"statusCode: 428",
        b"\n2026-11-28T20:00:00.1Z stdout F ",
        b"\n2026-11-28T20:00:00.1Z stdout P ",
        b"\n{\"log\":\"",
        b"\",\"stream\":\"stdout\"}\n",
        b"\\n\",\"stream\":\"stdout\"}\n",
        b"\n    isBoom: true\n",
        b"Logged out",
        b" and loggedOut: false",
        b"\n  at AxiosError",
    ];
    prop_oneof![8 => proptest::sample::select(pieces).prop_map(<[u8]>::to_vec), 1 => proptest::collection::vec(any::<u8>(), 0..6)]
}

fn any_own() -> impl Strategy<Value = Vec<Pattern>> {
    let regexes = vec![
        "own",
        "a.b",
        "^a",
        "b$",
        "a\\sb",
        "a[^x]b",
        "(?-i)OWN",
        "(?-i)[A-Z]Wn",
        "\\bown\\b",
        "o|w",
        "[[:upper:]]o",
        "\\x{ff}",
        "foo\\s+a",
        "[^a]b",
        "a{2,3}",
        "\\W{2}a",
    ];
    proptest::sample::subsequence(regexes, 0..6).prop_map(|regexes| {
        regexes
            .into_iter()
            .enumerate()
            .map(|(index, regex)| Pattern {
                name: format!("own_{index}").into(),
                ..own(regex)
            })
            .collect()
    })
}

/// Positions at which text is split into chunks, after a newline.
fn split(text: &[u8], places: &[prop::sample::Index]) -> Vec<usize> {
    let ends: Vec<usize> = (0..text.len()).filter(|at| text[*at] == b'\n').collect();
    let mut cuts: Vec<usize> = places
        .iter()
        .filter(|_| !ends.is_empty())
        .map(|place| ends[place.index(ends.len())] + 1)
        .collect();
    cuts.push(text.len());
    cuts.sort_unstable();
    cuts
}

/// Counts of each pattern and form, and of secret lines.
fn totals(found: &[RecordSigns]) -> (Vec<(usize, bool, u8)>, u64, usize) {
    let at_the_end = &shipped().at_the_end;
    let mut signs: Vec<_> = found
        .iter()
        .flat_map(|found| found.signs.iter())
        .map(|sign| {
            // The form matters only for patterns that page.
            match at_the_end.contains(&sign.pattern) {
                true => (sign.pattern, sign.certain, sign.kind as u8),
                false => (sign.pattern, false, 0),
            }
        })
        .collect();
    signs.sort_unstable();
    let opened = found.iter().filter(|found| found.opened.is_some()).count();
    (signs, found.iter().map(|found| found.secrets).sum(), opened)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Compiling the patterns takes longer than searching, so each case has many texts.
    #[test]
    fn where_a_chunk_ends_makes_no_difference(
        texts in proptest::collection::vec(
            (proptest::collection::vec(piece(), 0..60), proptest::collection::vec(any::<prop::sample::Index>(), 0..6)),
            1000,
        ),
        own in any_own(),
    ) {
        let patterns = Patterns::shipped_and(&own).unwrap();
        for (text, places) in texts {
            let text = text.concat();
            let whole = scanned(&patterns, &text);
            let (mut parts, mut state, mut at) = (Vec::new(), ScanState::default(), 0);
            let mut sink = |_: Hit<'_>, found: &RecordSigns| parts.push(found.clone());
            for cut in split(&text, &places) {
                patterns.scan(&text[at..cut], &mut state, &mut Vec::new(), &mut sink);
                at = cut;
            }
            patterns.flush(&mut state, &mut sink);
            prop_assert_eq!(totals(&whole), totals(&parts), "{:?}", String::from_utf8_lossy(&text));
        }
    }

    /// The search for literals skips no record that judging every record finds.
    #[test]
    fn the_search_misses_nothing(
        texts in proptest::collection::vec(proptest::collection::vec(piece(), 0..40), 1000),
        own in any_own(),
    ) {
        let patterns = Patterns::shipped_and(&own).unwrap();
        for text in texts {
            let text = text.concat();
            for line in text.split(|byte| *byte == b'\n').filter(|line| !line.contains(&0)) {
                let unwrapped = record::unwrap(line);
                if unwrapped.partial || unwrapped.text.contains(&b'\n') {
                    continue;
                }
                let judged = patterns.judge(&unwrapped.text);
                let scanned = scanned(&patterns, line);
                prop_assert_eq!(judged.signs.is_empty() && judged.pending.is_empty() && !judged.conflict, scanned.iter().all(|found| found.signs.is_empty()), "{:?}", String::from_utf8_lossy(line));
            }
        }
    }
}

#[test]
fn a_line_is_judged_to_its_end() {
    let patterns = shipped();
    let mut text = vec![b'x'; 250 << 10];
    text.extend_from_slice(b" device_removed\n");
    assert_eq!(scanned(patterns, &text).len(), 1);
}

use super::*;

fn patterns() -> Patterns {
    Patterns::shipped_and(&[]).unwrap()
}

/// The names of the signs in these chunks of one log.
fn names(chunks: &[&str]) -> Vec<String> {
    let patterns = patterns();
    let mut all = Vec::new();
    let mut sink = |_: Hit<'_>, found: &RecordSigns| {
        for sign in &found.signs {
            all.push(patterns.patterns()[sign.pattern].name.to_string());
        }
    };
    let mut state = ScanState::default();
    for chunk in chunks {
        patterns.scan(chunk.as_bytes(), &mut state, &mut Vec::new(), &mut sink);
    }
    patterns.flush(&mut state, &mut sink);
    all
}

const PRETTY: &str = concat!(
    "[18:16:57.000] ERROR (7): stream errored out\n",
    "    reasonNode: {\n      \"tag\": \"conflict\",\n      \"attrs\": {\n        \"type\": \"device_removed\"\n      }\n    }\n",
    "    fullErrorNode: {\n      \"tag\": \"stream:error\",\n      \"attrs\": {\n        \"code\": \"401\"\n      },\n",
    "      \"content\": [\n        {\n          \"tag\": \"conflict\",\n          \"attrs\": {\n            \"type\": \"device_removed\"\n          }\n        }\n      ]\n    }\n",
);

#[test]
fn a_record_may_come_in_any_number_of_chunks() {
    let wanted = ["device_removed", "stream_error_401", "stream_errored"];
    let sorted = |chunks: &[&str]| {
        let mut names = names(chunks);
        names.sort();
        names
    };
    for (cut, _) in PRETTY.match_indices('\n') {
        let (a, b) = PRETTY.split_at(cut + 1);
        assert_eq!(sorted(&[a, b]), wanted, "{a}");
        assert_eq!(sorted(&[a, b, a, b]).len(), 6, "two events are two");
    }
    let lines: Vec<&str> = PRETTY.split_inclusive('\n').collect();
    assert_eq!(sorted(&lines), wanted);
}

/// The second line cancels the sign of the first one; the third has it again.
#[test]
fn a_record_counts_once_although_a_line_takes_it_back() {
    let lines = [
        "Connection closed. statusCode: 401\n",
        "    \"tag\": \"conflict\", \"type\": \"replaced\"\n",
        "    at device_removed\n",
    ];
    let mut counted = names(&lines);
    counted.sort();
    assert_eq!(counted, ["connection_replaced", "device_removed"]);
}

/// A sign that a later line cancels is not counted before that line.
#[test]
fn a_later_line_tells_what_the_code_stands_for() {
    for (lines, wanted) in [
        (
            [
                "Connection closed. statusCode: 401\n",
                "    { tag: 'conflict', attrs: { type: 'replaced' } }\n",
            ],
            &["connection_replaced"][..],
        ),
        (
            [
                "Connection closed. statusCode: 401\n",
                "    at AxiosError: Request failed\n",
            ],
            &[],
        ),
        (["isLoggedOut\n", "  disconnected, statusCode: 515\n"], &[]),
        (
            ["Connection closed. statusCode: 401\n", "    at x (y)\n"],
            &["device_removed"],
        ),
    ] {
        let whole = lines.concat();
        assert_eq!(names(&[&whole]), wanted, "{whole}");
        assert_eq!(names(&lines), wanted, "{whole}");
        assert_eq!(names(&[lines[0], "", lines[1]]), wanted, "{whole}");
    }
}

/// What was counted before the record had ended is not counted again when more of it follows.
#[test]
fn a_record_that_was_settled_may_go_on() {
    let patterns = patterns();
    let mut all = Vec::new();
    let mut sink = |_: Hit<'_>, found: &RecordSigns| {
        for sign in &found.signs {
            all.push(patterns.patterns()[sign.pattern].name.to_string());
        }
    };
    let mut state = ScanState::default();
    for chunk in [
        "Connection closed. statusCode: 401\n",
        "    at device_removed\n",
        "    { tag: 'conflict', attrs: { type: 'replaced' } }\n",
        "Error: Stream Errored (conflict)\n",
        "    at x (y)\n",
        "    { code: 440 } closed\n",
    ] {
        patterns.scan(chunk.as_bytes(), &mut state, &mut Vec::new(), &mut sink);
        patterns.settle(&mut state, &mut sink);
    }
    assert!(!state.is_undecided());
    patterns.flush(&mut state, &mut sink);
    let wanted = [
        "device_removed",
        "connection_replaced",
        "connection_replaced",
    ];
    assert_eq!(all, wanted);
}

/// The lines before a sign tell what it belongs to, and may be in the chunk before.
#[test]
fn a_record_begins_in_the_chunk_before() {
    let lines = ["AxiosError: a\n", "    status: 401,\n", "    closed\n"];
    assert_eq!(names(&lines), [""; 0]);
    assert_eq!(names(&[&lines.concat()]), [""; 0]);
}

/// The first line of a log does not decide which envelopes the log has.
#[test]
fn lines_with_and_without_an_envelope_may_be_mixed() {
    let (a, b) = ("x device_re", "moved y");
    let cri = |tag: &str, part: &str| format!("2026-11-28T20:00:00.1Z stdout {tag} {part}\n");
    let stderr = |tag: &str, part: &str| format!("2026-11-28T20:00:00.1Z stderr {tag} {part}\n");
    for parts in [
        cri("P", a) + &cri("F", b),
        stderr("P", a) + &stderr("F", b),
        docker(a, "stdout") + &docker(&format!("{b}\n"), "stdout"),
        format!("{{\"MESSAGE\":\"{a}\",\"_LINE_BREAK\":\"line-max\"}}\n{{\"MESSAGE\":\"{b}\"}}\n"),
    ] {
        for before in [
            "",
            "plain\n",
            "{\"level\":30,\"msg\":\"x\"}\n",
            "==> bot.log <==\n\n",
        ] {
            let text = format!("{before}{parts}plain\n");
            assert_eq!(names(&[&text]), ["device_removed"], "{text}");
            assert_eq!(
                names(&[before, &parts, "plain\n"]),
                ["device_removed"],
                "{text}"
            );
        }
    }
}

fn docker(part: &str, stream: &str) -> String {
    let log = serde_json::to_string(part).unwrap();
    format!("{{\"log\":{log},\"stream\":\"{stream}\",\"time\":\"2026-11-28T20:00:00Z\"}}\n")
}

/// Docker splits a line after 16 KiB, even in the middle of a word.
#[test]
fn the_parts_of_a_line_are_joined() {
    let line = format!(
        "{{\"level\":50,\"x\":\"{}\",\"k\":\"device_removed\"}}\n",
        "y".repeat(16_370)
    );
    for cut in [16_384, line.len() - 10, line.len() - 5] {
        let (a, b) = line.split_at(cut);
        let (first, second) = (docker(a, "stdout"), docker(b, "stdout"));
        assert_eq!(
            names(&[&format!("{first}{second}")]),
            ["device_removed"],
            "{cut}"
        );
        assert_eq!(names(&[&first, &second]), ["device_removed"], "{cut}");
        let cri = |tag: &str, part: &str| {
            format!("2026-11-28T20:00:00.1Z stdout {tag} {}\n", part.trim_end())
        };
        let joined = format!("{}{}{}", cri("F", "x"), cri("P", a), cri("F", b));
        assert_eq!(names(&[&joined]), ["device_removed"], "{cut}");
    }
    // A line of many parts does not grow without limit.
    let many = docker(&"z".repeat(16_384), "stdout").repeat(100);
    let text = format!("{many}{}", docker("device_removed\n", "stdout"));
    assert_eq!(names(&[&text]), ["device_removed"]);
    assert_eq!(
        names(&[&text, &docker("device_removed\n", "stdout")]).len(),
        2
    );
}

#[test]
fn a_line_longer_than_a_chunk_counts_once_wherever_the_sign_stands() {
    let patterns = patterns();
    let count = |parts: &[&str]| {
        let mut count = 0;
        let mut state = ScanState::default();
        for (number, part) in parts.iter().enumerate() {
            let last = number + 1 == parts.len();
            patterns.scan_part(part.as_bytes(), last, &mut state, |_, found| {
                count += found.signs.len();
            });
        }
        assert!(state.is_empty());
        count
    };
    let x = "x".repeat(100_000);
    assert_eq!(count(&[&x, &x, "device_removed"]), 1);
    assert_eq!(count(&["device_removed", &x, "device_removed"]), 1);
    assert_eq!(
        count(&[&format!("{x} device_re"), &format!("moved {x}"), &x]),
        1
    );
    assert_eq!(
        count(&[
            &format!("{x} device_removed "),
            &format!("{x} Bad \\\"message\\\":\\\"Bad MAC\\\"")
        ]),
        2
    );
}

/// Patterns of the configuration without a literal match in envelopes as well.
#[test]
fn an_expression_is_found_in_an_envelope() {
    let own = super::super::Pattern {
        name: "own".into(),
        regex: r#""a":"[0-9]""#.into(),
        exclude: None,
        severity: super::super::Severity::Info,
        help: "".into(),
        printed_by: "".into(),
    };
    let patterns = Patterns::shipped_and(&[own]).unwrap();
    for line in [
        r#"{"a":"5"}"#.to_owned(),
        docker("{\"a\":\"5\"}\n", "stdout"),
    ] {
        let mut count = 0;
        let mut state = ScanState::default();
        patterns.scan(line.as_bytes(), &mut state, &mut Vec::new(), |_, found| {
            count += found.signs.len();
        });
        assert_eq!(count, 1, "{line}");
    }
}

/// A node without a header of the library, in two chunks.
#[test]
fn a_node_that_a_chunk_ends_within_counts() {
    let chunks = [
        "close {\n  tag: 'conflict',\n",
        "  attrs: { type: 'replaced' }\n}\n",
    ];
    assert_eq!(names(&chunks), ["connection_replaced"]);
}

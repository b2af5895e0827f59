use super::*;
use Finding::*;
use proptest::prelude::*;

const ALL: [Finding; 13] = [
    Connected,
    Connecting,
    Shared,
    Disconnected,
    Gone,
    Quiet,
    Writing,
    NoAnswer,
    Unreachable,
    Ambiguous,
    Lost,
    ClosedInDoubt,
    Nothing,
];

fn folded(findings: &[Finding]) -> Verdict {
    fold(
        findings
            .iter()
            .map(|finding| Evidence::new("test", *finding, ""))
            .collect(),
    )
}

/// The rows of docs/connection.md: connected, negative, quiet, writing, silent, connecting or
/// shared, unreachable, gone, verdict.
fn documented() -> Vec<([String; 7], String)> {
    let text = include_str!("../../../docs/connection.md");
    let from = text.find("<!-- BEGIN verdict -->").unwrap();
    let to = text.find("<!-- END verdict -->").unwrap();
    let rows = text[from..to]
        .lines()
        .filter(|line| line.starts_with("| ") && !line.contains("verdict"));
    rows.map(|row| {
        let cells: Vec<String> = row
            .trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect();
        let [a, b, c, d, e, f, g, verdict] = <[String; 8]>::try_from(cells).unwrap();
        ([a, b, c, d, e, f, g], verdict)
    })
    .collect()
}

#[test]
fn the_documented_table_is_whole_and_true() {
    let rows = documented();
    assert!(rows.len() >= 5, "{rows:?}");
    for bits in 0..128_u32 {
        let has = |index: usize| bits & (1 << index) != 0;
        // What is gone is "disconnected or gone".
        if has(6) && !has(1) {
            continue;
        }
        let fits: Vec<&str> = rows
            .iter()
            .filter(|(cells, _)| {
                cells
                    .iter()
                    .enumerate()
                    .all(|(index, cell)| match cell.as_str() {
                        "any" => true,
                        "yes" => has(index),
                        "no" => !has(index),
                        other => panic!("{other:?} in the table of docs/connection.md"),
                    })
            })
            .map(|(_, verdict)| verdict.as_str())
            .collect();
        let [verdict] = fits[..] else {
            panic!("{bits:07b}: {fits:?}")
        };
        let negatives: &[&[Finding]] = match has(6) {
            true => &[&[Gone], &[Gone, Disconnected]],
            false => &[&[Disconnected], &[Lost, ClosedInDoubt]],
        };
        let silents: &[&[Finding]] = match has(4) {
            true => &[
                &[NoAnswer],
                &[Connecting],
                &[Shared],
                &[NoAnswer, Connecting],
                &[Connecting, Shared],
            ],
            false => &[&[]],
        };
        for (negative, silent) in negatives
            .iter()
            .flat_map(|negative| silents.iter().map(move |silent| (negative, silent)))
        {
            // Either of the last two alone says nothing.
            for nothing in [&[][..], &[Nothing], &[Ambiguous], &[Lost], &[ClosedInDoubt]] {
                let mut findings = [nothing, silent].concat();
                for (index, finding) in [(0, Connected), (2, Quiet), (3, Writing), (5, Unreachable)]
                {
                    findings.extend(has(index).then_some(finding));
                }
                if has(1) {
                    findings.extend(*negative);
                }
                let seen = folded(&findings);
                assert_eq!(seen.state.label(), verdict, "{findings:?}");
                let gone = seen.state == State::Disconnected && findings.contains(&Gone);
                assert_eq!(seen.process_gone, gone, "{findings:?}");
            }
        }
    }
}

proptest! {
    /// Order and repetition change nothing; evidence of nothing changes nothing; a veto
    /// or a contradiction never makes it disconnected.
    #[test]
    fn more_evidence_of_life_is_never_worse(
        findings in proptest::collection::vec(proptest::sample::select(&ALL[..]), 0..8),
        at in 0_usize..8,
    ) {
        let before = folded(&findings);
        for more in ALL {
            let mut longer = findings.clone();
            longer.insert(at.min(findings.len()), more);
            let after = folded(&longer);
            match more {
                Nothing | Ambiguous => prop_assert_eq!(after.state, before.state),
                // Together they are one that says disconnected, as if that said it itself.
                Lost | ClosedInDoubt => {
                    let is_pair = longer.contains(&Lost) && longer.contains(&ClosedInDoubt);
                    let said = if is_pair { Disconnected } else { Nothing };
                    let mut other = findings.clone();
                    other.push(said);
                    prop_assert_eq!(after.state, folded(&other).state);
                }
                Writing | NoAnswer | Connecting | Shared | Connected => {
                    prop_assert_ne!(after.state, State::Disconnected);
                }
                Unreachable if !findings.contains(&Gone) => prop_assert_ne!(after.state, State::Disconnected),
                // It never helps: without it the verdict was the same or better known.
                Unreachable => prop_assert_eq!(after.state, before.state),
                _ => {}
            }
            if findings.contains(&more) {
                prop_assert_eq!((after.state, after.process_gone), (before.state, before.process_gone));
            }
            prop_assert!(!after.process_gone || after.state == State::Disconnected);
        }
        // Where nothing is gone, unreachable is no answer.
        let silent = |f: &Finding| if *f == Unreachable { NoAnswer } else { *f };
        if !findings.contains(&Gone) {
            let strict: Vec<Finding> = findings.iter().map(silent).collect();
            prop_assert_eq!(folded(&strict).state, before.state);
        }
        // A connection that proves no login keeps exactly the files that a proven one keeps, and
        // no source calls the bot connected by it.
        let is_disconnected = |findings: &[Finding]| folded(findings).state == State::Disconnected;
        let is_refuted = findings.contains(&Lost) && findings.contains(&ClosedInDoubt);
        let negative = is_refuted || findings.iter().any(|f| f.is_negative());
        for other in [Connecting, Shared] {
            let instead = |f: &Finding| if *f == Connected { other } else { *f };
            let unproven: Vec<Finding> = findings.iter().map(instead).collect();
            prop_assert_eq!(is_disconnected(&unproven), is_disconnected(&findings));
            prop_assert_ne!(folded(&unproven).state, State::Connected);
            // That the process of several sessions has a connection is no more open than that it
            // runs, unless a source contradicts it.
            let is_unknown = folded(&unproven).state == State::Unknown;
            let open = unproven.contains(&Connecting)
                || is_unknown && unproven.contains(&Lost)
                || negative && unproven.contains(&Shared);
            prop_assert_eq!(folded(&unproven).is_unresolved(), open);
        }
        let turned: Vec<Finding> = findings.iter().rev().copied().collect();
        prop_assert_eq!(folded(&turned).state, before.state);
    }
}

#[test]
fn an_id_tells_configurations_apart_and_stays() {
    assert_eq!(source_id("probe", ""), "probe-cbf29ce484222325");
    assert_eq!(source_id("probe", "a"), "probe-af63dc4c8601ec8c");
    assert_ne!(source_id("probe", "a"), source_id("probe", "b"));
}

#[test]
fn what_was_not_believed_settles_nothing() {
    let one = |source, finding| fold(vec![Evidence::new(source, finding, "")]).is_unresolved();
    let untrusted = Evidence {
        is_untrusted: true,
        ..Evidence::new("process", NoAnswer, "")
    };
    assert!(fold(vec![untrusted]).is_unresolved());
    assert!(one("process", Ambiguous));
    assert!(one("log", Ambiguous));
    assert!(!one("log", Nothing));
    assert!(!one("process", Nothing));
    // It has a connection that has not lasted, or had one lately.
    assert!(one("sockets", Connecting));
    assert!(one("sockets", Ambiguous));
    assert!(one("sockets", Lost));
    assert!(!one("log", ClosedInDoubt));
    assert!(!one("sockets", Nothing));
    assert!(!one("sockets", Connected));
    // It has one, and its log says that its connection was closed.
    let contradiction = [("sockets", Connected), ("log", Disconnected)];
    let contradiction = contradiction.map(|(source, finding)| Evidence::new(source, finding, ""));
    assert!(fold(contradiction.into()).is_unresolved());
    // One of its sessions has, which may be another one.
    assert!(!one("sockets", Shared));
    let with = |source, finding| {
        let shared = Evidence::new("sockets", Shared, "");
        fold(vec![shared, Evidence::new(source, finding, "")])
    };
    assert!(!with("process", Nothing).is_unresolved());
    assert!(with("probe", Disconnected).is_unresolved());
    assert!(with("log", Disconnected).is_unresolved());
    assert_eq!(with("probe", Connected).state, State::Connected);
}

#[test]
fn what_a_look_showed_of_the_process() {
    let at = Timestamp::from_secs(900);
    let says = |finding, mark: Option<&str>, number: Option<u64>| {
        let is_alive = finding == Nothing;
        let evidence = Evidence {
            id: "process-1".into(),
            alive: is_alive.then(|| Alive {
                at,
                mark: mark.map(str::to_owned),
            }),
            restarts: number.map(|number| RestartCount { at, number }),
            ..Evidence::new("process", finding, "")
        };
        let others = ["probe", "process"].map(|source| Evidence::new(source, NoAnswer, ""));
        fold(others.into_iter().chain([evidence]).collect())
    };
    for (finding, mark, restarts, is_told) in [
        (Nothing, Some("7 100 boot"), Some(4), true),
        (Nothing, Some("7 100 boot"), None, true),
        // In a container whose processes this machine does not show.
        (Nothing, None, Some(4), true),
        (Nothing, None, None, false),
        // Between two starts, or gone for good.
        (NoAnswer, None, Some(4), true),
        (Gone, None, Some(4), true),
        (NoAnswer, None, None, false),
    ] {
        let expected = is_told.then_some(ProcessLook {
            at,
            source: "process-1",
            mark,
            restarts,
        });
        let verdict = says(finding, mark, restarts);
        assert_eq!(
            verdict.process_look(),
            expected,
            "{finding:?} {mark:?} {restarts:?}"
        );
    }
}

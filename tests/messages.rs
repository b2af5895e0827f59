//! What the programs say when something is wrong, and how they exit.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::net::TcpListener;

use serde_json::json;
use testkit::net;
use testkit::world::{TOKEN, alert, payload};

const BLOATED: &str = "bloated-classic-387";

/// `undo` takes what `runs` shows: the number or the name.
#[test]
fn undo_takes_the_number_or_the_name() {
    let mut world = testkit::world!();
    world.with_probe();
    let before = world.bot("bot", BLOATED, "disconnected");
    world.bot("calm", "normal", "connected");
    world.remediator(&["clean", "bot"]).must(0, &[]);
    world.remediator(&["clean", "calm"]).must(1, &[]);
    let run = world.run_of("bot");
    let (number, name) = (run["id"].to_string(), run["run"].as_str().unwrap());
    let undone = world
        .remediator(&["undo", &number])
        .must(0, &["files put back"]);
    assert!(undone.out.contains("bot: "), "{undone:?}");
    assert_eq!(
        before.differences(&world.snapshot("bot")),
        Vec::<String>::new()
    );
    let undo = world.runs_of("bot")[0]["id"].to_string();
    let refused = world.run_of("calm")["id"].to_string();
    for (wanted, says) in [
        (
            undo.as_str(),
            format!("to undo the clean-up again: undo {name}"),
        ),
        (&refused, "moved no file: there is nothing to undo".into()),
        ("4711", "no run 4711 is on record".into()),
        ("-1", "unexpected argument".into()),
        ("../x", "neither the number nor the name of a run".into()),
    ] {
        world.remediator(&["undo", wanted]).must(2, &[&says]);
    }
    // By its name as well, also with the sign that the page shows before a number.
    world.remediator(&["clean", "bot"]).must(0, &[]);
    let newest = world.runs_of("bot")[0].clone();
    let by_name = newest["run"].as_str().unwrap();
    world.remediator(&["undo", by_name]).must(0, &[]);
    world.remediator(&["clean", "bot"]).must(0, &[]);
    let number = format!("#{}", world.runs_of("bot")[0]["id"]);
    world.remediator(&["undo", &number]).must(0, &[]);
    world.finish();
}

#[test]
fn a_list_of_no_run_does_not_say_that_there_is_none() {
    let mut world = testkit::world!();
    world.with_probe();
    world.bot("bot", BLOATED, "connected");
    world.remediator(&["clean", "bot"]).must(1, &[]);
    let none = world.remediator(&["runs", "--limit=0"]).must(0, &[]);
    assert_eq!(none.out.trim(), "--limit=0 lists no run.", "{none:?}");
    let none = world.remediator(&["runs", "--limit=0", "--output=json"]);
    assert_eq!(none.must(0, &[]).json(), json!([]));
    let one = world
        .remediator(&["runs", "--limit=1"])
        .must(0, &["refused"]);
    assert!(!one.out.contains("lists no run"), "{one:?}");
    world.finish();
}

#[test]
fn where_there_is_no_auth_folder_each_command_says_where_it_looked() {
    let world = testkit::world!();
    let root = world.path("sessions").display().to_string();
    for command in [
        &["plan", "bot"][..],
        &["clean", "bot"],
        &["clean", "bot", "--dry-run"],
        &["doctor"],
        &["doctor", "bot"],
        &["creds", "list", "bot"],
    ] {
        let says = format!("no auth folder was found in {root}; check --sessions.path");
        let said = world.remediator(command).must(2, &[&says]);
        assert!(!said.err.contains("there is: "), "{said:?}");
        assert_eq!(said.out, "", "{said:?}");
    }
    // A folder that is named, and empty.
    fs::create_dir(world.path("empty")).unwrap();
    let named = format!("--sessions.path=bot={}", world.path("empty").display());
    let said = world.remediator(&["plan", "bot", &named]);
    said.must(
        1,
        &[
            "No file would be moved",
            "The folder holds no file of a bot",
        ],
    );
    world.finish();
}

/// `doctor` exits with 1 where no clean-up can be allowed, and tells what the probe did.
#[test]
fn doctor_warns_where_no_connection_is_known() {
    let mut world = testkit::world!();
    world.bot("bot", BLOATED, "disconnected");
    world.bot("other", BLOATED, "disconnected");
    let unknown = &["warning: no session is known to be connected or disconnected"];
    world
        .remediator(&["doctor"])
        .must(1, &["none configured"])
        .must(1, unknown);
    let probe = |command: &str| format!("connection: {{command: {command}, trust: ['*']}}\n");
    for (command, says) in [
        (
            "[/no/such/program]",
            "the command cannot be started: No such file or directory",
        ),
        (
            "[sh, -c, 'echo no such bot >&2; exit 3']",
            "the command exited with 3; its error: no such bot",
        ),
        (
            "[sh, -c, 'echo the token: TOPSECRET1 is old >&2; exit 3']",
            "its error: the token: …",
        ),
        ("[sh, -c, 'exit 4']", "the command exited with 4"),
        (
            "[sh, -c, 'echo Connected']",
            "printed neither `connected` nor `disconnected`",
        ),
    ] {
        world.with_config(&probe(command));
        let said = world
            .remediator(&["doctor"])
            .must(1, unknown)
            .must(1, &[says]);
        assert!(!format!("{said:?}").contains("TOPSECRET"), "{said:?}");
        let said = world
            .remediator(&["doctor", "bot", "--output=json"])
            .must(1, unknown);
        assert_eq!(said.json()[0]["connection"], "unknown");
    }
    // Of one it is known.
    let one = "[sh, -c, '[ $0 = bot ] && echo disconnected', '{session}']";
    world.with_config(&probe(one));
    let said = world.remediator(&["doctor"]).must(0, &[]);
    assert!(
        !said
            .err
            .contains("no session is known to be connected or disconnected"),
        "{said:?}"
    );
    world.remediator(&["doctor", "other"]).must(1, unknown);
    world.finish();
}

#[test]
fn a_probe_command_that_does_not_exist_is_reported_at_the_start() {
    let probe = |program: &str| format!("connection: {{command: ['{program}', '{{session}}']}}\n");
    let says = |program: &str| format!("the probe command \\\"{program}\\\" ");
    for serve in [true, false] {
        let mut world = testkit::world!();
        world.bot("bot", BLOATED, "disconnected");
        fs::write(world.path("not-executable"), "#!/bin/sh\n").unwrap();
        let plain = world.path("not-executable").display().to_string();
        let cases = [
            ("/no/such/bot-state", Some("does not exist")),
            ("no-such-bot-state", Some("does not exist")),
            (plain.as_str(), Some("may not be run by this user")),
            ("sh", None),
        ];
        for (program, why) in cases {
            world.with_config(&probe(program));
            match serve {
                true => world.start_remediator(),
                false => world.start_exporter(),
            }
            assert!(world.stop().success());
            let told = why.map(|why| format!("{}{why}", says(program)));
            let log = world.log();
            match told {
                Some(told) => assert!(log.contains(&told), "{told}: {log}"),
                None => assert!(!log.contains(&says(program)), "{log}"),
            }
        }
        world.finish();
    }
}

/// An address that is taken: both programs exit with 2, not with the code of a refusal.
#[test]
fn who_cannot_start_exits_with_two() {
    let world = testkit::world!();
    world.bot("bot", "normal", "connected");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("--web.listen-address={}", taken.local_addr().unwrap());
    world.exporter(&[&listen]).must(2, &["error: "]);
    let token = format!("--webhook.token-file={}", world.path("token").display());
    world
        .remediator(&["serve", &listen, &token])
        .must(2, &["error: "]);
    world
        .remediator(&["serve"])
        .must(2, &["--webhook.token-file is missing"]);
    world.finish();
}

/// Requests to the webhook that are refused are in the log, one line a minute for each status.
#[test]
fn refused_requests_to_the_webhook_are_in_the_log() {
    let mut world = testkit::world!();
    world.with_probe();
    world.bot("bot", BLOATED, "connected");
    world.start_remediator();
    let body = payload(&[alert("bot", "cleanup")]).to_string();
    let post = |token: Option<&str>, body: &str| {
        let bearer = token.map(|token| ("Authorization".to_owned(), format!("Bearer {token}")));
        let headers: Vec<_> = bearer.into_iter().collect();
        net::post(&world.url("/webhook"), &headers, body.as_bytes())
            .unwrap()
            .status
    };
    for _ in 0..5 {
        assert_eq!(post(None, &body), 401);
        assert_eq!(post(Some("TOPSECRET-of-somebody"), &body), 401);
        assert_eq!(post(Some(TOKEN), "{\"version\": 3, \"TOPSECRET\": 1"), 400);
    }
    assert_eq!(post(Some(TOKEN), &body), 202);
    let log = world.log();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("a request to the webhook was refused"))
        .collect();
    let [first, second] = lines[..] else {
        panic!("{log}")
    };
    assert!(
        first.contains("it has no bearer token") && first.contains("401"),
        "{first}"
    );
    assert!(
        second.contains("the body is not Alertmanager") && second.contains("400"),
        "{second}"
    );
    assert!(!log.contains("TOPSECRET"), "{log}");
    world.finish();
}

/// A broken folder stands first, and the title names the worst tier all the same.
#[test]
fn the_title_of_the_page_names_the_worst_tier() {
    let mut world = testkit::world!();
    world.bot("broken", "normal", "connected");
    fs::write(world.folder("broken").join("creds.json"), "{\"noise").unwrap();
    world.bot("bloated", BLOATED, "connected");
    world.bot("calm", "normal", "connected");
    world.start_exporter();
    let page = net::get(&world.url("/")).unwrap().ok().unwrap();
    let first = page.find("data-session=\"broken\"").unwrap();
    assert!(first < page.find("data-session=\"bloated\"").unwrap());
    let title = "<title>baileys_exporter: 3 sessions, worst: fatal</title>";
    assert!(page.contains(title), "{page}");
    fs::remove_dir_all(world.folder("bloated")).unwrap();
    world.wait("the folder is gone", || {
        let page = net::get(&world.url("/"))?.ok()?;
        match page.contains("2 sessions, worst: normal</title>") {
            true => Ok(()),
            false => Err("not yet".into()),
        }
    });
    world.finish();
}

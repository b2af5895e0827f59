//! `notify`: `baileys_remediator serve` tells a person what has happened, by a command and by a
//! webhook, and goes on where none can be sent.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use testkit::net;
use testkit::world::{World, alert, assert_discreet};

const REMEDIATOR: &str = env!("CARGO_BIN_EXE_baileys_remediator");
const BLOATED: &str = "bloated-classic-387";
/// Part of a URL that is a secret.
const SECRET: &str = "bot12345:AAsecretAA";

/// A server that answers each `POST` with one status and keeps it. Its thread ends with the test.
struct Inbox {
    port: u16,
    posts: Arc<Mutex<Vec<(String, String)>>>,
}

impl Inbox {
    fn start(port: u16) -> Self {
        Self::answering(port, "200 OK")
    }

    fn answering(port: u16, status: &'static str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let posts = Arc::<Mutex<Vec<_>>>::default();
        let kept = Arc::clone(&posts);
        let answer =
            format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                if let Some(post) = read(&stream) {
                    kept.lock().unwrap().push(post);
                    // The sender may not be there any more.
                    let _ = stream.write_all(answer.as_bytes());
                }
            }
        });
        Self { port, posts }
    }

    /// Head and body of each.
    fn posts(&self) -> Vec<(String, String)> {
        self.posts.lock().unwrap().clone()
    }
}

/// Head and body of a request.
fn read(stream: &TcpStream) -> Option<(String, String)> {
    let (mut head, mut reader) = (String::new(), BufReader::new(stream));
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = vec![0; length?];
    reader.read_exact(&mut body).ok()?;
    Some((head, String::from_utf8(body).ok()?))
}

fn wait_for_notification(world: &World, outcome: &str) {
    world.wait(outcome, || {
        match world.metric("notifications_total", &[("outcome", outcome)]) {
            0.0 => Err("none".into()),
            _ => Ok(()),
        }
    });
}

/// As for Telegram: the URL is a secret and the text a part of JSON.
#[test]
fn a_webhook_gets_what_was_done_and_no_secret_is_shown() {
    let inbox = Inbox::start(net::free_port(None).unwrap());
    let mut world = testkit::world!().probed().configured("");
    let url = format!(
        "http://127.0.0.1:{}/{SECRET}/sendMessage?secret=yes\n",
        inbox.port
    );
    let file = world.path("notify.url");
    fs::write(&file, url).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    world.with_config(&format!(
        "notify: {{webhook: {{url_file: {}, json: {{chat_id: 7, text: '{{text}}'}}}}}}\n",
        file.display()
    ));
    world.bot("bot", BLOATED, "disconnected");
    let busy = world.bot("busy", BLOATED, "connected");
    world.start_remediator();
    // What is there at its first look is no news.
    world.wait_for_log("news");
    world.accepted(&[alert("bot", "cleanup"), alert("busy", "cleanup")]);
    world.wait_until_idle();
    wait_for_notification(&world, "sent");
    let run = world.run_of("bot");
    let (head, body) = inbox.posts().remove(0);
    assert!(head.starts_with(&format!("POST /{SECRET}/sendMessage?secret=yes ")));
    let head = head.to_ascii_lowercase();
    assert!(head.contains("content-type: application/json"), "{head}");
    assert_discreet("a message", &body);
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["chat_id"], 7);
    let text = body["text"].as_str().unwrap();
    assert!(text.starts_with("baileys_remediator on "), "{text}");
    let undo = format!("undo {}", run["run"].as_str().unwrap());
    for words in [
        "\nbot: cleanup done, ",
        " files moved, accumulated 387 to ",
        &undo,
        "\nbusy: cleanup refused: connected; ",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    world.unchanged("busy", &busy);
    let log = world.log();
    assert!(!log.contains("secret"), "{log}");
    world.finish();
}

/// A server that is away delays a message, and no run. The message comes when it is back.
#[test]
fn a_failure_is_counted_and_logged_and_blocks_no_run() {
    let port = net::free_port(None).unwrap();
    let mut world = testkit::world!()
        .probed()
        .configured(&format!(
            "notify: {{webhook: {{url: 'http://127.0.0.1:{port}/{SECRET}'}}}}\n"
        ))
        .within(4 * testkit::world::SOON);
    world.bot("bot", BLOATED, "disconnected");
    world.start_remediator();
    world.wait_for_log("news");
    world.accepted(&[alert("bot", "cleanup")]);
    world.wait_until_idle();
    assert_eq!(world.run_of("bot")["status"], "done");
    wait_for_notification(&world, "failed");
    let log = world.log();
    assert!(log.contains("failed to send a notification"), "{log}");
    assert!(!log.contains(SECRET), "{log}");

    let inbox = Inbox::start(port);
    wait_for_notification(&world, "sent");
    let (head, body) = inbox.posts().remove(0);
    assert!(
        head.to_ascii_lowercase()
            .contains("content-type: text/plain")
    );
    assert!(body.contains("\nbot: cleanup done, "), "{body}");
    world.wait_for_log("are sent again");
    world.finish();
}

/// A command that hangs is killed; what it prints is thrown away.
#[test]
fn a_command_reads_what_an_operator_has_paused() {
    let mut world = testkit::world!().probed().configured("");
    let out = world.path("told");
    world.with_config(&format!(
        "notify: {{command: [/bin/sh, -c, 'echo {SECRET}; cat >> \"$1\"', sh, {}]}}\n",
        out.display()
    ));
    world.bot("bot", BLOATED, "disconnected");
    world.start_remediator();
    world.wait_for_log("news");
    world
        .remediator(&["pause", "--reason=holidays"])
        .must(0, &[]);
    wait_for_notification(&world, "sent");
    let text = fs::read_to_string(&out).unwrap();
    assert!(text.contains("\nPaused since "), "{text}");
    assert!(text.ends_with(": holidays\n"), "{text}");
    assert!(!world.log().contains(SECRET));
    world.finish();
}

#[test]
fn a_way_that_cannot_be_used_is_refused_at_the_start() {
    let world = testkit::world!()
        .probed()
        .configured("notify: {command: [tell], webhook: {url: 'https://a/b'}}\n");
    let port = format!("--web.listen-address=127.0.0.1:{}", world.port);
    world
        .remediator(&["serve", &port])
        .must(2, &["notify: give either command or webhook"]);
}

/// The message arrives, and what is said of it holds no secret.
#[test]
fn a_test_message_arrives_by_both_ways() {
    let inbox = Inbox::start(net::free_port(None).unwrap());
    let mut world = testkit::world!();
    let file = world.path("notify.url");
    let url = format!("http://127.0.0.1:{}/{SECRET}\n", inbox.port);
    fs::write(&file, url).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    world.with_config(&format!(
        "notify: {{webhook: {{url_file: {}, json: {{text: '{{text}}'}}}}}}\n",
        file.display()
    ));
    let ran = world.remediator(&["notify", "--test"]);
    let ran = ran.must(0, &["was sent: the webhook answered with status 200"]);
    assert!(!format!("{ran:?}").contains(SECRET), "{ran:?}");
    let (head, body) = inbox.posts().remove(0);
    assert!(head.starts_with(&format!("POST /{SECRET} ")), "{head}");
    assert!(body.contains("This is a test of `notify`"), "{body}");

    let told = world.path("told");
    world.with_config(&format!(
        "notify: {{command: [/bin/sh, -c, 'echo {SECRET}; cat >> \"$1\"', sh, {}]}}\n",
        told.display()
    ));
    let ran = world.remediator(&["notify", "--test"]);
    let ran = ran.must(0, &["was sent: the command exited with 0"]);
    assert!(!format!("{ran:?}").contains(SECRET), "{ran:?}");
    let text = fs::read_to_string(&told).unwrap();
    assert!(text.contains("This is a test of `notify`"), "{text}");
}

#[test]
fn a_test_message_that_is_not_sent_says_why_and_shows_no_secret() {
    let answering = |status| Inbox::answering(net::free_port(None).unwrap(), status);
    let server = answering("500 Internal Server Error");
    let refuses = answering("400 Bad Request");
    let plain = |inbox: &Inbox| {
        format!(
            "notify: {{webhook: {{url: 'http://127.0.0.1:{}/{SECRET}'}}}}",
            inbox.port
        )
    };
    let mut world = testkit::world!();
    let token = world.path("notify.token");
    fs::write(&token, SECRET).unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let closed = net::free_port(None).unwrap();
    for (notify, code, says) in [
        ("{}".to_owned(), 2, "no `notify` is configured"),
        (
            format!("notify: {{command: [/bin/sh, -c, 'echo {SECRET} >&2; exit 3']}}"),
            1,
            "was not sent: the command exited with 3",
        ),
        (
            format!("notify: {{command: [/nonexistent/{SECRET}]}}"),
            1,
            "was not sent: the command cannot be started",
        ),
        (
            format!(
                "notify: {{webhook: {{url: 'http://127.0.0.1:{}/{SECRET}', http_config: {{authorization: {{credentials_file: {}}}}}}}}}",
                server.port,
                token.display()
            ),
            1,
            "was not sent: the server answered with status 500",
        ),
        (
            plain(&refuses),
            1,
            "status 400; compare notify.webhook.json with what the receiver expects",
        ),
        (
            format!("notify: {{webhook: {{url: 'http://127.0.0.1:{closed}/{SECRET}'}}}}"),
            1,
            "was not sent: ",
        ),
        (
            "notify: {webhook: {url_file: /nonexistent/notify.url}}".to_owned(),
            1,
            "was not sent: ",
        ),
    ] {
        world.with_config(&format!("{notify}\n"));
        let ran = world.remediator(&["notify", "--test"]).must(code, &[says]);
        assert!(!format!("{ran:?}").contains(SECRET), "{ran:?}");
    }
    // `check-config` tells of the missing file too: every message would fail.
    world.with_config("trigger: local\nnotify: {webhook: {url_file: /nonexistent/notify.url}}\n");
    let checked = world.remediator(&["check-config"]);
    checked.must(
        0,
        &["warning: no message can be sent: notify.webhook.url_file: /nonexistent/notify.url does not exist"],
    );
    // Without the flag nothing is sent.
    world.remediator(&["notify"]).must(2, &["--test"]);
}

/// Without Prometheus nothing else would tell of it.
#[test]
fn a_lost_journal_is_told_without_prometheus() {
    let mut world = testkit::world!()
        .probed()
        .configured("")
        .within(5 * testkit::world::SOON);
    let told = world.path("told");
    world.with_config(&format!(
        "trigger: local\nnotify: {{command: [/bin/sh, -c, 'cat >> \"$1\"', sh, {}]}}\n",
        told.display()
    ));
    world.bot("bot", BLOATED, "connected");
    let token = format!("--webhook.token-file={}", world.path("token").display());
    let args = world.serve_args().into_iter().filter(|arg| *arg != token);
    let args = args.collect();
    world.start(&[], REMEDIATOR.as_ref(), args);
    world.wait_for_log("news");
    let journal = world.path("state/journal.sqlite");
    let kept = world.path("kept.sqlite");
    fs::rename(&journal, &kept).unwrap();
    let says = |words: &str| {
        world.wait(words, || {
            let text = fs::read_to_string(&told).unwrap_or_default();
            match text.contains(words) {
                true => Ok(()),
                false => Err(text),
            }
        });
    };
    says("\nThe journal cannot be used, so no run begins");
    fs::rename(&kept, &journal).unwrap();
    says("\nno longer: The journal cannot be used");
    let text = fs::read_to_string(&told).unwrap();
    assert!(!text.contains(&*world.root().to_string_lossy()), "{text}");
    world.finish();
}

//! Asking the APIs that bots run behind: Evolution API, WAHA, wppconnect-server and a
//! service of one's own. Small servers answer here as those do, errors included, and the
//! real `baileys_exporter status` asks them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::process;
use testkit::world::World;

const KEY: &str = "B6D711FCDE4D4FD5-correct-horse";
const WRONG_KEY: &str = "B6D711FCDE4D4FD5-battery-staple";
/// The probe's time; a slow server takes longer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What a server saw of a request.
struct Asked {
    path: String,
    headers: BTreeMap<String, String>,
}

impl Asked {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The part of the path between the two.
    fn name(&self, before: &str, after: &str) -> Option<&str> {
        self.path
            .strip_prefix(before)?
            .strip_suffix(after)
            .filter(|name| !name.contains('/'))
    }
}

enum Reply {
    Json(u16, Value),
    Html(u16, &'static str),
    Redirect(String),
    Slow,
    Endless,
}

type Answer = dyn Fn(&Asked) -> Reply + Send + Sync;

/// An HTTP server on 127.0.0.1; it ends with the test's process.
struct Server {
    port: u16,
    requests: Arc<AtomicUsize>,
}

impl Server {
    fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (answer, requests): (Arc<Answer>, _) =
            (Arc::new(answer), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, counted) = (Arc::clone(&answer), Arc::clone(&counted));
                // A client that hangs up early is what some cases are about.
                std::thread::spawn(move || serve(&stream, &*answer, &counted));
            }
        });
        Self { port, requests }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: &TcpStream, answer: &Answer, counted: &AtomicUsize) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.strip_prefix("GET ")?.split(' ').next()?.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    counted.fetch_add(1, Ordering::SeqCst);
    let mut send = |status: u16, kind: &str, body: &str| {
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {}",
            body.len()
        );
        write!(stream, "{head}\r\nConnection: close\r\n\r\n{body}").ok()
    };
    match answer(&Asked { path, headers }) {
        Reply::Json(status, body) => {
            send(status, "application/json; charset=utf-8", &body.to_string())
        }
        Reply::Html(status, body) => send(status, "text/html", body),
        Reply::Redirect(to) => write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"
        )
        .ok(),
        Reply::Slow => {
            std::thread::sleep(TIMEOUT * 3);
            None
        }
        Reply::Endless => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                .ok()?;
            let chunk = format!("{:x}\r\n{}\r\n", 65_536, " ".repeat(65_536));
            loop {
                stream.write_all(chunk.as_bytes()).ok()?;
            }
        }
    }
}

/// What goes wrong on any server, whatever it runs: by the session's name.
fn trouble(name: &str, elsewhere: &str) -> Option<Reply> {
    Some(match name {
        "crashed" => Reply::Html(
            500,
            "<html><body><h1>Internal Server Error</h1></body></html>",
        ),
        "gateway" => Reply::Html(200, "<html><body>connected</body></html>"),
        "list" => Reply::Json(200, json!([{ "name": "list", "status": "WORKING" }])),
        "moved" => Reply::Redirect(format!("{elsewhere}/{name}")),
        "slow" => Reply::Slow,
        "endless" => Reply::Endless,
        _ => return None,
    })
}

const TROUBLE: [&str; 6] = ["crashed", "gateway", "list", "moved", "slow", "endless"];

/// Bots that were quiet for a quarter of an hour, and a key file.
fn with_key(sessions: &[&str]) -> World {
    let world = testkit::world!().quiet(sessions);
    write_key(&world.path("key"), KEY.as_bytes(), 0o600);
    world
}

fn key_file(world: &World) -> String {
    world.path("key").display().to_string()
}

/// Runs `status` with this `connection:` and returns each session's evidence of the probe, as
/// one line. No key is ever shown.
fn ask(world: &World, connection: &str) -> BTreeMap<String, String> {
    let timeout = TIMEOUT.as_secs();
    world.configure(&format!("connection:\n  timeout: {timeout}s\n{connection}"));
    let config = format!("--config.file={}", world.path("config.yml").display());
    let mut evidence = BTreeMap::new();
    for output in ["--output=table", "--output=json"] {
        let ran = world.exporter(&["status", output, "--log.level=debug", &config]);
        for key in [KEY, WRONG_KEY, "B6D711FCDE4D4FD5"] {
            let shown = ran.out.contains(key) || ran.err.contains(key);
            assert!(!shown, "the key is shown");
        }
        let ran = ran.must(0, &[]);
        if output == "--output=json" {
            for row in ran.json().as_array().unwrap() {
                let lines = row["connection_evidence"].as_array().unwrap().iter();
                let lines = lines.filter_map(Value::as_str);
                let lines: Vec<&str> = lines.filter(|line| line.starts_with("probe: ")).collect();
                evidence.insert(
                    row["session"].as_str().unwrap().to_owned(),
                    lines.join("; "),
                );
            }
        }
    }
    evidence
}

/// Asserts what the probe says of each session.
///
/// Only the evidence's text is looked at, not the verdict: whether a negative counts also
/// depends on whether this session was seen connected before (--connection.trust).
fn says(world: &World, connection: &str, expected: &[(&str, &str)]) {
    let evidence = ask(world, connection);
    for (session, says) in expected {
        assert!(
            evidence[*session].contains(says),
            "{session}: {says}: {evidence:#?}"
        );
    }
    assert_eq!(evidence.len(), expected.len(), "{evidence:#?}");
}

fn write_key(path: &Path, bytes: &[u8], mode: u32) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// What a server that must never be asked would answer.
fn trap() -> Server {
    Server::start(|_| Reply::Json(200, json!({"status": true, "instance": {"state": "close"}})))
}

/// The cases of [`trouble`] and what is said of them.
fn and_trouble<'a>(cases: &[(&'a str, &'a str)], who: &str) -> Vec<(&'a str, String)> {
    let mut all: Vec<(&str, String)> = cases
        .iter()
        .map(|(name, says)| (*name, (*says).to_owned()))
        .collect();
    for name in TROUBLE {
        let says = match name {
            "crashed" => format!("probe: {who} answered 500"),
            "gateway" => format!("probe: {who} did not answer JSON"),
            "list" => "probe: the answer has nothing at /".to_owned(),
            "moved" => format!("probe: {who} answered 302"),
            "slow" => "probe: no complete answer within".to_owned(),
            _ => "probe: the answer is longer than 1048576 bytes".to_owned(),
        };
        all.push((name, says));
    }
    all
}

/// Runs a preset's cases with the right key, then all of them with a wrong one.
fn preset(
    server: &Server,
    yaml: &str,
    who: &str,
    cases: &[(&str, &str)],
    wrong_key: &[(&str, &str)],
) {
    let all = and_trouble(cases, who);
    let expected: Vec<(&str, &str)> = all
        .iter()
        .map(|(name, says)| (*name, says.as_str()))
        .collect();
    let world = with_key(&expected.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    let yaml = yaml
        .replace("{KEY_FILE}", &key_file(&world))
        .replace("{URL}", &server.url());
    says(&world, &yaml, &expected);

    let world = with_key(&wrong_key.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    let yaml = yaml.replace(&expected_key_file(&yaml), &key_file(&world));
    write_key(&world.path("key"), WRONG_KEY.as_bytes(), 0o600);
    says(&world, &yaml, wrong_key);
    // A header that was not configured is not sent.
    let without: Vec<&str> = yaml
        .lines()
        .filter(|line| !line.contains("header:"))
        .collect();
    let evidence = ask(&world, &without.join("\n"));
    assert!(
        evidence
            .values()
            .any(|line| line.contains("401: it wants a key")),
        "{evidence:#?}"
    );
}

fn expected_key_file(yaml: &str) -> String {
    let (_, rest) = yaml.split_once("file: ").unwrap();
    rest.split('}').next().unwrap().to_owned()
}

/// Evolution API 2.3.6, github.com/EvolutionAPI/evolution-api: the answer is in
/// src/api/controllers/instance.controller.ts (connectionState), the order of the checks in
/// src/api/routes/index.router.ts (the session first, then the key), the 404 in
/// src/api/guards/instance.guard.ts, the 401 in src/api/guards/auth.guard.ts, the errors'
/// shape in src/main.ts, the states in
/// src/api/integrations/channel/whatsapp/whatsapp.baileys.service.ts (connectionUpdate).
#[test]
fn evolution() {
    let elsewhere = trap();
    let url = elsewhere.url();
    let server = Server::start(move |asked| {
        let error = |status: u16, error: &str, message: Value| {
            let body = json!({"status": status, "error": error, "response": {"message": message}});
            Reply::Json(status, body)
        };
        let Some(name) = asked.name("/evo/instance/connectionState/", "") else {
            return error(
                404,
                "Not Found",
                json!([format!("Cannot GET {}", asked.path)]),
            );
        };
        if name == "unknown" {
            return error(
                404,
                "Not Found",
                json!([format!("The \"{name}\" instance does not exist")]),
            );
        }
        if asked.header("apikey") != KEY {
            return error(401, "Unauthorized", json!("Unauthorized"));
        }
        if let Some(reply) = trouble(name, &url) {
            return reply;
        }
        Reply::Json(
            200,
            match name {
                // Known to the database, not loaded: `state` is undefined and so left out.
                "unloaded" => json!({"instance": {"instanceName": name}}),
                "another" => json!({"instance": {"instanceName": "default", "state": "close"}}),
                "strange" => {
                    json!({"instance": {"instanceName": name, "state": format!("{KEY} closed")}})
                }
                "number" => json!({"instance": {"instanceName": name, "state": 0}}),
                _ => json!({"instance": {"instanceName": name, "state": name}}),
            },
        )
    });
    preset(
        &server,
        "  http:\n    preset: evolution\n    base_url: '{URL}/evo/'\n    header: {file: {KEY_FILE}}\n",
        "evolution",
        &[
            ("open", "probe: evolution answered open: connected"),
            ("close", "probe: evolution answered close: disconnected"),
            (
                "connecting",
                "probe: evolution answered connecting: neither",
            ),
            (
                "unknown",
                "probe: evolution answered 404: it does not know this session",
            ),
            (
                "unloaded",
                "probe: the answer has nothing at /instance/state",
            ),
            ("another", "probe: evolution answered about another session"),
            (
                "strange",
                "probe: the value at /instance/state is none that evolution is known to send",
            ),
            (
                "number",
                "probe: the value at /instance/state is none that evolution is known to send",
            ),
        ],
        &[
            (
                "open",
                "probe: evolution answered 401: the key in connection.http.header.file is not accepted",
            ),
            ("unknown", "probe: evolution answered 404"),
        ],
    );
    assert_eq!(elsewhere.requests(), 0, "a redirect was followed");
}

/// WAHA, github.com/devlikeapro/waha: the answer is in src/structures/sessions.dto.ts
/// (SessionInfo), the statuses in src/structures/enums.dto.ts, the 404 in
/// src/api/sessions.controller.ts, the 401 in src/core/auth/api-key-auth.middleware.ts (the
/// body is NestJS's), what the statuses mean in src/core/engines/noweb/session.noweb.core.ts.
#[test]
fn waha() {
    let elsewhere = trap();
    let url = elsewhere.url();
    let server = Server::start(move |asked| {
        if asked.header("x-api-key") != KEY {
            return Reply::Json(401, json!({"message": "Unauthorized", "statusCode": 401}));
        }
        let missing = |message: &str| {
            Reply::Json(
                404,
                json!({"message": message, "error": "Not Found", "statusCode": 404}),
            )
        };
        let Some(name) = asked.name("/api/sessions/", "") else {
            return missing(&format!("Cannot GET {}", asked.path));
        };
        if let Some(reply) = trouble(name, &url) {
            return reply;
        }
        let me = json!({"id": "11111111111@c.us", "pushName": "WAHA"});
        let engine = json!({"engine": "NOWEB"});
        let info = |status: &str| {
            let me = if status == "WORKING" {
                me.clone()
            } else {
                Value::Null
            };
            json!({"name": name, "status": status, "config": {}, "me": me, "engine": engine})
        };
        match name {
            "unknown" => missing("Session not found"),
            "another" => Reply::Json(
                200,
                json!({"name": "default", "status": "STOPPED", "me": null}),
            ),
            "strange" => Reply::Json(200, info("stopped")),
            _ => Reply::Json(200, info(name)),
        }
    });
    preset(
        &server,
        "  http:\n    preset: waha\n    base_url: '{URL}'\n    header: {file: {KEY_FILE}}\n",
        "waha",
        &[
            ("WORKING", "probe: waha answered WORKING: connected"),
            ("STOPPED", "probe: waha answered STOPPED: disconnected"),
            ("FAILED", "probe: waha answered FAILED: disconnected"),
            (
                "SCAN_QR_CODE",
                "probe: waha answered SCAN_QR_CODE: disconnected",
            ),
            ("STARTING", "probe: waha answered STARTING: neither"),
            (
                "unknown",
                "probe: waha answered 404: it does not know this session",
            ),
            ("another", "probe: waha answered about another session"),
            (
                "strange",
                "probe: the value at /status is none that waha is known to send",
            ),
        ],
        &[(
            "WORKING",
            "probe: waha answered 401: the key in connection.http.header.file is not accepted",
        )],
    );
    assert_eq!(elsewhere.requests(), 0, "a redirect was followed");
}

/// wppconnect-server 2.10.4, github.com/wppconnect-team/wppconnect-server: the answer is in
/// src/controller/sessionController.ts (checkConnectionSession: 200 either way, and also
/// `false` for a session that does not exist), the 401 in src/middleware/auth.ts (a token is
/// good for one session only), the token's making in src/controller/encryptController.ts.
#[test]
fn wppconnect() {
    let elsewhere = trap();
    let url = elsewhere.url();
    let server = Server::start(move |asked| {
        let Some(name) = asked.name("/api/", "/check-connection-session") else {
            return Reply::Html(404, "<!DOCTYPE html><pre>Cannot GET</pre>");
        };
        let refused = |key: &str, message: &str| Reply::Json(401, json!({ key: message }));
        match asked.header("authorization").split_once(' ') {
            Some(("Bearer", token)) if token == KEY => {}
            Some(_) => return refused("error", "Check that the Session and Token are correct"),
            None => {
                return refused(
                    "message",
                    "Token is not present. Check your header and try again",
                );
            }
        }
        if let Some(reply) = trouble(name, &url) {
            return match name {
                "list" => Reply::Json(200, json!([true])),
                _ => reply,
            };
        }
        match name {
            "online" => Reply::Json(200, json!({"status": true, "message": "Connected"})),
            // What other routes of this server answer with an error status.
            "inactive" => Reply::Json(
                404,
                json!({"response": null, "status": "Disconnected", "message": "x"}),
            ),
            "strange" => Reply::Json(
                200,
                json!({"status": "Disconnected", "message": "Disconnected"}),
            ),
            "null" => Reply::Json(200, json!({"status": null})),
            _ => Reply::Json(200, json!({"status": false, "message": "Disconnected"})),
        }
    });
    preset(
        &server,
        "  http:\n    preset: wppconnect\n    base_url: '{URL}'\n    header: {file: {KEY_FILE}}\n",
        "wppconnect",
        &[
            ("online", "probe: wppconnect answered true: connected"),
            ("offline", "probe: wppconnect answered false: disconnected"),
            // The server's own word for an id it never heard of: only a person's trust, or
            // having been seen connected, makes it count.
            ("unknown", "probe: wppconnect answered false: disconnected"),
            (
                "inactive",
                "probe: wppconnect answered 404: it does not know this session",
            ),
            (
                "strange",
                "probe: the value at /status is none that wppconnect is known to send",
            ),
            (
                "null",
                "probe: the value at /status is none that wppconnect is known to send",
            ),
        ],
        &[(
            "online",
            "probe: wppconnect answered 401: the key in connection.http.header.file is not accepted",
        )],
    );
    assert_eq!(elsewhere.requests(), 0, "a redirect was followed");
}

/// The service whose folders are company_ID and whose sessions are ID.
#[test]
fn a_service_of_ones_own() {
    let paths = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&paths);
    let server = Server::start(move |asked| {
        seen.lock().unwrap().push(asked.path.clone());
        if asked.header("x-internal") != KEY {
            return Reply::Json(401, json!({"status": {"connected": false}}));
        }
        match asked.name("/webhook/whatsapp/baileys/status/", "") {
            Some("962302") => Reply::Json(200, json!({"status": {"connected": true}})),
            Some("962303") => Reply::Json(200, json!({"status": {"connected": false}})),
            Some("962304") => Reply::Json(200, json!({"status": {"connected": "false"}})),
            Some("962305") => Reply::Json(500, json!({"status": {"connected": false}})),
            _ => Reply::Json(404, json!({"status": {"connected": false}})),
        }
    });
    let sessions: Vec<String> = (962_302..962_307)
        .map(|id| format!("company_{id}"))
        .collect();
    let mut sessions: Vec<&str> = sessions.iter().map(String::as_str).collect();
    sessions.push("old_company_962303");
    let world = with_key(&sessions);
    let yaml = format!(
        r"  session_pattern: 'company_(?<id>\d+)'
  http:
    url: {}/webhook/whatsapp/baileys/status/{{id}}
    pointer: /status/connected
    connected: [true]
    disconnected: [false]
    header: {{name: X-Internal, file: {}}}
",
        server.url(),
        key_file(&world)
    );
    says(
        &world,
        &yaml,
        &[
            ("company_962302", "probe: connected"),
            ("company_962303", "probe: disconnected"),
            (
                "company_962304",
                "probe: the value at /status/connected is none of those configured",
            ),
            ("company_962305", "probe: the URL answered 500"),
            ("company_962306", "probe: the URL answered 404"),
            (
                "old_company_962303",
                "probe: the URL was not asked: connection.session_pattern does not match",
            ),
        ],
    );
    assert!(
        paths
            .lock()
            .unwrap()
            .contains(&"/webhook/whatsapp/baileys/status/962302".to_owned())
    );
    write_key(&world.path("key"), WRONG_KEY.as_bytes(), 0o600);
    let evidence = ask(&world, &yaml);
    assert!(
        evidence["company_962303"].contains("probe: the URL answered 401: the key in"),
        "{evidence:#?}"
    );
}

/// `instance` and `base_url` are filled from the session's name.
#[test]
fn instances_have_names_of_their_own() {
    let server = Server::start(|asked| {
        let path = asked.path.as_str();
        Reply::Json(
            200,
            json!({"name": "acct 7", "status": match path {
                "/hosts/7/api/sessions/acct%207" => "WORKING",
                _ => "FAILED",
            }}),
        )
    });
    let world = with_key(&["company_7"]);
    let yaml = format!(
        "  session_pattern: 'company_(?<id>.+)'\n  http: {{preset: waha, base_url: '{}/hosts/{{id}}', instance: 'acct {{id}}'}}\n",
        server.url()
    );
    says(
        &world,
        &yaml,
        &[("company_7", "probe: waha answered WORKING: connected")],
    );

    // What is no single part of a path is not asked for.
    let world = with_key(&["company_.."]);
    says(
        &world,
        &yaml,
        &[("company_..", "probe: the URL was not asked")],
    );
}

/// The key's file is read at each ask, and not used while others can read it.
#[test]
fn the_file_with_the_key() {
    let server = Server::start(|asked| match asked.header("apikey") {
        KEY => Reply::Json(
            200,
            json!({"instance": {"instanceName": "bot", "state": "open"}}),
        ),
        _ => Reply::Json(401, json!({})),
    });
    let world = with_key(&["bot"]);
    let with = |file: &str| {
        let base = server.url();
        format!(
            "  http: {{preset: evolution, base_url: '{base}', header: {{name: ApiKey, file: '{file}'}}}}\n"
        )
    };
    let file = key_file(&world);
    let says = |file: &str, says: &str| self::says(&world, &with(file), &[("bot", says)]);
    let connected = "probe: evolution answered open: connected";

    write_key(
        &world.path("key"),
        format!(" \t{KEY}\r\n\n").as_bytes(),
        0o400,
    );
    says(&file, connected);
    let link = world.path("link");
    symlink(&file, &link).unwrap();
    says(&link.display().to_string(), connected);

    let asked = server.requests();
    for mode in [0o640, 0o644, 0o604, 0o602, 0o620, 0o660, 0o666] {
        write_key(&world.path("key"), KEY.as_bytes(), mode);
        says(&file, &format!("fix it with: chmod 0600 {file}"));
    }
    let too_long = "x".repeat(8193);
    for (bytes, what) in [
        (&b""[..], "is empty"),
        (b" \n\n", "is empty"),
        (b"B6D711FCDE4D4FD5\r\nX-Other: 1", "a control character"),
        (b"B6D711FCDE4D4FD5\0", "a control character"),
        (b"B6D711FCDE4D4FD5\x1b[2J!", "a control character"),
        ("B6D711FCDE4D4FD5é".as_bytes(), "not ASCII"),
        (too_long.as_bytes(), "longer than 8 KiB"),
    ] {
        write_key(&world.path("key"), bytes, 0o600);
        says(&file, what);
    }
    let pipe = world.path("pipe").display().to_string();
    process::run(Path::new("mkfifo"), [&pipe], TIMEOUT).unwrap();
    says(&pipe, "is not a file");
    says(&world.root().display().to_string(), "is not a file");
    assert_eq!(
        server.requests(),
        asked,
        "a key that is refused is not sent"
    );

    // One file a session; the last one's went away.
    let each = world.path("keys");
    fs::create_dir(&each).unwrap();
    let template = each.join("{session}.key").display().to_string();
    says(&template, "does not exist");
    write_key(&each.join("bot.key"), KEY.as_bytes(), 0o600);
    says(&template, connected);
}

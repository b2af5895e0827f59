//! The documentation tells what the code does: metrics, flags and configuration keys.
//!
//! `UPDATE_DOCS=1 cargo test --test docs` writes the tables of docs/metrics.md anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use baileys_exporter::cli::exit_codes;
use baileys_exporter::logs::pattern::SHIPPED;
use baileys_exporter::{exporter, remediator};
use exporter_toolkit::metric_families::{MetricDeclaration, MetricKind};
use exporter_toolkit::process_metrics;
use testkit::process::Process;
use testkit::{fixture, net};

mod cycles;
mod prose;
mod safety;

fn doc(name: &str) -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    (path, text)
}

fn type_word(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Gauge => "gauge",
        MetricKind::Counter => "counter",
    }
}

fn table(metrics: &[MetricDeclaration]) -> String {
    let mut text = "| metric | type | labels | meaning |\n|---|---|---|---|\n".to_owned();
    for metric in metrics {
        let group = metric
            .group
            .map_or(String::new(), |group| format!(" Collector `{group}`."));
        let labels: Vec<String> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let type_word = type_word(metric.kind);
        writeln!(
            text,
            "| `{}` | {type_word} | {} | {}{group} |",
            metric.name,
            labels.join(", "),
            metric.help
        )
        .unwrap();
    }
    text
}

/// What `baileys_exporter patterns` lists, with the versions that print it.
fn patterns() -> String {
    let mut text = "| pattern | severity | printed by | meaning |\n|---|---|---|---|\n".to_owned();
    for pattern in SHIPPED {
        let (name, severity) = (&pattern.name, pattern.severity.label());
        writeln!(
            text,
            "| `{name}` | {severity} | {} | {} |",
            pattern.printed_by, pattern.help
        )
        .unwrap();
    }
    text
}

/// Replaces what stands between `<!-- BEGIN name -->` and `<!-- END name -->`.
fn with_table(text: &str, name: &str, table: &str) -> String {
    let (begin, end) = (
        format!("<!-- BEGIN {name} -->\n"),
        format!("<!-- END {name} -->"),
    );
    let from = text.find(&begin).unwrap() + begin.len();
    let to = text.find(&end).unwrap();
    format!("{}{table}{}", &text[..from], &text[to..])
}

#[test]
fn metrics_md_holds_what_is_declared() {
    let (path, text) = doc("docs/metrics.md");
    let wanted = with_table(&text, "exporter", &table(exporter::metrics::ALL));
    let wanted = with_table(&wanted, "remediator", &table(remediator::metrics::ALL));
    let wanted = with_table(&wanted, "process", &table(process_metrics::ALL));
    let wanted = with_table(&wanted, "patterns", &patterns());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, wanted).unwrap();
    } else {
        assert!(
            text == wanted,
            "docs/metrics.md is behind; run: UPDATE_DOCS=1 cargo test --test docs"
        );
    }
}

#[test]
fn configuration_md_has_the_table_of_exit_codes() {
    let (path, text) = doc("docs/configuration.md");
    let wanted = with_table(&text, "exit-codes", &exit_codes::table());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, wanted).unwrap();
    } else {
        assert!(
            text == wanted,
            "docs/configuration.md is behind; run: UPDATE_DOCS=1 cargo test --test docs"
        );
    }
    // Every command of both programs has its row.
    for (program, path) in [
        ("baileys_exporter", env!("CARGO_BIN_EXE_baileys_exporter")),
        (
            "baileys_remediator",
            env!("CARGO_BIN_EXE_baileys_remediator"),
        ),
    ] {
        let help = Command::new(path).arg("--help").output().unwrap().stdout;
        let help = String::from_utf8(help).unwrap();
        let commands = help.split("Commands:\n").nth(1).unwrap();
        let names = commands.lines().take_while(|line| !line.is_empty());
        let names = names.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        let mut seen = 0;
        for name in names.map(|line| line.split_whitespace().next().unwrap()) {
            let is_named = |meaning: &exit_codes::Meaning| {
                let of_program = meaning.commands.contains(&format!("`{program}"));
                let words = meaning
                    .commands
                    .split(|c: char| !c.is_alphanumeric() && c != '_' && c != '-');
                of_program && words.into_iter().any(|word| word == name)
            };
            let named = exit_codes::MEANINGS.iter().any(is_named);
            assert!(named || name == "help", "{program} {name}");
            seen += 1;
        }
        assert!(seen > 3, "{help}");
    }
}

/// Name, type and label names of every metric in a scrape.
fn scraped(text: &str) -> BTreeSet<(String, String, Vec<String>)> {
    let mut types = std::collections::BTreeMap::new();
    let mut found = BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            types.insert(name.to_owned(), kind.to_owned());
        } else if !line.starts_with('#') {
            let end = line.find(['{', ' ']).unwrap();
            let name = &line[..end];
            let mut labels = Vec::new();
            let mut rest = &line[end..];
            while let Some(at) = rest.find("=\"") {
                let label = rest[..at].rsplit(['{', ',']).next().unwrap();
                labels.push(label.to_owned());
                rest = &rest[at + 2..];
                rest = &rest[rest.find('"').unwrap() + 1..];
            }
            found.insert((name.to_owned(), types[name].clone(), labels));
        }
    }
    found
}

/// The rows of one table in docs/metrics.md, in the form of [`scraped`].
fn documented(text: &str, name: &str) -> BTreeSet<(String, String, Vec<String>)> {
    let from = text.find(&format!("<!-- BEGIN {name} -->")).unwrap();
    let to = text.find(&format!("<!-- END {name} -->")).unwrap();
    let rows = text[from..to]
        .lines()
        .filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let labels = cells[3]
            .split(',')
            .map(|label| label.trim().trim_matches('`').to_owned());
        (
            cells[1].trim_matches('`').to_owned(),
            cells[2].to_owned(),
            labels.filter(|label| !label.is_empty()).collect(),
        )
    })
    .collect()
}

fn scrape(process: &mut Process, url: &str) -> String {
    let began = Instant::now();
    loop {
        if let Ok(answer) = net::get(url)
            && let Ok(text) = answer.ok()
        {
            return text;
        }
        process.alive().unwrap();
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{}",
            process.log_tail(20)
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A journal with a clean-up that was done, one that was refused since, an armed run, and a
/// service that has not come back: their series are there only while it is so.
fn all_that_a_journal_tells(state: &Path) {
    use baileys_exporter::folder::{Kind, Timestamp};
    use baileys_exporter::remediator::restart::state::{Phase, Restart, Times, Trigger};
    use baileys_exporter::remediator::store::Store;
    use baileys_exporter::remediator::store::clock::Moment;
    use baileys_exporter::remediator::store::queue::{Accepted, Request, Via};
    use baileys_exporter::remediator::store::runs::{Action, Ending, Status};
    let now = Timestamp::now();
    let request = Request {
        session: "bot".into(),
        action: Action::Cleanup,
        tier: "cleanup".into(),
        fingerprint: "f".into(),
        starts_at: "s".into(),
        via: Via::default(),
    };
    let journal = Store::open(state).unwrap();
    let accept = |journal: &Store, action, when| {
        let accepted = journal
            .queue()
            .accept(
                &[Request {
                    action,
                    ..request.clone()
                }],
                Moment::agreeing(when),
            )
            .unwrap()[0];
        let Accepted::Queued(id) = accepted else {
            panic!("{accepted:?}")
        };
        id
    };
    let done = Ending {
        files: [(Kind::Session, 9)].into(),
        accumulated: Some((160, 70)),
        ..Ending::default()
    };
    let refused = Ending {
        reason: Some("connected"),
        ..Ending::default()
    };
    let before = now.minus(Duration::from_secs(7 * 3_600));
    for (when, status, ending) in [
        (before, Status::Done, done),
        (now, Status::Refused, refused),
    ] {
        let id = accept(&journal, Action::Cleanup, when);
        assert_eq!(
            journal
                .queue()
                .claim_next(Moment::agreeing(when), &[])
                .unwrap()
                .map(|run| run.id),
            Some(id)
        );
        journal
            .runs()
            .finish(id, status, &ending, Moment::agreeing(when))
            .unwrap();
    }
    let id = accept(&journal, Action::Emergency, now);
    journal.armed().arm(id, Moment::agreeing(now)).unwrap();
    // A session that has not come back.
    let second = std::time::Duration::from_secs(1);
    let times = Times {
        stop: second,
        gone: second,
        start: second,
        shows: second,
        connect: second,
        sockets: second,
        clean: second,
        retry: second,
    };
    let decided = now.nanos();
    let restart = Restart {
        phase: Phase::RunningNotConnected,
        late_ns: Some(decided),
        ..Restart::new("bots", "bot", id, Trigger::Emergency, decided, times)
    };
    journal.restarts().save(&restart).unwrap();
    // Nothing of it is acted on.
    journal
        .pause()
        .set("test", "test", Moment::agreeing(now))
        .unwrap();
}

#[test]
fn metrics_md_equals_a_real_scrape() {
    let dir = tempfile::tempdir().unwrap();
    let sessions = dir.path().join("sessions");
    fixture::unpack("modern-1003", &sessions.join("bot"), SystemTime::now()).unwrap();
    fixture::unpack(
        "modern-1003",
        &sessions.join("elsewhere"),
        SystemTime::now(),
    )
    .unwrap();
    std::fs::remove_file(sessions.join("elsewhere/creds.json")).unwrap();
    let pid_file = dir.path().join("bot.pid");
    std::fs::write(&pid_file, std::process::id().to_string()).unwrap();
    let config = dir.path().join("config.yml");
    let settings = format!(
        "overrides: [{{sessions: [elsewhere], creds: elsewhere}}]\nprocesses: [{{sessions: [bot], pid_file: '{}'}}]\n",
        pid_file.display()
    );
    std::fs::write(&config, settings).unwrap();
    // The service whose restart is pending in the journal.
    let processes = dir.path().join("processes.yml");
    std::fs::write(
        &processes,
        "alertmanager: {urls: ['http://127.0.0.1:1'], interval: 1s}\nprocesses: [{name: bots, allow_restart: true, command: {stop: ['true'], start: ['true'], gone: ['false']}}]\n",
    )
    .unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "0123456789abcdef0123456789abcdef").unwrap();
    let mut mode = std::fs::metadata(&token).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o600);
    std::fs::set_permissions(&token, mode).unwrap();
    std::fs::write(dir.path().join("bot-out.log"), "a line\n").unwrap();
    all_that_a_journal_tells(&dir.path().join("state"));
    let (_, text) = doc("docs/metrics.md");
    for (name, program, args) in [
        (
            "exporter",
            env!("CARGO_BIN_EXE_baileys_exporter"),
            vec![
                format!("--logs.path={}", dir.path().join("bot-out.log").display()),
                format!("--logs.state-path={}", dir.path().join("logs").display()),
                format!("--config.file={}", config.display()),
                "--collector.empty_kinds".to_owned(),
                "--collector.file_times".to_owned(),
                "--collector.size".to_owned(),
                // One that cannot be looked at.
                format!("--sessions.path=gone={}", dir.path().join("gone").display()),
            ],
        ),
        (
            "remediator",
            env!("CARGO_BIN_EXE_baileys_remediator"),
            vec![
                "serve".to_owned(),
                format!("--webhook.token-file={}", token.display()),
                format!("--state.path={}", dir.path().join("state").display()),
                format!("--config.file={}", processes.display()),
            ],
        ),
    ] {
        let port = net::free_port(None).unwrap();
        let mut args = args;
        args.push(format!("--sessions.path={}", sessions.display()));
        args.push(format!("--web.listen-address=127.0.0.1:{port}"));
        let log = dir.path().join(name);
        let mut process = Process::start(name, Path::new(program), args, &log).unwrap();
        let url = format!("http://127.0.0.1:{port}/metrics");
        let began = Instant::now();
        let mut body = scrape(&mut process, &url);
        // What is armed at first may be done meanwhile.
        let mut seen = scraped(&body);
        // The first look at the logs, the processes and each creds.json takes its time.
        let last: &[&str] = match name {
            "exporter" => &[
                "\nbaileys_auth_log_last_line_timestamp_seconds{",
                "\nbaileys_auth_process_restarts_total{",
            ],
            _ => &["\nbaileys_remediator_creds_insured_timestamp_seconds{"],
        };
        while !last.iter().all(|last| body.contains(last)) {
            assert!(began.elapsed() < Duration::from_secs(20), "{body}");
            std::thread::sleep(Duration::from_millis(100));
            body = scrape(&mut process, &url);
            seen.extend(scraped(&body));
        }
        let mut written = documented(&text, name);
        written.extend(documented(&text, "process"));
        // It needs a connection that has lasted for half a minute: src/exporter/latest/tests.rs.
        written.retain(|(metric, ..)| metric != "baileys_auth_shared_connection");
        assert!(seen.len() > 10);
        assert_eq!(
            seen, written,
            "docs/metrics.md and a real scrape of the {name} differ"
        );
    }
}

/// The long flags that `--help` of a command shows.
fn flags(program: &str, args: &[&str]) -> BTreeSet<String> {
    let output = Command::new(program)
        .args(args)
        .arg("--help")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let words = text.lines().filter_map(|line| {
        let line = line.trim_start();
        let line = line
            .strip_prefix("-h, ")
            .or(line.strip_prefix("-V, "))
            .unwrap_or(line);
        line.strip_prefix("--")
    });
    words
        .map(|rest| {
            rest.split([' ', '=', '<', '['])
                .next()
                .unwrap()
                .trim_end_matches("...")
                .to_owned()
        })
        .filter(|flag| flag != "help" && flag != "version")
        .collect()
}

#[test]
fn configuration_md_names_every_flag_and_key() {
    let (_, text) = doc("docs/configuration.md");
    let (exporter, remediator) = (
        env!("CARGO_BIN_EXE_baileys_exporter"),
        env!("CARGO_BIN_EXE_baileys_remediator"),
    );
    let mut known = BTreeSet::new();
    for (program, command) in [
        (exporter, &[][..]),
        (exporter, &["check-config"]),
        (exporter, &["status"]),
        (exporter, &["patterns"]),
        (exporter, &["rules"]),
        (exporter, &["health"]),
        (remediator, &[]),
        (remediator, &["check-config"]),
        (remediator, &["serve"]),
        (remediator, &["health"]),
        (remediator, &["plan"]),
        (remediator, &["clean"]),
        (remediator, &["runs"]),
        (remediator, &["creds", "list"]),
        (remediator, &["creds", "restore"]),
        (remediator, &["doctor"]),
        (remediator, &["service"]),
        (remediator, &["notify"]),
        (remediator, &["status"]),
        (remediator, &["pause"]),
        (remediator, &["resume"]),
        (remediator, &["undo"]),
    ] {
        known.extend(flags(program, command));
    }
    // Every program has one, and `creds restore` a number.
    known.insert("version".to_owned());
    assert!(known.len() > 15, "{known:?}");
    for flag in &known {
        assert!(
            text.contains(&format!("`--{flag}")),
            "docs/configuration.md does not name --{flag}"
        );
    }
    for named in text.split("`--").skip(1) {
        let flag = named.split(['`', '=', ' ']).next().unwrap();
        assert!(
            known.contains(flag),
            "docs/configuration.md names --{flag}, which does not exist"
        );
    }
}

/// Flag and default of each flag in the `--help` of a command that has one.
fn defaults(program: &str, args: &[&str]) -> Vec<(String, String)> {
    let output = Command::new(program).args(args).arg("--help").output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    let mut flags: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with('-') {
            flags.push(String::new());
        }
        if let Some(flag) = flags.last_mut() {
            flag.push_str(line);
            flag.push(' ');
        }
    }
    let found = flags.iter().filter_map(|flag| {
        let (_, name) = flag.split_once("--")?;
        let name = name.split([' ', '=', '<', '[']).next()?;
        let (_, default) = flag.split_once("[default: ")?;
        let (default, _) = default.split_once(']')?;
        Some((name.to_owned(), default.to_owned()))
    });
    found.collect()
}

#[test]
fn configuration_md_has_the_defaults_of_the_flags() {
    let (_, text) = doc("docs/configuration.md");
    let (exporter, remediator) = (
        env!("CARGO_BIN_EXE_baileys_exporter"),
        env!("CARGO_BIN_EXE_baileys_remediator"),
    );
    let mut seen = 0;
    for (program, command) in [
        (exporter, &[][..]),
        (remediator, &["serve"]),
        (remediator, &["runs"]),
    ] {
        for (flag, default) in defaults(program, command) {
            // The places that are searched are a list of their own.
            if flag == "config.file" {
                continue;
            }
            seen += 1;
            let cell = format!("`--{flag}");
            let mut rows = text
                .lines()
                .filter(|line| line.starts_with('|') && line.contains(&cell));
            assert!(
                rows.any(|row| row.contains(&default)),
                "docs/configuration.md: the default of --{flag} is {default}"
            );
        }
    }
    assert!(seen > 8, "only {seen} defaults were found");
}

#[test]
fn restarts_md_has_the_defaults_of_a_process() {
    let (_, text) = doc("docs/restarts.md");
    let timing = baileys_exporter::control::Timing::default();
    for (key, default) in [
        ("stop_timeout", timing.stop_timeout),
        ("gone_timeout", timing.gone_timeout),
        ("start_timeout", timing.start_timeout),
        ("connect_timeout", timing.connect_timeout),
        ("cooldown", timing.cooldown),
    ] {
        let begin = format!("| `{key}` |");
        let row = text.lines().find(|line| line.starts_with(&begin));
        let cells: Vec<&str> = row
            .unwrap_or_else(|| panic!("no {key}"))
            .split('|')
            .collect();
        let written = cells[3].trim().trim_matches('`');
        let span = baileys_exporter::config::parse_span(written);
        assert_eq!(span.ok(), Some(default), "{key}: {written}");
    }
    let budget = format!("0: none | `{}` |", timing.daily_budget);
    assert!(text.contains(&budget), "{budget}");
    // Up to 79 services the fourth opens the breaker, of 200 the eleventh.
    let breaker = baileys_exporter::policy::Breaker::default();
    let opens_at = |services: f64| {
        f64::from(breaker.services)
            .max(services * breaker.share)
            .floor()
            + 1.0
    };
    assert_eq!([79.0, 80.0, 200.0].map(opens_at), [4.0, 5.0, 11.0]);
    assert!(text.contains("Of up to 79 services that is the fourth, of 200 the eleventh."));
}

#[test]
fn the_example_configuration_is_understood_and_complete() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yml");
    let (_, text) = doc("docs/configuration.md");
    let from = text.find("```yaml\n").unwrap() + "```yaml\n".len();
    let example = &text[from..from + text[from..].find("```").unwrap()];
    std::fs::write(&path, example).unwrap();
    let run = |yaml: &str| {
        std::fs::write(&path, yaml).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_baileys_remediator"))
            .args(["runs", &format!("--config.file={}", path.display())])
            .arg(format!("--state.path={}", dir.path().display()))
            .output()
            .unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(run(example).contains("no journal at"), "{}", run(example));
    // An unknown key's error lists the known ones: each must stand in the example.
    for section in [
        "",
        "sessions",
        "tiers",
        "limits",
        "emergency",
        "connection",
        "logs",
        "webhook",
        "alertmanager",
        "alertmanager.http_config",
        "alertmanager.http_config.authorization",
        "alertmanager.http_config.basic_auth",
        "alertmanager.http_config.tls_config",
        "notify",
        "notify.webhook",
        "quarantine",
        "insurance",
        "state",
        "breaker",
        "armed",
        "rules",
    ] {
        let inside = section.split('.').filter(|key| !key.is_empty()).rev();
        let yaml = inside.fold("{nope: 1}".to_owned(), |yaml, key| {
            format!("{{{key}: {yaml}}}")
        });
        let error = run(&yaml);
        assert!(error.contains("nope"), "{error}");
        let (_, keys) = error
            .lines()
            .next()
            .unwrap()
            .split_once("expected ")
            .unwrap();
        let keys = keys.split("; ").next().unwrap();
        let keys = keys.trim_start_matches("one of ").replace(" or ", ", ");
        for key in keys.split(", ").map(|key| key.trim_matches('`')) {
            assert!(
                example.contains(&format!("{key}:")),
                "the example does not show {section}.{key}"
            );
        }
    }
}

/// The blocks of YAML in a page.
fn yaml_blocks(text: &str) -> Vec<&str> {
    let blocks = text.split("```yaml\n").skip(1);
    blocks
        .map(|rest| rest.split("```").next().unwrap())
        .collect()
}

#[test]
fn the_notifications_load() {
    let (_, page) = doc("docs/triggers.md");
    let (_, section) = page.split_once("\n## Notifications\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("notify.url");
    std::fs::write(&secret, "https://hooks.example.org/x\n").unwrap();
    std::fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    let blocks = yaml_blocks(section);
    assert_eq!(blocks.len(), 3, "ntfy, Telegram and Slack");
    for block in blocks {
        let yaml = block.replace("/etc/baileys/notify.url", &secret.display().to_string());
        let yaml = format!("trigger: local\nsessions: {{paths: [/nowhere]}}\n{yaml}");
        let config = dir.path().join("config.yml");
        std::fs::write(&config, &yaml).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_baileys_remediator"))
            .arg("check-config")
            .arg(format!("--config.file={}", config.display()))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{yaml}{said}");
    }
}

#[test]
fn the_recipes_load_and_name_a_supervisor() {
    let (_, readme) = doc("README.md");
    let from = readme.find("<!-- BEGIN recipe -->").unwrap();
    let to = readme.find("<!-- END recipe -->").unwrap();
    let blocks = yaml_blocks(&readme[from..to]);
    let [recipe, with_systemd] = blocks[..] else {
        panic!("{blocks:?}")
    };
    let lines: Vec<&str> = recipe.lines().collect();
    assert_eq!(lines.len(), 3, "three lines, no script: {recipe}");
    let systemd = format!("{}\n{}\n{with_systemd}", lines[0], lines[1]);
    let (_, alerting) = doc("alerting-rules/README.md");
    let others = yaml_blocks(&alerting);
    let least = others.iter().find(|block| block.starts_with("sessions:"));
    for (yaml, kind) in [
        (recipe.to_owned(), "pm2"),
        (systemd, "system"),
        ((*least.unwrap()).to_owned(), "pm2"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let folder = dir.path().join("sessions/bot");
        fixture::unpack("normal", &folder, SystemTime::now()).unwrap();
        let yaml = yaml
            .replace("/opt/ai-admin/baileys_sessions", &at("sessions"))
            .replace("/home/bots/.pm2", &at("pm2"))
            .replace("127.0.0.1:9093", "127.0.0.1:1");
        std::fs::write(dir.path().join("config.yml"), &yaml).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_baileys_remediator"))
            .args(["doctor", "--output=json"])
            .arg(format!("--config.file={}", at("config.yml")))
            .arg(format!("--state.path={}", at("state")))
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let told: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {yaml}\n{said}"));
        let sources = told[0]["sources"].as_array().unwrap();
        let process = sources.iter().find(|source| source["source"] == "process");
        let detail = process.unwrap()["detail"].as_str().unwrap();
        assert!(detail.contains(kind), "{detail}");
    }
}

#[test]
fn the_example_configuration_shows_every_key_of_a_process() {
    let (_, text) = doc("docs/configuration.md");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yml");
    let entry = |inside: &str| format!("processes: [{inside}]");
    for yaml in [
        entry("{nope: 1}"),
        entry("{systemd: {nope: 1}}"),
        entry("{pm2: {nope: 1}}"),
        entry("{docker: {nope: 1}}"),
        entry("{command: {nope: 1}}"),
        entry("{windows: [{nope: 1}]}"),
    ] {
        std::fs::write(&path, &yaml).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_baileys_remediator"))
            .args(["runs", &format!("--config.file={}", path.display())])
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("nope"), "{yaml}: {error}");
        let (_, keys) = error
            .lines()
            .next()
            .unwrap()
            .split_once("expected ")
            .unwrap();
        let keys = keys.split("; ").next().unwrap();
        for key in keys.split('`').skip(1).step_by(2) {
            assert!(
                text.contains(&format!("{key}:")),
                "the example does not show {key}: {error}"
            );
        }
    }
}

#[test]
fn the_readme_names_the_two_commands_and_ci_runs_the_same() {
    let (_, readme) = doc("README.md");
    let (_, ci) = doc(".ci/run");
    assert!(readme.contains("\nmake demo") && readme.contains("\nmake test"));
    assert!(ci.contains("make test"));
    let first_screen: String = readme.lines().take(40).collect::<Vec<_>>().join("\n");
    assert!(
        first_screen.contains("--connection.command"),
        "the first screen says that no probe means no clean-up"
    );
}

/// Each path and each make target that CONTRIBUTING.md names.
#[test]
fn contributing_md_names_paths_and_targets_that_exist() {
    let (page, text) = doc("CONTRIBUTING.md");
    let (_, makefile) = doc("Makefile");
    let root = page.parent().unwrap();
    let top: BTreeSet<String> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    // Paths also stand in the diagram, without backticks.
    let words = text.split(|c: char| c.is_whitespace() || "`(),;|".contains(c));
    let (mut paths, mut wrong) = (0, Vec::new());
    for word in words.map(|word| word.trim_end_matches(['.', ':'])) {
        let first = word.split('/').next().unwrap_or_default();
        let is_source = word.ends_with(".rs") && word != "a/b.rs" && word != "a/b/tests.rs";
        if (word.contains('/') && (top.contains(first) || first == "crates")) || is_source {
            paths += 1;
            if !root.join(word).exists() {
                wrong.push(word.to_owned());
            }
        }
    }
    // A function that is named with its file.
    let mut functions = 0;
    for part in text.split("` in `").collect::<Vec<_>>().windows(2) {
        let function = part[0].rsplit('`').next().unwrap();
        let function = function.rsplit("::").next().unwrap();
        let file = part[1].split('`').next().unwrap();
        if file.ends_with(".rs") {
            functions += 1;
            let source = std::fs::read_to_string(root.join(file)).unwrap_or_default();
            if !source.contains(&format!("fn {function}")) {
                wrong.push(format!("{function} in {file}"));
            }
        }
    }
    assert!(functions > 5, "only {functions} functions were found");
    for target in text.split("`make ").skip(1) {
        let target = target.split('`').next().unwrap();
        if !makefile.contains(&format!("\n{target}:")) {
            wrong.push(format!("make {target}"));
        }
    }
    assert!(paths > 50, "only {paths} paths were found");
    assert_eq!(wrong, Vec::<String>::new(), "CONTRIBUTING.md");
}

/// The Rust files of a directory of this project.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let (mut dirs, mut found) = (vec![dir.to_owned()], Vec::new());
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Of this crate, library and programs, and of each crate in `crates`.
fn crates() -> Vec<Vec<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut crates = vec![sources(&root.join("src"))];
    for entry in std::fs::read_dir(root.join("crates")).unwrap() {
        crates.push(sources(&entry.unwrap().path().join("src")));
    }
    crates
}

/// The name of the type that a line defines.
fn defines(line: &str) -> Option<&str> {
    let (is_top, line) = (!line.starts_with(' '), line.trim_start());
    let line = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(") ")?.1,
        Some(rest) => rest.strip_prefix(' ')?,
        None => line,
    };
    // An indented `type` belongs to a trait.
    let words = ["struct ", "enum ", "trait ", "type "];
    let mut words = words.iter().filter(|word| is_top || **word != "type ");
    let name = words.find_map(|word| line.strip_prefix(word))?;
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_');
    Some(&name[..end.unwrap_or(name.len())])
}

/// What CONTRIBUTING.md says of every source file, unit tests included.
#[test]
fn a_source_file_is_short_and_a_type_has_one_name_in_its_crate() {
    let mut wrong = BTreeSet::new();
    let mut types = 0;
    for sources in crates() {
        let mut seen = BTreeSet::new();
        for path in sources {
            let text = std::fs::read_to_string(&path).unwrap();
            let lines = text.lines().count();
            if lines > 700 {
                wrong.insert(format!("{}: {lines} lines", path.display()));
            }
            for name in text.lines().filter_map(defines) {
                types += 1;
                // Each program has its own command line.
                let may_recur = matches!(name, "Error" | "Config" | "Cli" | "Command");
                if !seen.insert(name.to_owned()) && !may_recur {
                    wrong.insert(format!("{}: {name} is defined twice", path.display()));
                }
            }
        }
    }
    assert!(types > 500, "only {types} types were found");
    assert_eq!(wrong, BTreeSet::new());
}

/// The lines of a Markdown text outside of fenced code.
fn prose(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            lines.push(line);
        }
    }
    lines
}

/// The targets of the inline links in a Markdown text, images included.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(text) {
        // Every second piece between backticks is code.
        let line = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        for rest in line.split("](").skip(1) {
            let end = rest
                .find(')')
                .unwrap_or_else(|| panic!("a link without an end: {line}"));
            found.push(
                rest[..end]
                    .split_whitespace()
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
            );
        }
    }
    found
}

/// The anchors that GitHub makes of the headings of a Markdown text.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for line in prose(text) {
        let heading = line.trim_start_matches('#');
        if heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let kept = heading.trim().to_lowercase();
        let kept = kept
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let slug: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let mut anchor = slug.clone();
        let mut nth = 0;
        while !anchors.insert(anchor.clone()) {
            nth += 1;
            anchor = format!("{slug}-{nth}");
        }
    }
    anchors
}

/// The Markdown files that a user reads.
fn pages(root: &Path) -> Vec<PathBuf> {
    let mut pages = vec![
        root.join("README.md"),
        root.join("CHANGELOG.md"),
        root.join("CONTRIBUTING.md"),
        root.join("SECURITY.md"),
    ];
    let mut dirs: Vec<PathBuf> = ["docs", "alerting-rules", "dashboards"]
        .iter()
        .map(|name| root.join(name))
        .collect();
    dirs.retain(|dir| dir.is_dir());
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                if entry.file_name() != "node_modules" {
                    dirs.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages
}

#[test]
fn every_relative_link_resolves() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .canonicalize()
        .unwrap();
    let (mut seen, mut broken) = (0, Vec::new());
    for page in pages(&root) {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in links(&text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            seen += 1;
            let (path, anchor) = match link.split_once('#') {
                Some((path, anchor)) => (path, Some(anchor)),
                None => (link.as_str(), None),
            };
            let target = if path.is_empty() {
                page.clone()
            } else {
                page.parent().unwrap().join(path)
            };
            let resolves = match (target.canonicalize(), anchor) {
                (Ok(target), _) if !target.starts_with(&root) => false,
                (Ok(_), None) => true,
                (Ok(target), Some(anchor)) => {
                    target
                        .extension()
                        .is_some_and(|extension| extension == "md")
                        && anchors(&std::fs::read_to_string(&target).unwrap()).contains(anchor)
                }
                (Err(_), _) => false,
            };
            if !resolves {
                broken.push(format!(
                    "{}: {link}",
                    page.strip_prefix(&root).unwrap().display()
                ));
            }
        }
    }
    assert!(seen > 100, "only {seen} links were found");
    assert!(
        broken.is_empty(),
        "these links lead nowhere:\n{}",
        broken.join("\n")
    );
}

//! The configuration file, with the real programs: which one is read, which is refused, and
//! what `check-config` says about it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use serde_json::Value;
use testkit::world::World;
use testkit::{fixture, net};

const EXPORTER: &str = env!("CARGO_BIN_EXE_baileys_exporter");
const REMEDIATOR: &str = env!("CARGO_BIN_EXE_baileys_remediator");

struct Machine {
    dir: tempfile::TempDir,
}

struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A root with one auth folder of this name.
    fn sessions(&self, session: &str) -> String {
        let root = self.path(&format!("root-{session}"));
        fixture::unpack("warning-130", &root.join(session), SystemTime::now()).unwrap();
        root.display().to_string()
    }

    fn write(&self, name: &str, yaml: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, yaml).unwrap();
        path
    }

    /// Runs a program with these variables and no others.
    fn run(&self, program: &str, args: &[&str], variables: &[(&str, &Path)]) -> Said {
        let output = Command::new(program)
            .args(args)
            .env_clear()
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        Said {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn check(&self, program: &str, file: &Path) -> Said {
        self.run(program, &["check-config"], &[("BAILEYS_CONFIG", file)])
    }
}

/// What `status` shows: names and tiers.
fn shown(said: &Said) -> Vec<(String, String)> {
    let rows: Vec<Value> = serde_json::from_str(&said.out)
        .unwrap_or_else(|error| panic!("{error}: {} {}", said.out, said.err));
    let word = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    rows.iter()
        .map(|row| (word(row, "session"), word(row, "tier")))
        .collect()
}

#[test]
fn the_first_file_is_read_and_no_other() {
    let machine = Machine::new();
    let [flag, named, xdg, home] = ["flag", "named", "xdg", "home"].map(|name| {
        let sessions = machine.sessions(name);
        // The last two also make 130 files normal.
        let tiers = match name {
            "xdg" | "home" => "tiers: {warning: 140}\n",
            _ => "",
        };
        let file = match name {
            "xdg" => "xdg/baileys/config.yml",
            "home" => "home/.config/baileys/config.yml",
            name => name,
        };
        let yaml = format!("sessions: {{paths: [{sessions}]}}\ntrigger: local\n{tiers}");
        machine.write(file, &yaml)
    });
    let (xdg_home, user_home) = (machine.path("xdg"), machine.path("home"));
    let all = [
        ("BAILEYS_CONFIG", named.as_path()),
        ("XDG_CONFIG_HOME", &xdg_home),
        ("HOME", &user_home),
    ];
    let status = ["status", "--output=json"];
    let by_flag = format!("--config.file={}", flag.display());
    let row = |name: &str, tier: &str| vec![(name.to_owned(), tier.to_owned())];
    let of = |args: &[&str], from: usize| shown(&machine.run(EXPORTER, args, &all[from..]));
    assert_eq!(
        of(&[status[0], status[1], &by_flag], 0),
        row("flag", "warning")
    );
    assert_eq!(of(&status, 0), row("named", "warning"), "nothing is merged");
    assert_eq!(of(&status, 1), row("xdg", "monitor"));
    assert_eq!(of(&status, 2), row("home", "monitor"));
    fs::remove_file(&xdg).unwrap();
    // The variable is set, so the user's directory is that one.
    assert_ne!(machine.run(EXPORTER, &status, &all[1..]).code, 0);
    // /dev/null says that none is read.
    let none = ["status", "--config.file=/dev/null"];
    let said = machine.run(EXPORTER, &none, &all);
    assert!(said.err.contains("no auth folder is named"), "{}", said.err);
    // One that is named and not there is an error, not passed over.
    fs::remove_file(&named).unwrap();
    let said = machine.run(EXPORTER, &status, &all);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("BAILEYS_CONFIG "), "{}", said.err);
    assert!(said.err.contains("No such file"), "{}", said.err);
    // The other program looks in the same places.
    let said = machine.run(REMEDIATOR, &["check-config"], &all[2..]);
    assert_eq!(said.out, format!("{}: ok\n", home.display()));
}

#[test]
fn a_file_that_others_may_write_is_refused_by_every_command() {
    let machine = Machine::new();
    let sessions = machine.sessions("bot");
    let yaml = format!("sessions: {{paths: {sessions}}}\n");
    let file = machine.write("etc/config.yml", &yaml);
    let named = [("BAILEYS_CONFIG", file.as_path())];
    let commands: [(&str, &[&str]); 6] = [
        (EXPORTER, &[]),
        (EXPORTER, &["status"]),
        (EXPORTER, &["check-config"]),
        (REMEDIATOR, &["serve"]),
        (REMEDIATOR, &["runs"]),
        (REMEDIATOR, &["check-config"]),
    ];
    for (path, mode) in [
        (&file, 0o666),
        (&file, 0o664),
        (&machine.path("etc"), 0o777),
    ] {
        let before = fs::metadata(path).unwrap().permissions();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        for (program, args) in commands {
            let said = machine.run(program, args, &named);
            assert_eq!(said.code, 2, "{args:?}: {}", said.err);
            assert!(said.err.contains("holds commands"), "{}", said.err);
            let fix = format!("fix it with: chmod go-w {}", path.display());
            assert!(said.err.contains(&fix), "{args:?}: {}", said.err);
        }
        fs::set_permissions(path, before).unwrap();
        assert_eq!(machine.check(EXPORTER, &file).code, 0);
    }
}

#[test]
fn check_config_names_line_column_and_what_to_do() {
    let machine = Machine::new();
    let sessions = format!("sessions: {{paths: [{}]}}\n", machine.sessions("bot"));
    // What follows the first line, where it is wrong, and a word of what is said.
    for (yaml, at, says, hint) in [
        (
            "sesions: {}\n",
            "2:1",
            "unknown field `sesions`",
            "`sessions`",
        ),
        ("connection:\n  quite: 5m\n", "3:3", "`quite`", "`quiet`"),
        ("connection:\n\tquiet: 5m\n", "3:", "", "spaces"),
        (
            "service: []\n",
            "2:1",
            "`service`",
            "one section `processes`",
        ),
        ("logs: {paths: '['}\n", "2:15", "logs.paths", ""),
        ("connection:\n  quiet: soon\n", "3:10", "time span", ""),
        ("connection:\n  quiet: 0s\n", "3:10", "connection.quiet", ""),
        ("tiers:\n  warning: many\n", "3:12", "", ""),
        ("tiers:\n  warning: 300\n", "3:3", "tiers", ""),
        (
            "overrides:\n  - sessions: a\n    tiers: {warning: 170}\n",
            "4:12",
            "overrides[0].tiers",
            "",
        ),
        (
            "processes:\n  - pm2: {name: a, home: /h}\n  - pm2: {name: b, home: h}\n",
            "4:26",
            "processes[1].pm2.home",
            "",
        ),
        ("tiers: {}\ntiers: {}\n", "3:1", "duplicate", "once"),
        ("logs: {paths: [*.log]}\n", "2:", "", "quotes"),
        ("connection: 5m\n", "2:13", "", "indented"),
        ("connection: {trust: 5}\n", "2:14", "", "quotes"),
    ] {
        let file = machine.write("config.yml", &format!("{sessions}{yaml}"));
        let place = format!("{}:{at}", file.display());
        for program in [EXPORTER, REMEDIATOR] {
            let said = machine.check(program, &file);
            assert_eq!(said.code, 2, "{yaml}: {}", said.out);
            assert_eq!(said.out, "");
            assert!(said.err.starts_with(&place), "{yaml}: {}", said.err);
            assert!(said.err.contains(says), "{yaml}: {}", said.err);
            let told = said
                .err
                .lines()
                .find_map(|line| line.strip_prefix("hint: "));
            match hint {
                "" => {}
                hint => assert!(told.is_some_and(|told| told.contains(hint)), "{}", said.err),
            }
        }
    }
    // No place in the file is to blame.
    let file = machine.write("config.yml", "tiers: {warning: 140}\n");
    let said = machine.check(REMEDIATOR, &file);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("no auth folder is named"), "{}", said.err);
    // What does not keep a program from its start is a warning.
    let file = machine.write(
        "config.yml",
        &format!("{sessions}alertmanager: {{urls: ['http://${{SURELY_NOT_SET}}:9093']}}\n"),
    );
    let said = machine.check(EXPORTER, &file);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(said.out, format!("{}: ok\n", file.display()));
    // `serve` would not start.
    for (yaml, says) in [
        (
            "alertmanager: {urls: ['http://${SURELY_NOT_SET}:9093']}\n",
            "alertmanager.urls[0]",
        ),
        (
            "trigger: local\nalertmanager: {urls: ['http://a:9093']}\n",
            "excludes alertmanager",
        ),
        (
            "trigger: local\nwebhook: {token_file: /dev/null}\n",
            "excludes --webhook.token-file",
        ),
        (
            "trigger: local\nwebhook: {match: {instance: a}}\n",
            "excludes --webhook.match",
        ),
        ("webhook: {token_file: /nonexistent}\n", "does not exist"),
        (
            "trigger: local\nlabels: {team: '${SURELY_NOT_SET}'}\n",
            "labels.team",
        ),
        ("", "no source of alerts"),
    ] {
        let file = machine.write("config.yml", &format!("{sessions}{yaml}"));
        let said = machine.check(REMEDIATOR, &file);
        assert_eq!(
            (said.code, said.out.as_str()),
            (2, ""),
            "{yaml}: {}",
            said.err
        );
        assert!(said.err.contains(says), "{yaml}: {}", said.err);
    }
    let said = machine.run(EXPORTER, &["check-config", "--config.file=/dev/null"], &[]);
    assert_eq!(said.code, 2);
}

#[test]
fn a_string_stands_for_a_list_of_one() {
    let machine = Machine::new();
    let sessions = machine.sessions("bot");
    let as_list = format!(
        r#"
sessions: {{paths: ["{sessions}"], include: ["b*"], exclude: ["*_old"]}}
overrides: [{{sessions: ["bot"], tiers: {{warning: 140}}}}]
connection:
  command: [/usr/bin/printf, "%s", connected]
  env: [PM2_HOME]
  trust: ["*"]
logs: {{paths: ["/nowhere/*.log"], sessions: [bot]}}
processes:
  - sessions: ["bot"]
    name: bot
    command: {{gone: ["false"], stop: [echo, "a b"], start: [echo]}}
    windows: [{{days: [mon], from: "03:00", to: "04:00", zone: UTC}}]
alertmanager: {{urls: ["http://127.0.0.1:9093"]}}
"#
    );
    let as_string = format!(
        r#"
sessions: {{paths: "{sessions}", include: "b*", exclude: "*_old"}}
overrides: [{{sessions: bot, tiers: {{warning: 140}}}}]
connection:
  command: /usr/bin/printf %s connected
  env: PM2_HOME
  trust: "*"
logs: {{paths: "/nowhere/*.log", sessions: bot}}
processes:
  - sessions: bot
    name: bot
    command: {{gone: "false", stop: echo 'a b', start: echo}}
    windows: [{{days: mon, from: "03:00", to: "04:00", zone: UTC}}]
alertmanager: {{urls: "http://127.0.0.1:9093"}}
"#
    );
    let mut said = Vec::new();
    for yaml in [&as_list, &as_string] {
        let file = machine.write("config.yml", yaml);
        for program in [EXPORTER, REMEDIATOR] {
            let checked = machine.check(program, &file);
            assert_eq!(checked.code, 0, "{yaml}{}", checked.err);
        }
        let status = ["status", "--output=json"];
        let status = machine.run(EXPORTER, &status, &[("BAILEYS_CONFIG", &file)]);
        let mut rows: Vec<Value> = serde_json::from_str(&status.out).unwrap();
        assert_eq!(rows.len(), 1, "{}", status.err);
        for age in ["oldest_active_session_seconds", "connection_evidence"] {
            rows[0].as_object_mut().unwrap().remove(age);
        }
        assert_eq!(rows[0]["connection"], "connected", "{}", status.err);
        said.push(rows);
    }
    assert_eq!(said[0], said[1]);
    // A command is split as a shell splits it, and an open quote is no command.
    let file = machine.write(
        "config.yml",
        "sessions: {paths: /a}\nconnection: {command: \"say 'SECRET\"}\n",
    );
    let said = machine.check(EXPORTER, &file);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("2:23: a quote"), "{}", said.err);
    assert!(!said.err.contains("SECRET"), "{}", said.err);
}

fn hostname() -> String {
    let output = Command::new("uname").arg("-n").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn labels_are_on_every_series_of_both_programs_and_in_the_rules() {
    let mut world = testkit::world!();
    world.with_probe();
    world.bot("bot", "warning-130", "connected");
    world.with_config("labels: {team: messaging, host: \"{hostname}\"}\n");
    let labels = format!("host=\"{}\",team=\"messaging\"}} ", hostname());
    for start in [World::start_exporter, World::start_remediator] {
        start(&mut world);
        let text = net::get(&world.url("/metrics")).unwrap().body;
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        assert!(samples.clone().count() > 20, "{text}");
        for sample in samples {
            assert!(sample.contains(&labels), "{sample}");
        }
        world.stop();
    }
    let rules = world.exporter(&["rules"]).must(0, &[]).out;
    assert!(rules.contains("on (job, instance, host, team, session)"));
    assert!(rules.contains("by (job, instance, host, team)"));
    assert!(!rules.contains("(job, instance)") && !rules.contains("(job, instance, session)"));
    // Only a program that shows metrics needs the variables.
    world.with_config("labels: {team: \"${SURELY_NOT_SET}\"}\n");
    let says = "labels.team: the environment variable";
    world.exporter(&["status"]).must(1, &["bot"]);
    world.exporter(&["check-config"]).must(2, &[says]);
    let token = format!("--webhook.token-file={}", world.path("token").display());
    world.remediator(&["check-config", &token]).must(2, &[says]);
    world.exporter(&[]).must(2, &[says]);
    let serve: Vec<String> = world.serve_args();
    world.run(REMEDIATOR, &[], serve).must(2, &[says]);
    world.with_config("labels: {session: x}\n");
    world
        .exporter(&["check-config"])
        .must(2, &["config.yml:1:19: labels.session"]);
}

#[test]
fn a_variable_is_filled_in_only_where_the_docs_say() {
    let machine = Machine::new();
    let root = machine.sessions("${HOME}");
    let yaml = format!("sessions: {{paths: [\"{root}/${{HOME}}\"]}}\n");
    let file = machine.write("config.yml", &yaml);
    let named = [
        ("BAILEYS_CONFIG", file.as_path()),
        ("HOME", Path::new("/root")),
    ];
    let status = machine.run(EXPORTER, &["status", "--output=json"], &named);
    assert_eq!(
        shown(&status),
        [("${HOME}".to_owned(), "warning".to_owned())],
        "{}",
        status.err
    );
    // Where names are filled in, it is no name.
    for wrong in [
        "connection: {command: [test, '${HOME}']}\n",
        "processes: [{pid_file: '/nowhere/${HOME}.pid'}]\n",
    ] {
        let file = machine.write("config.yml", &format!("{yaml}{wrong}"));
        let said = machine.check(EXPORTER, &file);
        assert_eq!(said.code, 2, "{wrong}");
        assert!(said.err.contains("nothing fills {HOME}"), "{}", said.err);
    }
}

#[test]
fn one_file_serves_many_hosts() {
    let machine = Machine::new();
    let host = hostname();
    let root = machine.sessions("bot");
    let yaml = format!(
        r#"
sessions: {{paths: ["{{hostname}}-shop={root}/bot"]}}
overrides:
  - hosts: [surely-another-host]
    tiers: {{warning: 110, monitor: 100}}
  - hosts: "{host}"
    sessions: "{host}-*"
    tiers: {{monitor: 131, warning: 140}}
  - hosts: ["*"]
    tiers: {{monitor: 10, warning: 20}}
connection: {{command: [test, "{{hostname}}", "=", "{{session}}"]}}
processes:
  - name: "bot-on-{{hostname}}"
    pid_file: /nowhere/{{hostname}}.pid
"#
    );
    let file = machine.write("config.yml", &yaml);
    let named = [("BAILEYS_CONFIG", file.as_path())];
    let status = machine.run(EXPORTER, &["status", "--output=json"], &named);
    // Of each key the first entry that matches the host and the session counts.
    assert_eq!(
        shown(&status),
        [(format!("{host}-shop"), "normal".to_owned())],
        "{}",
        status.err
    );
    let rules = machine.run(EXPORTER, &["rules"], &named);
    assert_eq!(rules.code, 0, "{}", rules.err);
    for matcher in [
        r#"{instance=~"(?:surely\\-another\\-host)(?::[0-9]+)?"}[5m]) >= 110"#,
        r#"instance!~"(?:surely\\-another\\-host)(?::[0-9]+)?"}[5m]) >= 140"#,
    ] {
        assert!(rules.out.contains(matcher), "{matcher}\n{}", rules.out);
    }
    let nothing = machine.write(
        "config.yml",
        "sessions: {paths: /a}\noverrides: [{creds: folder}]\n",
    );
    let said = machine.check(EXPORTER, &nothing);
    assert!(
        said.err.contains("overrides[0].sessions: at least one"),
        "{}",
        said.err
    );
}

use super::*;
use crate::policy::Tier;
use crate::policy::insurance::Keep;
use clap::Parser;
use std::collections::BTreeMap;
use std::ffi::OsStr;

#[derive(Parser)]
struct FlagsParser {
    #[command(flatten)]
    common: CommonFlags,
    #[command(flatten)]
    remediator: RemediatorFlags,
}

fn load(flags: &[&str], yaml: &str) -> Result<Settings, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yml");
    std::fs::write(&path, yaml).unwrap();
    let config = format!("--config.file={}", path.display());
    let all = ["test", &config].into_iter().chain(flags.iter().copied());
    let cli = FlagsParser::try_parse_from(all).map_err(|e| e.to_string())?;
    let settings = Settings::load(&cli.common, &cli.remediator).map_err(|e| e.to_string())?;
    settings.require_sessions().map(|()| settings)
}

fn session(name: &str) -> SessionName {
    SessionName::from_dir(OsStr::new(name))
}

/// It is compared with what is on record in the quarantines.
#[test]
fn the_state_path_is_absolute() {
    for (flags, yaml) in [
        (vec!["--sessions.path=/a", "--state.path=state"], ""),
        (vec!["--sessions.path=/a"], "state: {path: state}"),
    ] {
        let here = std::env::current_dir().unwrap();
        assert_eq!(load(&flags, yaml).unwrap().state_path, here.join("state"));
    }
}

#[test]
fn a_full_file() {
    let settings = load(
        &[],
        r#"
sessions:
  paths: [/a, bot=/b]
  include: ["company_*"]
  exclude: ["*_old"]
tiers: {monitor: 10, warning: 20, cleanup: 30, emergency: 40, fatal: 50}
pre_key_batch: auto
overrides:
  - sessions: ["legacy_*"]
    pre_key_batch: 30
limits: {inactive_for: 21d, pre_keys_kept: 60}
emergency: {pre_key_min_age: 36h}
connection:
  quiet: 5m
  timeout: 3s
  session_pattern: 'company_(?<id>\d+)'
  http:
    url: http://localhost:3000/webhook/whatsapp/baileys/status/{id}
    pointer: /status/connected
    connected: [true]
    disconnected: [false]
  sockets: false
  trust: ["company_1*"]
  log_fresh: 20m
processes:
  - pm2: {name: 'ai-admin-{id}', home: /home/bot/.pm2}
webhook:
  token_file: /etc/token
  match: {instance: "host1:10273"}
quarantine: {retention: 60d, max_bytes: 1000}
insurance: {enabled: false, keep: 5, for: 90d}
state: {path: /var/lib/x}
"#,
    )
    .unwrap();
    assert_eq!(settings.sources.len(), 2);
    assert_eq!(
        settings.limits(&session("legacy_1")).batch,
        BatchSetting::Fixed(30)
    );
    assert_eq!(
        settings.limits(&session("company_1")).batch,
        BatchSetting::Auto
    );
    assert_eq!(settings.limits(&session("x")).thresholds.fatal, 50);
    assert_eq!(settings.connection.quiet, Duration::from_secs(300));
    assert!(settings.connection.processes.has_observed() && settings.services.is_empty());
    assert!(!settings.connection.sockets);
    assert!(
        settings.connection.trust.is_match("company_12")
            && !settings.connection.trust.is_match("x")
    );
    assert_eq!(settings.connection.log_fresh, Duration::from_secs(1200));
    let demanded = settings.alert_match.resolve(&System).unwrap();
    assert_eq!(demanded["instance"], "host1:10273");
    assert_eq!(settings.retention, Duration::from_secs(60 * 86_400));
    let keep = Keep {
        per_identity: 5,
        keep_for: Duration::from_secs(90 * 86_400),
    };
    assert_eq!(
        settings.insurance,
        Insurance {
            enabled: false,
            keep
        }
    );
}

/// Of each key the first entry that matches and has it; what its tiers do not name is
/// that of all.
#[test]
fn sessions_may_have_tiers_of_their_own() {
    let settings = load(
        &["--sessions.path=/a"],
        r#"
tiers: {warning: 130}
overrides:
  - sessions: ["legacy_*"]
    pre_key_batch: 30
  - sessions: ["legacy_7", "vip_*"]
    pre_key_batch: 812
    tiers: {cleanup: 160, emergency: 190}
  - sessions: ["*"]
    tiers: {fatal: 900}
"#,
    )
    .unwrap();
    let of = |name: &str| {
        let limits = settings.limits(&session(name));
        let tiers = Tier::ALL.map(|tier| limits.thresholds.of(tier));
        (limits.batch, tiers)
    };
    assert_eq!(
        of("legacy_7"),
        (BatchSetting::Fixed(30), [100, 130, 160, 190, 200])
    );
    assert_eq!(
        of("vip_1"),
        (BatchSetting::Fixed(812), [100, 130, 160, 190, 200])
    );
    assert_eq!(
        of("legacy_1"),
        (BatchSetting::Fixed(30), [100, 130, 150, 180, 900])
    );
    assert_eq!(of("other"), (BatchSetting::Auto, [100, 130, 150, 180, 900]));
    let rules = settings.alerting_rules().unwrap();
    assert!(
        rules.contains(">= 160\n") && rules.contains(">= 900\n"),
        "{rules}"
    );
}

#[test]
fn flags_win() {
    let settings = load(
        &[
            "--sessions.path=/c",
            "--connection.quiet=1s",
            "--webhook.match=instance=x=y",
            "--pre-keys.batch=812",
        ],
        "sessions: {paths: [/a]}\nconnection: {quiet: 5m}\nwebhook: {match: {job: j}}",
    )
    .unwrap();
    assert_eq!(settings.sources[0].path, Path::new("/c"));
    assert_eq!(settings.connection.quiet, Duration::from_secs(1));
    assert_eq!(
        settings.alert_match.resolve(&System),
        Ok(BTreeMap::from([("instance".into(), "x=y".into())]))
    );
    assert_eq!(
        settings.limits(&session("x")).batch,
        BatchSetting::Fixed(812)
    );
}

#[test]
fn errors_say_where_and_what() {
    let path = &["--sessions.path=/a"][..];
    for (flags, yaml, says) in [
        (&[][..], "", "--sessions.path"),
        (path, "sesions: {}", "sesions"),
        (path, "limits: {inactive_for: 3d}", "not less than 14d"),
        (path, "limits: {inactive_for: soon}", "not a time span"),
        (path, "limits: {pre_keys_kept: 5}", "not less than 50"),
        (path, "tiers: {warning: 300}", "each must begin above"),
        (path, "quarantine: {retention: 0s}", "not less than 1d"),
        (
            path,
            "insurance: {for: 1h}",
            "insurance.for: not less than 1d",
        ),
        (path, "insurance: {keep: 0}", "insurance.keep: from 1 to 20"),
        (
            path,
            "connection: {quiet: 0s}",
            "connection.quiet: must be more than 0s",
        ),
        (
            &["--sessions.path=/a", "--connection.quiet=0s"],
            "",
            "connection.quiet: must be more than 0s",
        ),
        (
            path,
            "connection: {quiet: 3651d}",
            "not be longer than 3650d",
        ),
        (
            path,
            "connection: {timeout: 0s}",
            "connection.timeout: must be more than 0s",
        ),
        (
            path,
            "connection: {timeout: 2h}",
            "connection.timeout: not more than 1h",
        ),
        (
            path,
            "connection: {log_fresh: 3651d}",
            "not be longer than 3650d",
        ),
        (
            path,
            "armed: {look_every: 2h}",
            "armed.look_every: not more than 1h",
        ),
        (
            path,
            "armed: {keep_for: 9999999999d}",
            "not be longer than 3650d",
        ),
        (
            path,
            "breaker: {within: 9999999999d}",
            "not be longer than 3650d",
        ),
        (
            path,
            "quarantine: {retention: 9999999999d}",
            "not be longer than 3650d",
        ),
        (
            path,
            "insurance: {for: 9999999999d}",
            "not be longer than 3650d",
        ),
        (
            path,
            "limits: {inactive_for: 9999999999d}",
            "not be longer than 3650d",
        ),
        (
            path,
            "processes: [{command: {gone: [x]}, cooldown: 9999999999d}]",
            "not be longer than 3650d",
        ),
        (path, "pre_key_batch: 31", "30, 812 or auto"),
        (
            path,
            "connection: {session_pattern: '('}",
            "session_pattern",
        ),
        (path, "connection: {command: []}", "empty"),
        (
            path,
            "connection: {command: [check, '{id}']}",
            "nothing fills {id}",
        ),
        (
            path,
            "connection: {process: {pid_file: /a}}",
            "unknown field `process`",
        ),
        (
            path,
            "service: [{systemd: {unit: a.service}}]",
            "one section `processes`",
        ),
        (
            path,
            "processes: [{docker: {container: b, runtime: lxc}}]",
            "expected one of docker",
        ),
        (path, "connection: {trust: ['[']}", "connection.trust"),
        (
            path,
            "overrides: [{sessions: ['['], pre_key_batch: 30}]",
            "overrides[0].sessions",
        ),
        (
            path,
            "overrides: [{sessions: [a]}]",
            "overrides[0]: at least one of pre_key_batch, tiers and creds",
        ),
        (
            path,
            "overrides: [{sessions: [], pre_key_batch: 30}]",
            "overrides[0].sessions: at least one",
        ),
        (
            path,
            "overrides: [{sessions: [a], tiers: {warning: 170}}]",
            "overrides[0].tiers",
        ),
        (path, "rules: {runbooks: nowhere}", "rules.runbooks"),
        (path, "pages: {exporter: here}", "pages.exporter"),
        (path, "rules: {refused_for: 1m}", "rules.refused_for"),
        (
            path,
            "rules: {alerts: {BaileysJurnalLost: {for: 5m}}}",
            "rules.alerts: no alert is named \"BaileysJurnalLost\"; did you mean `BaileysJournalLost`?",
        ),
        (
            path,
            "rules: {alerts: {BaileysBotDown: {for: 5m}}}",
            "rules.alerts.BaileysBotDown: it has two severities",
        ),
        (
            path,
            "rules: {alerts: {BaileysJournalLost: {for: soon}}}",
            "not a time span",
        ),
        (
            path,
            "rules: {alerts: {BaileysJournalLost: {severity: page}}}",
            "an unknown word, expected one of critical, warning, info",
        ),
        (
            path,
            "rules: {alerts: {BaileysAuthFilesCleanup: {for: 10m}}}",
            "rules.alerts.BaileysAuthFilesCleanup: the remediator acts on this tier",
        ),
        (
            path,
            "logs:\n  patterns:\n    - {name: a, regex: x, severity: info, help: h}\n    - {name: b, regex: 'x\\ny', severity: info, help: h}\n",
            "config.yml:4:7: logs.patterns[1]:",
        ),
        (
            path,
            "logs:\n  patterns:\n    - {name: a, regex: '(', severity: info, help: h}\n",
            "config.yml:3:7: logs.patterns[0]:",
        ),
        (path, "logs: {paths: ['[']}", "logs.paths"),
        (path, "logs: {session_line: x}", "logs.session_line"),
        (path, "logs: {session_path: '('}", "logs.session_path"),
        (&["--sessions.path=/a", "--logs.path=["], "", "--logs.path"),
        (
            &["--sessions.path=a=/x", "--sessions.path=a=/y"],
            "",
            "two auth folders are named a",
        ),
        (
            &["--sessions.path=/a", "--sessions.include=["],
            "",
            "sessions.include",
        ),
    ] {
        let error = load(flags, yaml).unwrap_err();
        assert!(error.contains(says), "{yaml}: {error}");
    }
    // A value may stand in the wrong place, and may be a secret.
    for yaml in [
        "limits: {inactive_for: 1hunter}",
        "pre_key_batch: hunter",
        "processes: [{docker: {container: b, runtime: hunter}}]",
    ] {
        let error = load(path, yaml).unwrap_err();
        assert!(!error.contains("hunter"), "{yaml}: {error}");
    }
    for (http, says) in [
        ("{}", "needs either preset and base_url, or url"),
        (
            "{url: 'http://a/'}",
            "needs either preset and base_url, or url",
        ),
        ("{url: 'http://a/', pointer: /a}", "the values that mean"),
        (
            "{url: 'http://a/', pointer: a, connected: [1], disconnected: [0]}",
            "must be a JSON pointer",
        ),
        (
            "{url: 'http://a/', pointer: /a, connected: [1], disconnected: [0], ca_file: /}",
            "ca_file is for",
        ),
        (
            "{preset: waha, base_url: 'https://a', ca_file: a}",
            "ca_file must be a path",
        ),
        (
            "{url: 'http://a/', pointer: /a, connected: [1], disconnected: [1]}",
            "one value is listed",
        ),
        (
            "{url: 'http://a/', instance: b, pointer: /a}",
            "base_url and instance belong to a preset",
        ),
        (
            "{base_url: 'http://a'}",
            "base_url and instance belong to a preset",
        ),
        ("{preset: waha}", "connection.http.base_url is missing"),
        (
            "{preset: waha, base_url: 'http://a', url: 'http://a/'}",
            "give it base_url instead",
        ),
        (
            "{preset: waha, base_url: 'http://a', pointer: /a}",
            "give it base_url instead",
        ),
        (
            "{preset: waha, base_url: 'http://a', disconnected: [x]}",
            "give it base_url instead",
        ),
        (
            "{preset: WAHA, base_url: 'http://a'}",
            "there is evolution, waha and wppconnect",
        ),
        (
            "{preset: waha, base_url: 'a:3000'}",
            "base_url must begin with http://",
        ),
        (
            "{preset: waha, base_url: 'http://{session}'}",
            "without a placeholder in the host",
        ),
        (
            "{preset: waha, base_url: 'http://a:3000{session}'}",
            "without a placeholder in the host",
        ),
        (
            "{preset: waha, base_url: 'http://a/?b={session}'}",
            "must end before the API's own path",
        ),
        (
            "{preset: waha, base_url: 'http://a/{id}'}",
            "nothing fills {id}",
        ),
        (
            "{preset: waha, base_url: 'http://a', instance: '{id}'}",
            "connection.http.instance: nothing",
        ),
        (
            "{preset: waha, base_url: 'http://a', header: {name: a}}",
            "file",
        ),
        (
            "{preset: waha, base_url: 'http://a', header: {file: ''}}",
            "header.file must be the path",
        ),
        (
            "{preset: waha, base_url: 'http://a', header: {file: TOPSECRET123}}",
            "header.file must be the path",
        ),
        (
            "{preset: waha, base_url: 'http://a', header: {file: '/{id}'}}",
            "header.file: nothing fills",
        ),
        (
            "{preset: waha, base_url: 'http://a', header: {name: 'a b', file: /dev/null}}",
            "header.name",
        ),
        (
            "{url: 'http://a/', pointer: /a, connected: [1], disconnected: [0], header: {file: /dev/null}}",
            "connection.http.header.name is missing",
        ),
        (
            "{preset: waha, base_url: 'http://a', header: {value: TOPSECRET123}}",
            "unknown field `value`",
        ),
        (
            "{preset: waha, base_url: 'http://a', header: TOPSECRET123}",
            "expected mapping",
        ),
    ] {
        let error = load(path, &format!("connection: {{http: {http}}}")).unwrap_err();
        assert!(
            error.contains(says) && !error.contains("TOPSECRET"),
            "{http}: {error}"
        );
    }
    for http in [
        "{preset: evolution, base_url: 'http://a'}",
        "{preset: waha, base_url: 'http://[::1]:3000/x/', instance: 'company_{session}'}",
        "{preset: wppconnect, base_url: 'http://a/{session}', header: {file: '/keys/{session}'}}",
        "{url: 'http://a', pointer: '', connected: [up], disconnected: [down], header: {name: X, file: /}}",
    ] {
        load(path, &format!("connection: {{http: {http}}}")).unwrap();
    }
    // A bot that is down is started first: the file may appear later.
    for (http, says) in [
        (
            "{preset: waha, base_url: 'https://a', ca_file: /nowhere/ca.crt}",
            "/nowhere/ca.crt: No such file",
        ),
        (
            "{preset: waha, base_url: 'http://a', header: {file: /no/key}}",
            "named by connection.http.header.file does not exist",
        ),
        (
            "{preset: waha, base_url: 'http://a', header: {file: 'credential:no-such-key'}}",
            "$CREDENTIALS_DIRECTORY",
        ),
    ] {
        let settings = load(path, &format!("connection: {{http: {http}}}")).unwrap();
        let problems = settings.connection_problems().concat();
        assert!(problems.contains(says), "{http}: {problems}");
        assert!(!problems.contains("/no/key"), "{problems}");
    }
    for yaml in [
        "connection:\n  command: [curl, -H, 'apikey: TOPSECRET123']\n  tiemout: 3s\n",
        "connection:\n  command: 'curl -H \"apikey: TOPSECRET123, really'\n",
        "connection:\n  timeout: {curl: TOPSECRET123}\n",
    ] {
        let error = load(path, yaml).unwrap_err();
        assert!(!error.contains("TOPSECRET"), "{error}");
        assert!(error.contains("config.yml:"), "{error}");
    }
    let error = load(path, "tiers:\n  warning: many\n").unwrap_err();
    assert!(
        error.contains("config.yml:2:12: "),
        "the place is named: {error}"
    );
}

/// The log of a bot that writes nothing after its close would never count in a quiet folder.
#[test]
fn a_log_that_is_old_before_the_folder_is_quiet_is_reported() {
    for (yaml, warned) in [
        ("connection: {quiet: 20m}", false),
        ("connection: {quiet: 20m}\nlogs: {paths: [/l/*.log]}", true),
        ("connection: {quiet: 15m}\nlogs: {paths: [/l/*.log]}", true),
        (
            "connection: {log_fresh: 10m}\nlogs: {paths: [/l/*.log]}",
            true,
        ),
        (
            "connection: {quiet: 20m, log_fresh: 30m}\nlogs: {paths: [/l/*.log]}",
            false,
        ),
        ("logs: {paths: [/l/*.log]}", false),
    ] {
        let problems = load(&["--sessions.path=/a"], yaml)
            .unwrap()
            .connection_problems()
            .concat();
        let says = "set connection.log_fresh to more than connection.quiet";
        assert_eq!(problems.contains(says), warned, "{yaml}: {problems}");
    }
}

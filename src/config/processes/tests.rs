use super::*;
use crate::connection::{ConnectionSettings, Probe};
use crate::folder::SessionName;
use std::ffi::OsStr;

#[derive(Deserialize)]
struct ProcessesFile {
    #[serde(default)]
    processes: Vec<ProcessSection>,
    #[serde(default)]
    breaker: BreakerSection,
}

fn load(yaml: &str) -> Result<(Services, Breaker), String> {
    let pattern = Regex::new(r"^(?:company_(?<id>\d+))$").unwrap();
    let file: ProcessesFile = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
    Ok((
        build(file.processes, Some(&pattern))?,
        file.breaker.build()?,
    ))
}

fn session(name: &str) -> SessionName {
    SessionName::from_dir(OsStr::new(name))
}

#[test]
fn the_first_entry_that_matches_counts() {
    let (services, breaker) = load(
        r#"
processes:
  - sessions: ["company_1*"]
    systemd: {unit: 'bot@{id}.service'}
    allow_restart: true
    stop_timeout: 10s
    daily_budget: 1
    windows: [{days: [mon], from: "03:00", to: "04:30", zone: America/Lima}]
  - name: all-in-one
    allow_restart: true
    command: {stop: [a, stop], start: [a, start], gone: [a, gone]}
breaker: {services: 5, share: 10%, within: 2h}
"#,
    )
    .unwrap();
    let one = services.of(&session("company_17")).unwrap();
    assert_eq!(
        (one.name.as_str(), one.kind(), one.daily_budget),
        ("bot@17.service", "systemd", 1)
    );
    assert_eq!(one.stop_timeout, Duration::from_secs(10));
    assert_eq!(one.connect_timeout, Duration::from_secs(180));
    assert!(!one.windows.is_empty() && one.check().is_ok());
    let shared = services.of(&session("company_2")).unwrap();
    assert_eq!(
        (shared.name.as_str(), shared.kind()),
        ("all-in-one", "command")
    );
    assert!(shared.windows.is_empty());
    let sessions = ["company_17", "company_2", "x"].map(session);
    let names = services.names(&sessions);
    assert_eq!(names["all-in-one"].len(), 2);
    assert_eq!(names.len(), 2);
    assert_eq!(
        breaker,
        Breaker {
            services: 5,
            share: 0.1,
            within: Duration::from_secs(7200)
        }
    );

    let (none, breaker) = load("{}").unwrap();
    assert!(none.is_empty() && none.of(&session("a")).is_none());
    assert_eq!(breaker, Breaker::default());
}

#[tokio::test]
async fn a_session_whose_name_does_not_fit_is_neither_stopped_nor_gone() {
    use crate::control::Presence;
    let (services, _) =
        load("processes: [{allow_restart: true, name: '{session}', command: {stop: ['true'], start: ['true'], gone: ['true', '{id}']}}]")
            .unwrap();
    for name in ["other", "company_x", "-rf"] {
        let service = services.of(&session(name)).unwrap();
        assert_eq!((service.name.as_str(), service.kind()), (name, "none"));
        assert!(
            service.check().is_err()
                && service.stop(None).await.is_err()
                && service.start(None).await.is_err()
        );
        assert!(matches!(service.presence().await, Presence::Unknown(_)));
    }
    assert_eq!(
        services.of(&session("company_7")).unwrap().presence().await,
        Presence::Gone
    );
}

#[test]
fn the_home_of_pm2_is_that_of_this_user_unless_named() {
    let own = std::env::var_os("PM2_HOME")
        .map(PathBuf::from)
        .unwrap_or_else(|| std::env::home_dir().unwrap().join(".pm2"));
    // Two entries of one name must be the same process.
    let beside = |home: &str| {
        load(&format!(
            "processes: [{{sessions: [a], pm2: {{name: bot}}}}, {{pm2: {{name: bot, home: '{home}'}}}}]"
        ))
    };
    assert!(beside(&own.display().to_string()).is_ok());
    let error = beside("/elsewhere/.pm2").map(|_| ()).unwrap_err();
    assert!(error.contains("have the same name"), "{error}");
}

#[test]
fn two_processes_of_one_name_are_refused() {
    let of_a = "sessions: ['a*']";
    let pm2 = |name: &str, home: &str| format!("pm2: {{name: {name}, home: {home}}}");
    let command = |stop: &str| format!("command: {{stop: [{stop}], start: [b], gone: [c]}}");
    for (first, second) in [
        (pm2("bot", "/home/a/.pm2"), pm2("bot", "/home/b/.pm2")),
        (
            "docker: {container: bot}".into(),
            "docker: {container: bot, runtime: podman}".into(),
        ),
        ("docker: {container: bot}".into(), pm2("bot", "/p")),
        (
            "systemd: {unit: a.service}, name: bots".into(),
            "systemd: {unit: b.service}, name: bots".into(),
        ),
        (
            format!("name: bots, {}", command("a")),
            format!("name: bots, {}", command("b")),
        ),
        // a_7 and b_7 would be one.
        (pm2("'bot-{id}'", "/a"), pm2("'bot-{id}'", "/b")),
    ] {
        let yaml = format!(
            "processes: [{{{of_a}, {first}}}, {{sessions: [x], systemd: {{unit: x.service}}}}, {{{second}}}]"
        );
        let error = load(&yaml).map(|_| ()).unwrap_err();
        assert!(
            error.contains("processes[0] and processes[2] have the same name"),
            "{yaml}: {error}"
        );
        assert!(error.contains("another `name`"), "{error}");
        let named =
            format!("processes: [{{{of_a}, {first}}}, {{{second}, name: 'b-{{session}}'}}]");
        if !second.contains("name: bots") {
            load(&named).unwrap_or_else(|error| panic!("{named}: {error}"));
        }
        let same = format!("processes: [{{{of_a}, {first}}}, {{{first}, cooldown: 1h}}]");
        load(&same).unwrap_or_else(|error| panic!("{same}: {error}"));
    }
    // Of different sessions these are different names.
    load(&format!(
        "processes: [{{{of_a}, {}}}, {{{}}}]",
        pm2("'{session}'", "/a"),
        pm2("'{session}'", "/b")
    ))
    .unwrap();
}

#[tokio::test]
async fn a_name_that_turns_out_to_be_another_process_has_neither_stop_nor_start() {
    use crate::control::Presence;
    let one =
        |names: &str| format!("command: {{stop: ['true'], start: ['true'], gone: [{names}]}}");
    let (services, _) = load(&format!(
        "processes: [{{allow_restart: true, sessions: [a, c], name: b, {}}}, {{allow_restart: true, name: '{{session}}', {}}}]",
        one("'true'"),
        one("'true', '{session}'")
    ))
    .unwrap();
    let all = ["a", "b", "c", "d"].map(session);
    for (name, sessions, is_known) in [
        ("a", &all[..], false),
        ("b", &all[..], false),
        ("c", &all[..], false),
        ("d", &all[..], true),
        // Without a session b there is one process, of two sessions.
        ("a", &[session("a"), session("c"), session("d")][..], true),
    ] {
        let service = services.among(&session(name), sessions).unwrap();
        assert_eq!(service.check().is_ok(), is_known, "{name}");
        assert_eq!(
            service.presence().await == Presence::Gone,
            is_known,
            "{name}"
        );
        assert_eq!(service.stop(None).await.is_ok(), is_known, "{name}");
    }
}

/// Stopped for one session, it would be started in the middle of the clean-up of another.
#[tokio::test]
async fn one_process_under_several_names_has_neither_stop_nor_start() {
    let bots = "pm2: {name: bots, home: /p}";
    let named = "allow_restart: true, name: '{session}'";
    for (entries, sessions, is_known) in [
        (format!("{{{named}, {bots}}}"), &["a", "b"][..], false),
        (format!("{{{named}, {bots}}}"), &["a"][..], true),
        (
            format!("{{sessions: [b], {bots}}}, {{allow_restart: true, {bots}}}"),
            &["a", "b"][..],
            false,
        ),
        (
            format!(
                "{{sessions: [b], name: x, {bots}, allow_restart: true}}, {{allow_restart: true, {bots}}}"
            ),
            &["a", "b"][..],
            false,
        ),
        (
            format!("{{allow_restart: true, {bots}}}"),
            &["a", "b"][..],
            true,
        ),
        (
            "{allow_restart: true, pm2: {name: '{session}', home: /p}}".into(),
            &["a", "b"][..],
            true,
        ),
    ] {
        let (services, _) = load(&format!("processes: [{entries}]")).unwrap();
        let all: Vec<_> = sessions.iter().map(|name| session(name)).collect();
        let service = services.among(&all[0], &all).unwrap();
        assert_eq!(service.check().is_ok(), is_known, "{entries}");
    }
}

#[test]
fn errors_name_the_key() {
    for (service, says) in [
        (
            "{}",
            "processes[0] needs exactly one of systemd, pm2, docker, command and pid_file",
        ),
        (
            "{systemd: {unit: a.service}, docker: {container: b}}",
            "processes[0] needs exactly one of",
        ),
        (
            "{systemd: {unit: a}}",
            "processes[0].systemd.unit: must end in .service",
        ),
        ("{systemd: {unit: 'a@{id}'}}", "must end in .service"),
        ("{systemd: {unit: '{session}'}}", "must end in .service"),
        (
            "{systemd: {unit: -a.service}}",
            "processes[0].systemd.unit: must be a name",
        ),
        (
            "{systemd: {unit: '{nope}.service'}}",
            "nothing fills {nope}",
        ),
        ("{systemd: {unit: a.service, user: b}}", "user"),
        (
            "{systemd: {unit: 'bot@{id}.service'}, name: bots}",
            "processes[0].name must hold {id} as well",
        ),
        (
            "{systemd: {unit: 'bot@{session}.service'}, name: 'b{id}'}",
            "processes[0].name must hold {session}",
        ),
        (
            "{systemd: {unit: a.service}, name: ''}",
            "processes[0].name is empty",
        ),
        (
            "{pm2: {name: a, home: b}}",
            "processes[0].pm2.home: must be an absolute path",
        ),
        (
            "{pm2: {name: '', home: /b}}",
            "processes[0].pm2.name: must be a name",
        ),
        ("{pm2: {name: a, home: /b, user: c}}", "user"),
        (
            "{pid_file: a}",
            "processes[0].pid_file: must be an absolute path",
        ),
        ("{pid_file: '/{nope}'}", "nothing fills {nope}"),
        (
            "{pid_file: /a, allow_restart: true}",
            "processes[0].allow_restart: a process with a pid file can only be observed",
        ),
        (
            "{name: a, allow_restart: true, command: {gone: [a], stop: [a]}}",
            "processes[0].allow_restart needs the commands stop and start",
        ),
        (
            "{name: a, allow_restart: yes please, command: {gone: [a]}}",
            "line",
        ),
        ("{docker: {container: a, runtime: lxc}}", "lxc"),
        ("{command: {stop: [a], start: [a]}}", "gone"),
        (
            "{command: {stop: [a], start: [a], gone: [a]}}",
            "processes[0].name is missing",
        ),
        (
            "{name: a, command: {stop: [], start: [a], gone: [a]}}",
            "processes[0].command.stop: is empty",
        ),
        (
            "{name: a, command: {stop: [a], start: ['{session}'], gone: [a]}}",
            "command.start: the program may",
        ),
        (
            "{name: a, command: {stop: [a], start: [a], gone: [sh, -c, a]}}",
            "command.gone: sh -c would run",
        ),
        (
            "{name: a, command: {gone: [pgrep, -f, a]}}",
            "processes[0].command.gone: pgrep does not exit with 0 when the process is gone",
        ),
        (
            "{name: a, command: {stop: [a, '{session}'], start: [a], gone: [a]}}",
            "must hold {session}",
        ),
        (
            "{name: a, command: {stop: \"a 'b\", start: [a], gone: [a]}}",
            "a quote in this command is not closed",
        ),
        (
            "{systemd: {unit: a.service}, sessions: ['[']}",
            "processes[0].sessions",
        ),
        (
            "{systemd: {unit: a.service}, stop_timeout: 0s}",
            "processes[0].stop_timeout: not less than 1s",
        ),
        (
            "{systemd: {unit: a.service}, start_timeout: 61m}",
            "processes[0].start_timeout: not more than 1h",
        ),
        (
            "{systemd: {unit: a.service}, cooldown: soon}",
            "not a time span",
        ),
        (
            "{systemd: {unit: a.service}, windows: [{from: '03:00', to: '04:00'}]}",
            "processes[0].windows[0].zone is missing; name the time zone",
        ),
        (
            "{systemd: {unit: a.service}, windows: [{from: '03:00', to: '04:00', zone: Lima}]}",
            "processes[0].windows[0].zone: ",
        ),
        (
            "{systemd: {unit: a.service}, windows: [{from: 3am, to: '04:00', zone: UTC}]}",
            "processes[0].windows[0].from: ",
        ),
    ] {
        let error = load(&format!("processes: [{service}]"))
            .map(|_| ())
            .unwrap_err();
        assert!(error.contains(says), "{service}: {error}");
    }
    for (breaker, says) in [
        ("{share: 5}", "breaker.share: a percentage such as 5%"),
        ("{share: 500%}", "breaker.share"),
        ("{share: -1%}", "breaker.share"),
        ("{share: NaN%}", "breaker.share"),
        ("{within: 1s}", "breaker.within"),
        ("{services: -1}", "line"),
        ("{nope: 1}", "nope"),
    ] {
        let error = load(&format!("breaker: {breaker}"))
            .map(|_| ())
            .unwrap_err();
        assert!(error.contains(says), "{breaker}: {error}");
    }
}

/// Naming a process permits observing it, and nothing else.
#[tokio::test]
async fn a_process_that_is_named_is_only_observed() {
    use crate::control::Presence;
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("called");
    let touch = format!("[touch, {}]", mark.display());
    let (services, _) = load(&format!(
        "processes: [{{name: b, sessions: [b], command: {{gone: ['true'], stop: {touch}, start: {touch}}}}}, {{sessions: [c], pid_file: '/run/{{session}}.pid'}}]"
    ))
    .unwrap();
    assert!(services.is_empty() && services.has_observed());
    for name in ["b", "c"] {
        let name = session(name);
        assert!(services.of(&name).is_none() && services.among(&name, [&name]).is_none());
        let service = services.observed(&name).unwrap();
        assert!(!service.may_restart());
        for tried in [service.stop(None).await, service.start(None).await] {
            let error = tried.unwrap_err();
            assert!(!error.may_have_acted());
            assert!(error.to_string().contains("allow_restart"), "{error}");
        }
    }
    assert!(!mark.exists(), "nothing was called");
    let observed = services.observed(&session("b")).unwrap();
    assert_eq!(observed.presence().await, Presence::Gone);
    assert!(services.names([&session("b")]).is_empty());
    assert!(services.observed(&session("d")).is_none());
}

#[test]
fn an_entry_that_is_first_for_no_session_is_named() {
    let (services, _) = load(
        r#"
processes:
  - {sessions: ["Bot_*"], systemd: {unit: 'bot@{session}.service'}, allow_restart: true}
  - {name: observed, command: {gone: [a, gone]}}
  - {sessions: ["bot_*"], name: all, allow_restart: true, command: {stop: [a], start: [a], gone: [a]}}
"#,
    )
    .unwrap();
    let sessions = ["bot_1", "bot_2"].map(session);
    let unused = services.unused(&sessions);
    assert_eq!(unused.len(), 2, "{unused:?}");
    assert!(unused[0].contains("processes[0]") && unused[0].contains("match no session"));
    assert!(unused[1].contains("processes[2]") && unused[1].contains("each of the 2 sessions"));
    let none: [SessionName; 0] = [];
    assert_eq!(services.unused(&none).len(), 3);
}

/// An entry without `sessions` and without a placeholder is one for one bot.
#[test]
fn an_entry_for_one_bot_is_refused_once_it_stands_for_two() {
    let shared = |entry: &str, all: &[&str]| {
        let (services, _) = load(&format!("processes: [{entry}]")).unwrap();
        let all = all.iter().map(|name| session(name)).collect();
        let why = services.shared_by_default(&session("company_1"), Some(&all));
        let unknown = services.shared_by_default(&session("company_1"), None);
        let entries = services.shared_entries(&all).len();
        assert_eq!(entries, usize::from(why.is_some()), "{entry}");
        assert_eq!(
            services.is_for_one_session(&session("company_1")),
            unknown.is_some(),
            "{entry}"
        );
        why
    };
    let two = ["company_1", "company_2"];
    for (entry, is_shared) in [
        ("{systemd: {unit: bot.service}}", true),
        ("{pm2: {name: bot, home: /p}}", true),
        ("{docker: {container: bot}}", true),
        ("{pid_file: /run/bot.pid}", true),
        ("{name: a, command: {gone: [a]}}", true),
        // The process is one, whatever it is called here.
        ("{name: '{session}', pm2: {name: bot, home: /p}}", true),
        ("{pm2: {name: 'bot-{session}', home: /p}}", false),
        ("{pm2: {name: 'bot-{id}', home: /p}}", false),
        ("{name: '{id}', command: {gone: [a, '{id}']}}", false),
        // Declared by the operator.
        ("{sessions: ['*'], systemd: {unit: bot.service}}", false),
        (
            "{sessions: [company_1, company_2], systemd: {unit: bot.service}}",
            false,
        ),
    ] {
        let why = shared(entry, &two);
        assert_eq!(why.is_some(), is_shared, "{entry}");
        assert_eq!(shared(entry, &["company_1"]), None, "{entry}");
    }
    let why = shared("{systemd: {unit: bot.service}}", &two).unwrap();
    assert!(why.contains("the session company_2"), "{why}");
    assert!(
        why.contains(
            "list the sessions of a shared process under `sessions:`, put {session} into the name"
        ),
        "{why}"
    );
    // The second session has an entry of its own, before this one.
    let entries = "{sessions: [company_2], pid_file: /p}, {systemd: {unit: bot.service}}";
    assert_eq!(shared(entries, &two), None);
}

/// A connection that only sockets may show is waited for until they have lasted.
#[test]
fn the_wait_for_the_connection_is_long_enough_for_its_sockets() {
    let entry = |session: &str, process: &str| {
        format!("{{sessions: [{session}], {process}, allow_restart: true, connect_timeout: 5s}}")
    };
    let (services, _) = load(&format!(
        "processes: [{}, {}]",
        entry("a", "systemd: {unit: a.service}"),
        entry(
            "b",
            "name: b, command: {stop: [a, stop], start: [a, start], gone: [a, gone]}"
        )
    ))
    .unwrap();
    let waits = |sources: &ConnectionSettings, name: &str| {
        let service = services.of(&session(name)).unwrap();
        let (connected, sockets) = (
            sources.connected_within(&service),
            sources.sockets_show_within(&service),
        );
        (connected.as_secs(), sockets.as_secs())
    };
    let sockets = ConnectionSettings::default();
    assert_eq!(waits(&sockets, "a"), (40, 35));
    assert_eq!(waits(&sockets, "b"), (5, 0), "its processes are unknown");
    let slow = ConnectionSettings {
        timeout: Duration::from_secs(20),
        ..sockets.clone()
    };
    assert_eq!(waits(&slow, "a"), (55, 50));
    let probed = ConnectionSettings {
        probes: vec![Probe::command_line("true", None).unwrap()],
        ..sockets.clone()
    };
    assert_eq!(waits(&probed, "a"), (5, 35));
    let none = ConnectionSettings {
        sockets: false,
        ..sockets
    };
    assert_eq!(waits(&none, "a"), (5, 0));
}

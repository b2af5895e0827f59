//! Which pages are read, and what differs from them on the host of the tests.

/// Pages that this test reads, in this order, beside those of docs/operations and docs/runbooks.
/// The first has the number of the first run.
pub const PAGES: [&str; 13] = [
    "docs/records.md",
    "alerting-rules/README.md",
    "docs/configuration.md",
    "docs/connection.md",
    "docs/fleets.md",
    "docs/insurance.md",
    "docs/limits.md",
    "docs/logs.md",
    "docs/metrics.md",
    "docs/permissions.md",
    "docs/restarts.md",
    "docs/tls.md",
    "docs/triggers.md",
];

/// The other pages of docs, and who runs what they tell to run.
pub const ELSEWHERE: [(&str, &str); 13] = [
    ("docs/alerts.md", "no command"),
    ("docs/containers.md", "tests/containers"),
    ("docs/fuzzing.md", "make fuzz"),
    ("docs/glossary.md", "no command"),
    ("docs/guide.md", "tests/install.rs"),
    ("docs/how-it-works.md", "no command"),
    ("docs/install.md", "tests/install.rs and tests/packages"),
    ("docs/kubernetes.md", "tests/kubernetes; a cluster"),
    ("docs/performance.md", "the benches"),
    ("docs/releasing.md", "make dist and tests/dist"),
    ("docs/safety.md", "no command"),
    ("README.md", "tests/install.rs"),
    ("CONTRIBUTING.md", "make test"),
];

pub const NO_DOCKER: &str = "needs a container engine";

/// Commands with one of these texts run under a systemd of their own, in the second test.
pub const SYSTEMD: [&str; 2] = ["systemctl ", "journalctl "];

/// Commands with one of these texts cannot run here, and why.
pub const NOT_HERE: [(&str, &str); 5] = [
    ("docker ", NO_DOCKER),
    ("apt-get install", "needs root and the network"),
    ("chown 1000 ", "needs root"),
    ("htpasswd ", "a program of Apache"),
    ("alerting-rules/check.sh", "a step of scripts/test.sh"),
];

/// Commands that a page mentions by name only, so they are not run.
pub const NAMED: [(&str, &str); 30] = [
    ("systemctl reload", IN_A_TABLE),
    ("systemctl restart", "the way to deploy"),
    ("systemctl start", "what a `start` command uses"),
    ("systemctl status", A_WAY),
    ("baileys_remediator clean", IN_A_TABLE),
    ("baileys_remediator notify", IN_A_TABLE),
    ("baileys_remediator pause", IN_A_TABLE),
    ("baileys_remediator plan", IN_A_TABLE),
    ("baileys_remediator serve", IN_A_TABLE),
    ("podman run", IN_A_TABLE),
    ("pm2 sendSignal SIGHUP", IN_A_TABLE),
    ("pm2 restart ID…", "what the remediator calls"),
    ("pm2 stop ID…", "what the remediator calls"),
    ("pm2 describe", IN_A_TABLE),
    ("pm2 restart", IN_A_TABLE),
    ("pm2 reset", "what a person did"),
    ("pm2 flush", "what a person did"),
    ("pm2 reload", "what never to do"),
    ("pm2 start", "the way to deploy"),
    ("pm2 stop", "the way to deploy"),
    ("find -mtime", "what deleted keys"),
    ("grep -c", A_WAY),
    ("cp -a", A_WAY),
    ("cp -r", "what loses the file times"),
    ("scp -p", A_WAY),
    ("scp -r", "what loses the file times"),
    ("rsync -a", A_WAY),
    ("df -h", A_WAY),
    ("df -i", A_WAY),
    ("fuser -v", A_WAY),
];
pub const IN_A_TABLE: &str = "the name of a command, without its arguments";
pub const A_WAY: &str = "a program and its option, without what it is for";

/// In the commands of a page, the first text is replaced by the second: a placeholder, or what
/// needs systemd. `RELOAD` has Prometheus and Alertmanager read their files again, `RUN` is the
/// last clean-up.
pub const INSTEAD: [(&str, &str, &str); 16] = [
    (
        "docs/configuration.md",
        "baileys_exporter health",
        "baileys_exporter health --web.listen-address=127.0.0.1:10273",
    ),
    (
        "docs/configuration.md",
        "baileys_remediator health",
        "baileys_remediator health --web.listen-address=127.0.0.1:10274",
    ),
    (
        "",
        "sudo systemctl reload 'baileys_remediator@*'",
        "pm2 sendSignal SIGHUP baileys_remediator",
    ),
    (
        "alerting-rules/README.md",
        "sudo systemctl restart prometheus prometheus-alertmanager",
        "RELOAD",
    ),
    (
        "alerting-rules/README.md",
        "sudo systemctl reload prometheus",
        "RELOAD",
    ),
    ("connection.md", "--trust SESSION", "--trust company_962302"),
    (
        "baileysremediatordegraded.md",
        "clean SESSION",
        "clean company_962302",
    ),
    (
        "baileyslogsilent.md",
        "WA' LOG",
        "WA' ~/.pm2/logs/company-962302-out.log",
    ),
    (
        "baileyssecretsinlogs.md",
        "shred -u FILE",
        "shred -u ~/.pm2/logs/company-962302-out__1.log",
    ),
    ("baileyssessionvanished.md", "find / ", "find \"$ROOT/..\" "),
    ("baileysprekeysexhausted.md", "BACKUP/", "/path/to/backup/"),
    (
        "baileyscredsbroken.md",
        "STATE/",
        "/var/lib/baileys_remediator/",
    ),
    (
        "baileysconnectionreplaced.md",
        "*/creds.json",
        "/opt/ai-admin/baileys_sessions/*/creds.json",
    ),
    ("tls.md", "web-config FILE", "web-config web.yml"),
    (
        "baileysauthfilescleanup.md",
        "20260101T000000Z-000000",
        "RUN",
    ),
    (
        "baileysemergencynotback.md",
        "20261123T201510Z-4f2a91",
        "RUN",
    ),
];

/// Pages that begin with a bot that runs. On the others it is stopped.
pub const RUNNING: [&str; 3] = [
    "docs/restarts.md",
    "docs/runbooks/baileysconnectionreplaced.md",
    "docs/runbooks/baileyslogsilent.md",
];

/// Commands with one of these texts change the host.
pub const CHANGES: [&str; 15] = [
    "pm2 delete",
    "pm2 restart",
    "pm2 scale",
    "pm2 start",
    "pm2 stop",
    " clean ",
    " undo ",
    " restore ",
    " pause",
    " --start",
    " --stop",
    "cp ",
    "mv ",
    "rm ",
    "webhook.token",
];

/// Other exit codes than 0, and why.
pub const CODES: [(&str, &str, &[i32], &str); 11] = [
    (
        "baileysconnectionreplaced.md",
        "ps -eo pid,args | grep '[n]ode'",
        &[0, 1],
        "1: all are gone",
    ),
    (
        "baileyssessionvanished.md",
        "baileys_exporter status",
        &[2],
        "there is no session",
    ),
    (
        "baileyssessionvanished.md",
        "ls -ld ",
        &[2],
        "there is no folder",
    ),
    (
        "",
        "baileys_exporter status",
        &[0, 1],
        "1: a session is at warning or worse",
    ),
    (
        "",
        "grep -c -i 'out of memory'",
        &[0, 1],
        "1: the kernel has ended nothing",
    ),
    (
        "baileysauthfilescleanup.md",
        "baileys_remediator_webhook_",
        &[0, 1],
        "1: nothing was pushed",
    ),
    (
        "baileyscredsbroken.md",
        "&& echo whole",
        &[1],
        "creds.json is empty",
    ),
    (
        "baileyslogsilent.md",
        "baileys_remediator doctor",
        &[1],
        "the bot runs and has no connection",
    ),
    (
        "baileyslogsilent.md",
        "opened connection to WA",
        &[1],
        "the same",
    ),
    (
        "baileyssecretsinlogs.md",
        "noiseKey",
        &[1],
        "only a session was printed",
    ),
    (
        "baileysprekeysexhausted.md",
        "grep -c '^pre-key-'",
        &[1],
        "there is none",
    ),
];

/// On standard error they show that a command is not one.
pub const SIGNS: [&str; 8] = [
    "sage:",
    "command not found",
    "syntax error",
    "invalid option",
    "unrecognized option",
    "unexpected argument",
    "Invalid argument",
    "jq: error",
];

/// What is printed.
pub const SAYS: [(&str, &str, &str); 11] = [
    (
        "baileysauthfilescleanup.md",
        "baileys_remediator plan",
        "would move 294 files",
    ),
    (
        "baileysauthfilescleanup.md",
        "clean \"$SESSION\" --config",
        "294 files moved",
    ),
    (
        "baileysauthfilescleanup.md",
        "--arg app \"$1\"",
        "connected\n",
    ),
    ("baileysauthfilescleanup.md", "undo ", "294 files put back"),
    ("baileysauthfilecorrupt.md", "for file in", "not valid: "),
    (
        "docs/configuration.md",
        "10273/-/reload",
        "configuration loaded",
    ),
    (
        "docs/configuration.md",
        "10274/-/reload",
        "configuration loaded",
    ),
    (
        "docs/triggers.md",
        "notify --test",
        "The test message was sent",
    ),
    (
        "baileyssecretsinlogs.md",
        "find ~/.pm2/logs",
        "company-962302-out__2.log.gz",
    ),
    ("baileyskeysnotstored.md", "test -w", "writable"),
    ("baileyscleanupineffective.md", "$KNOWN", "store.json"),
];

/// Commands for systemd with other exit codes than 0, and why.
pub const CODES_OF_SYSTEMD: [(&str, &str, &[i32], &str); 1] = [(
    "",
    "systemctl status bot@company_962302.service; ",
    &[0, 1],
    "1: it has not failed",
)];

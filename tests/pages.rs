//! Runs the commands of the runbooks, of docs/operations and of the pages with one task each, in
//! the order and with the text in which a reader pastes them. What differs from the host of the
//! pages stands in [`host::Host::here`] and in the tables of this file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, SystemTime};

use reader::host::{Host, SESSION, executable};
use reader::lists::{
    CHANGES, CODES, CODES_OF_SYSTEMD, ELSEWHERE, INSTEAD, NAMED, NOT_HERE, PAGES, RUNNING, SAYS,
    SIGNS, SYSTEMD,
};
use reader::shell::{Ended, Shell};
use reader::units::Units;
use reader::{Found, Kind, commands, first_block, pages_in, steady};
use testkit::systemd;

mod reader;

/// A page, a text of a command, and what comes before it.
type Preparation = (&'static str, &'static str, fn(&mut Host));

/// What the reader has seen or done before a command.
const BEFORE: [Preparation; 21] = [
    ("records.md", "runs show 1", clean),
    ("configuration.md", "webhook.token", token_beside),
    ("insurance.md", "creds restore", empty_creds),
    ("tls.md", "web-config", web_config),
    (
        "baileysauthfilescleanup.md",
        "--force --dry-run",
        stop_and_lay,
    ),
    ("baileysauthfilescleanup.md", "RUN=", last_run),
    ("baileysauthfilecorrupt.md", "FOLDER=", cut_a_session_off),
    ("baileyscleanupfailing.md", "ID=", fail_a_run),
    ("baileyscleanupineffective.md", "KNOWN=", leave_a_store),
    ("baileysconnectionreplaced.md", "pm2 scale", start_a_second),
    ("baileyscredsbroken.md", "FOLDER=", empty_creds),
    ("baileyscredsbroken.md", "sudo mv ", rename_copies),
    ("baileyscredsbroken.md", "HIGHEST=", back_creds_up),
    ("baileysdeviceremoved.md", "pm2 start", pair),
    (
        "baileysemergencynotback.md",
        "baileys_exporter status",
        clean,
    ),
    (
        "baileysemergencynotback.md",
        "baileys_remediator undo",
        stop,
    ),
    ("baileysprekeysexhausted.md", "FOLDER=", lose_pre_keys),
    ("baileyssecretsinlogs.md", "APP=", leave_keys_in_logs),
    ("baileyssecretsinlogs.md", "pm2 restart", save_the_preload),
    ("baileyssecretsinlogs.md", "pm2 flush", see_the_preload),
    ("baileyssessionvanished.md", "SESSION=", lose_the_folder),
];

fn clean(host: &mut Host) {
    let mut shell = host.shell("home/bots/shop");
    host.ok(&mut shell, &format!("baileys_remediator clean {SESSION}"));
    last_run(host);
}

fn last_run(host: &mut Host) {
    let mut shell = host.shell("home/bots/shop");
    let listed = "baileys_remediator runs --status=done --output=json | jq -r '[.[] | select(.action == \"cleanup\")][0].run'";
    host.run = host.ok(&mut shell, listed).out.trim().to_owned();
}

fn token_beside(host: &mut Host) {
    let from = host.path("etc/baileys/webhook.token");
    fs::copy(from, host.path("home/bots/shop/webhook.token")).unwrap();
}

fn web_config(host: &mut Host) {
    host.write(
        "home/bots/shop/web.yml",
        "http_server_config: {http2: false}\n",
        0o600,
    );
}

fn stop_and_lay(host: &mut Host) {
    host.reset(false);
}

fn cut_a_session_off(host: &mut Host) {
    let mut files = fs::read_dir(host.folder()).unwrap();
    let is_session = |name: &str| name.starts_with("session-");
    let file = files.find_map(|file| {
        let file = file.unwrap();
        is_session(file.file_name().to_str().unwrap()).then(|| file.path())
    });
    fs::write(file.unwrap(), "{").unwrap();
}

fn fail_a_run(host: &mut Host) {
    let held = host.folder().join(".baileys_quarantine");
    let _ = fs::remove_dir_all(&held);
    fs::write(&held, "").unwrap();
    let mut shell = host.shell("home/bots/shop");
    let ended = shell.run(&format!("baileys_remediator clean {SESSION}"));
    assert_ne!(ended.code, 0, "{ended:#?}");
    fs::remove_file(&held).unwrap();
}

fn empty_creds(host: &mut Host) {
    let mut shell = host.shell("home/bots/shop");
    host.ok(&mut shell, &format!("pm2 start {SESSION}"));
    fs::write(host.folder().join("creds.json"), "").unwrap();
    host.stop_bot(&mut shell);
}

fn rename_copies(host: &mut Host) {
    let copies = host.path("var/lib/baileys_remediator/creds/OLD");
    fs::create_dir(copies).unwrap();
}

fn back_creds_up(host: &mut Host) {
    let from = host.folder().join("creds.json");
    fs::copy(from, host.path("backup/creds.json")).unwrap();
}

fn stop(host: &mut Host) {
    let mut shell = host.shell("home/bots/shop");
    host.stop_bot(&mut shell);
}

/// A backup of the same day has them.
fn lose_pre_keys(host: &mut Host) {
    for file in fs::read_dir(host.folder()).unwrap() {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        if name.starts_with("pre-key-") {
            fs::copy(file.path(), host.path("backup").join(&name)).unwrap();
            fs::remove_file(file.path()).unwrap();
        }
    }
}

fn leave_keys_in_logs(host: &mut Host) {
    let line = "privKey: 'not a key'\n";
    for log in [
        "var/log/company_962302.log",
        "home/bots/.pm2/logs/company-962302-out__1.log",
        "home/bots/.pm2/logs/company-962302-out__2.log",
    ] {
        host.write(log, line, 0o600);
    }
    let mut shell = host.shell("home/bots/.pm2/logs");
    host.ok(&mut shell, "gzip company-962302-out__2.log");
}

fn save_the_preload(host: &mut Host) {
    let script = first_block("docs/runbooks/baileyssecretsinlogs.md", "js");
    host.write("home/bots/shop/quiet-libsignal.cjs", &script, 0o644);
}

/// The preload has removed the session from what the bot prints.
fn see_the_preload(host: &mut Host) {
    let log = host.path("home/bots/.pm2/logs/company-962302-out.log");
    host.wait("a line without keys", || {
        let text = fs::read_to_string(&log).map_err(|error| error.to_string())?;
        match text.contains("Closing session: [session]") {
            true => Ok(()),
            false => Err(text),
        }
    });
}

/// A file of the bot's own.
fn leave_a_store(host: &mut Host) {
    let store = host.folder().join("store.json");
    fs::write(&store, "{}").unwrap();
    // A file that is written after the end of the process shows that another one runs.
    let hour = Duration::from_secs(3_600);
    let file = fs::File::open(&store).unwrap();
    file.set_modified(SystemTime::now() - hour).unwrap();
}

fn start_a_second(host: &mut Host) {
    let mut shell = host.shell("home/bots/shop");
    host.ok(&mut shell, &format!("pm2 scale {SESSION} 2"));
}

fn lose_the_folder(host: &mut Host) {
    fs::remove_dir_all(host.folder()).unwrap();
}

fn pair(host: &mut Host) {
    if !host.folder().exists() {
        host.lay("normal");
    }
}

/// Not if it only says so in its comment.
fn is_for_systemd(text: &str) -> bool {
    let without_comment = text.split("  #").next().unwrap_or_default();
    SYSTEMD.iter().any(|part| without_comment.contains(part))
}

fn applies(page: &str, has: &str, command: &Found) -> bool {
    command.page.ends_with(page) && command.text.contains(has)
}

/// The tables have no row that no page needs any more.
#[derive(Default)]
struct Used(BTreeSet<String>);

impl Used {
    fn note(&mut self, page: &str, has: &str) {
        self.0.insert(format!("{page}: {has}"));
    }

    fn missing<'a>(&self, rows: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<String> {
        let rows = rows.map(|(page, has)| format!("{page}: {has}"));
        rows.filter(|row| !self.0.contains(row)).collect()
    }
}

struct Reader {
    host: Host,
    used: Used,
    wrong: Vec<String>,
    ran: usize,
    listed: usize,
    elsewhere: usize,
    /// Something has changed since the host was laid out.
    is_changed: bool,
}

impl Reader {
    fn read(&mut self, page: &str) {
        let found = commands(page);
        if found.is_empty() {
            return;
        }
        if self.is_changed || RUNNING.contains(&page) {
            self.host.reset(RUNNING.contains(&page));
            self.is_changed = RUNNING.contains(&page);
        }
        let at = match page {
            "alerting-rules/README.md" => "",
            _ => "home/bots/shop",
        };
        let mut shell = self.host.shell(at);
        for command in &found {
            self.follow(command, &mut shell);
        }
    }

    fn follow(&mut self, command: &Found, shell: &mut Shell) {
        let named = NAMED.iter().find(|(text, _)| *text == command.text);
        if let Some((text, _)) = named.filter(|_| command.kind == Kind::Inline) {
            self.used.note("named", text);
            self.listed += 1;
            return;
        }
        let mut text = command.text.clone();
        for (page, from, to) in INSTEAD {
            if applies(page, from, command) {
                self.used.note(page, from);
                text = text.replace(from, to);
            }
        }
        if is_for_systemd(&text) {
            self.elsewhere += 1;
            return;
        }
        if let Some((part, _)) = NOT_HERE.iter().find(|(part, _)| text.contains(part)) {
            self.used.note("not here", part);
            self.listed += 1;
            return;
        }
        for (page, has, prepare) in BEFORE {
            if applies(page, has, command) {
                self.used.note(page, has);
                prepare(&mut self.host);
                self.is_changed = true;
            }
        }
        self.ran += 1;
        self.is_changed |= CHANGES.iter().any(|part| text.contains(part));
        let text = text.replace("RELOAD", &self.host.reload_prometheus());
        let text = self
            .host
            .here(&text.replace("=RUN", &format!("={}", self.host.run)));
        let text = text.replace("undo RUN", &format!("undo {}", self.host.run));
        if command.kind == Kind::Query {
            if let Err(failure) = self.host.query(&text) {
                self.wrong.push(format!("{}\n{failure}", command.place()));
            }
            return;
        }
        let ended = self.perform(command, &text, shell);
        self.judge(command, &ended);
    }

    fn perform(&self, command: &Found, text: &str, shell: &mut Shell) -> Ended {
        let asks = text.contains("creds restore")
            || (text.contains(" --force") && !text.contains("--dry-run"));
        if command.kind == Kind::Script {
            self.host.write("tmp/bot-state", text, 0o755);
            let script = self.host.path("tmp/bot-state");
            return shell.run(&format!("'{}' {SESSION}", script.display()));
        }
        match asks {
            true => shell.run_on_terminal(text, SESSION),
            false => shell.run(text),
        }
    }

    fn judge(&mut self, command: &Found, ended: &Ended) {
        let mut codes: &[i32] = &[0];
        if let Some((page, has, other, _)) = CODES
            .iter()
            .find(|(page, has, ..)| applies(page, has, command))
        {
            self.used.note(page, has);
            codes = other;
        }
        let mut says = |failure: String| {
            self.wrong
                .push(format!("{}\n{failure}\n{ended:#?}", command.place()));
        };
        if !codes.contains(&ended.code) {
            says(format!("it exited with {}, not {codes:?}", ended.code));
        }
        let mut signs = SIGNS.to_vec();
        if codes == [0] {
            signs.extend(["curl: (", "No such file", "ermission denied"]);
        }
        if let Some(sign) = signs.iter().find(|sign| ended.err.contains(**sign)) {
            says(format!("standard error holds {sign:?}"));
        }
        for (page, has, words) in SAYS {
            if applies(page, has, command) {
                self.used.note(page, has);
                if !ended.out.contains(words) {
                    says(format!("{words:?} is not printed"));
                }
            }
        }
        let Kind::Shown(lines) = &command.kind else {
            return;
        };
        let said: Vec<String> = ended.out.lines().map(steady).collect();
        for line in lines.iter().map(|line| steady(line)) {
            if !said.contains(&line) {
                says(format!("{line:?} is not printed: {said:#?}"));
            }
        }
    }
}

fn all_pages() -> Vec<String> {
    let own = PAGES.map(str::to_owned).into_iter();
    own.chain(pages_in("docs/operations"))
        .chain(pages_in("docs/runbooks"))
        .collect()
}

/// With `PAGE=PART` only the pages with this part in their names are read.
#[test]
fn every_command_of_the_pages_works() {
    let mut reader = Reader {
        host: Host::new(&testkit::programs!()),
        used: Used::default(),
        wrong: Vec::new(),
        ran: 0,
        listed: 0,
        elsewhere: 0,
        is_changed: true,
    };
    let only = std::env::var("PAGE").unwrap_or_default();
    for page in all_pages().iter().filter(|page| page.contains(&only)) {
        reader.read(page);
    }
    let Reader {
        used,
        mut wrong,
        ran,
        listed,
        ..
    } = reader;
    if only.is_empty() {
        let named = NAMED.iter().map(|(text, _)| ("named", *text));
        let not_here = NOT_HERE.iter().map(|(part, _)| ("not here", *part));
        let instead = INSTEAD.iter().map(|(page, from, _)| (*page, *from));
        let codes = CODES.iter().map(|(page, has, ..)| (*page, *has));
        let says = SAYS.iter().map(|(page, has, _)| (*page, *has));
        let before = BEFORE.iter().map(|(page, has, _)| (*page, *has));
        let rows = named.chain(not_here).chain(instead).chain(codes);
        let missing = used.missing(rows.chain(says).chain(before));
        wrong.extend(missing.iter().map(|row| format!("no page needs: {row}")));
        assert!(ran >= 150, "{ran} commands ran, {listed} are listed");
    }
    let count = wrong.len();
    assert!(
        wrong.is_empty(),
        "{ran} commands ran, {listed} are listed, {count} are wrong:\n{}",
        wrong.join("\n\n")
    );
}

/// The commands of all pages that ask systemd or its journal.
#[test]
fn the_commands_for_systemd_work() {
    systemd::inside("the_commands_for_systemd_work", || {
        let units = Units::new(&testkit::programs!());
        let (mut wrong, mut ran) = (Vec::new(), 0);
        for page in all_pages() {
            let mut shell = units.shell();
            units.ok(&mut shell, "systemctl start bot@company_962302");
            for command in commands(&page) {
                let is_named = NAMED.iter().any(|(text, _)| *text == command.text);
                let is_ours = is_for_systemd(&command.text);
                // The first test runs the others without systemd.
                if is_named || !is_ours || command.text.contains("/etc/") {
                    continue;
                }
                // The state before each command: all of it runs, and has said what is looked for.
                if command.text.contains("was not loaded") {
                    units.configure("unknown: true\n");
                    units.ok(&mut shell, "systemctl reload baileys_exporter@bots");
                    units.wait_for_line("was not loaded");
                    units.configure("");
                }
                if command.text.contains("no run begins") {
                    fs::rename(
                        units.path("state/journal.sqlite"),
                        units.path("state/moved"),
                    )
                    .unwrap();
                    units.wait_for_line("no run begins");
                    fs::rename(
                        units.path("state/moved"),
                        units.path("state/journal.sqlite"),
                    )
                    .unwrap();
                }
                ran += 1;
                let ended = match command.kind {
                    Kind::Script => {
                        let script = units.path("bin/bot-state");
                        executable(&script, &command.text);
                        shell.run(&format!("'{}' {SESSION}", script.display()))
                    }
                    _ => shell.run(&command.text.replace(" UNIT", " bot@company_962302.service")),
                };
                let row = CODES_OF_SYSTEMD
                    .iter()
                    .find(|(page, has, ..)| applies(page, has, &command));
                let codes = row.map_or(&[0][..], |(_, _, codes, _)| *codes);
                let is_empty = command.text.ends_with("wc -l") && ended.out.trim() == "0";
                let is_wrong = is_empty
                    || !codes.contains(&ended.code)
                    || SIGNS.iter().any(|sign| ended.err.contains(sign));
                if is_wrong {
                    wrong.push(format!("{}\n{ended:#?}", command.place()));
                }
            }
        }
        let count = wrong.len();
        assert!(
            wrong.is_empty(),
            "{ran} ran, {count} are wrong:\n{}",
            wrong.join("\n\n")
        );
        assert!(ran >= 40, "only {ran} ran");
    });
}

/// Fails for a page that no test reads and that is not listed in `ELSEWHERE`.
#[test]
fn every_page_is_read_or_named() {
    let mut known: BTreeSet<String> = all_pages().into_iter().collect();
    for (page, _) in ELSEWHERE {
        assert!(reader::repository(page).is_file(), "{page}");
        assert!(known.insert(page.to_owned()), "{page} is named twice");
    }
    for page in pages_in("docs") {
        assert!(known.contains(&page), "{page}");
    }
}

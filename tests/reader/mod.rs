//! Reads a page as a person does who pastes its commands into one terminal.

pub mod host;
pub mod lists;
pub mod shell;
pub mod units;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How a page shows a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A command of a block.
    Pasted,
    /// A whole block that is a script.
    Script,
    /// A query for Prometheus.
    Query,
    /// Behind a `$`, with these lines of output below it.
    Shown(Vec<String>),
    /// In a sentence or a table.
    Inline,
}

/// One command of a page.
#[derive(Clone, Debug)]
pub struct Found {
    /// The page, below the root of the repository.
    pub page: String,
    /// Where it begins.
    pub line: usize,
    /// The command as it stands there.
    pub text: String,
    /// How it is shown.
    pub kind: Kind,
}

impl Found {
    /// For a message: page, line and command.
    pub fn place(&self) -> String {
        format!("{}:{}: {}", self.page, self.line, self.text)
    }
}

/// A code in a sentence is a command if it begins with one of these and has an argument.
const PROGRAMS: [&str; 33] = [
    "amtool",
    "apt",
    "apt-get",
    "baileys_exporter",
    "baileys_remediator",
    "chmod",
    "chown",
    "cp",
    "curl",
    "date",
    "df",
    "dmesg",
    "docker",
    "find",
    "fuser",
    "grep",
    "htpasswd",
    "journalctl",
    "jq",
    "kubectl",
    "ls",
    "mv",
    "npm",
    "pm2",
    "podman",
    "promtool",
    "rm",
    "rsync",
    "scp",
    "shred",
    "stat",
    "sudo",
    "systemctl",
];

/// A path in the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The names of the pages in a directory, below the root of the repository.
pub fn pages_in(dir: &str) -> Vec<String> {
    let entries = fs::read_dir(repository(dir)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let pages = names.filter(|name| name.ends_with(".md"));
    let mut pages: Vec<String> = pages.map(|name| format!("{dir}/{name}")).collect();
    pages.sort();
    pages
}

/// The block of a page behind the first fence of this kind.
pub fn first_block(page: &str, kind: &str) -> String {
    let text = fs::read_to_string(repository(page)).unwrap();
    let (_, rest) = text.split_once(&format!("```{kind}\n")).unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

/// The commands of a page, in their order.
pub fn commands(page: &str) -> Vec<Found> {
    let text = fs::read_to_string(repository(page)).unwrap();
    let mut found = Vec::new();
    let mut add = |line: usize, text: String, kind: Kind| {
        let page = page.to_owned();
        found.push(Found {
            page,
            line,
            text,
            kind,
        });
    };
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let Some(fence) = line.trim_start().strip_prefix("```") else {
            for code in codes(line) {
                add(at + 1, code, Kind::Inline);
            }
            continue;
        };
        let block: Vec<&str> = lines
            .by_ref()
            .map(|(_, line)| line)
            .take_while(|line| !line.trim_start().starts_with("```"))
            .collect();
        let first = at + 2;
        match fence {
            "sh" if block[0].starts_with("#!") => {
                add(first, format!("{}\n", block.join("\n")), Kind::Script);
            }
            "sh" => {
                for (nth, command) in split(&block) {
                    add(first + nth, command, Kind::Pasted);
                }
            }
            "console" => {
                let command = block[0].strip_prefix("$ ").unwrap().to_owned();
                let shown = block[1..].iter().map(|line| (*line).to_owned());
                add(first, command, Kind::Shown(shown.collect()));
            }
            "promql" => {
                for (nth, query) in block.iter().enumerate() {
                    add(first + nth, (*query).to_owned(), Kind::Query);
                }
            }
            // What a program reads or prints.
            "" | "yaml" | "json" | "js" | "ini" | "text" => {}
            other => panic!("{page}:{first}: a block of a new kind: {other}"),
        }
    }
    found
}

/// The commands in the sentences of a line.
fn codes(line: &str) -> Vec<String> {
    let pieces = line.split('`').skip(1).step_by(2);
    let codes = pieces.map(|code| code.replace("\\|", "|"));
    let is_command = |code: &String| {
        let mut words = code.split_whitespace();
        let is_program = words.next().is_some_and(|word| PROGRAMS.contains(&word));
        is_program && words.next().is_some()
    };
    codes.filter(is_command).collect()
}

/// The commands of a block and the lines where they begin, as a shell splits them. Comments
/// alone are none.
fn split(block: &[&str]) -> Vec<(usize, String)> {
    let (mut found, mut open, mut began) = (Vec::new(), String::new(), 0);
    for (nth, line) in block.iter().enumerate() {
        if open.is_empty() {
            began = nth;
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
        }
        open += line;
        if line.ends_with('\\') || !is_complete(&open) {
            open.push('\n');
            continue;
        }
        found.push((began, std::mem::take(&mut open)));
    }
    assert!(open.is_empty(), "a command has no end: {open}");
    found
}

fn is_complete(command: &str) -> bool {
    let mut shell = Command::new("bash");
    shell.args(["-n", "-c", command]).stderr(Stdio::null());
    shell.status().unwrap().success()
}

/// A line of output without what differs from run to run: times, spans and numbers of users.
pub fn steady(line: &str) -> String {
    let is_time = |word: &str| {
        let digits = word.chars().filter(char::is_ascii_digit).count();
        digits >= 14 && word.contains('T') && word.contains('Z')
    };
    let is_span = |word: &str| {
        let word = word.trim_end_matches(')');
        let number = word.trim_end_matches(['s', 'm', 'h', 'd']);
        number != word && number.parse::<u64>().is_ok()
    };
    let mut words: Vec<&str> = Vec::new();
    for word in line.split_whitespace() {
        let word = match word {
            word if is_time(word) => "TIME",
            word if is_span(word) => "SPAN",
            word if words.last() == Some(&"(uid") && word.ends_with(')') => "UID)",
            word => word,
        };
        if word != "SPAN" || words.last() != Some(&"SPAN") {
            words.push(word);
        }
    }
    words.join(" ")
}

//! What holds for every page below docs: short sentences, and commands that the programs take.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

const MOST_WORDS: usize = 40;

/// The text without code and without the targets of links: each code is one word.
fn without_code(text: &str) -> String {
    let pieces = text.split('`').enumerate();
    let text: String = pieces
        .map(|(nth, piece)| if nth % 2 == 0 { piece } else { "code" })
        .collect();
    let mut parts = text.split("](");
    let first = parts.next().unwrap_or_default().to_owned();
    let behind = |part: &str| {
        part.split_once(')')
            .map_or(String::new(), |(_, rest)| rest.to_owned())
    };
    first + &parts.map(behind).collect::<String>()
}

/// The sentences of a Markdown text outside of fenced code. A paragraph, an item of a list and a
/// cell of a table end a sentence, too.
fn sentences(text: &str) -> Vec<String> {
    let mut paragraphs = vec![String::new()];
    for line in super::prose(text) {
        let line = line.trim();
        if line.starts_with('|') {
            let cells = line.replace("\\|", "/");
            paragraphs.extend(cells.split('|').map(str::to_owned));
            paragraphs.push(String::new());
            continue;
        }
        let number = line.trim_start_matches(|c: char| c.is_ascii_digit());
        let is_item = line.starts_with("- ") || (number != line && number.starts_with(". "));
        if is_item || line.is_empty() || line.starts_with('#') {
            paragraphs.push(String::new());
        }
        if let Some(last) = paragraphs.last_mut() {
            last.push(' ');
            last.push_str(line);
        }
        if line.starts_with('#') {
            paragraphs.push(String::new());
        }
    }
    let mut found = Vec::new();
    for paragraph in paragraphs {
        let mut sentence = String::new();
        for word in without_code(&paragraph).split_whitespace() {
            sentence.push(' ');
            sentence.push_str(word);
            let end = word.trim_end_matches([')', '"', '*', '”', '_']);
            if end.ends_with(['.', '!', '?']) {
                found.push(std::mem::take(&mut sentence));
            }
        }
        found.push(sentence);
    }
    found
}

fn words(sentence: &str) -> usize {
    let is_word = |word: &&str| word.contains(|c: char| c.is_alphanumeric());
    sentence.split_whitespace().filter(is_word).count()
}

/// The pages below docs, and README.md.
fn pages() -> Vec<std::path::PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = super::pages(root).into_iter();
    let docs = root.join("docs");
    pages
        .filter(|page| page.starts_with(&docs) || page.ends_with("README.md"))
        .filter(|page| page.starts_with(&docs) || page.parent() == Some(root))
        .collect()
}

#[test]
fn no_sentence_is_long() {
    let long = |sentence: &&String| words(sentence) > MOST_WORDS;
    // The check finds one in each place.
    let forty = "word ".repeat(MOST_WORDS);
    for text in [
        format!("Short. {forty}more."),
        format!("- item\n- {forty}\n  more\n"),
        format!("| a | {forty}`some code` |\n"),
        format!("1. {forty}[more](page.md)\n"),
    ] {
        let found = sentences(&text);
        assert_eq!(found.iter().filter(long).count(), 1, "{text}");
    }
    for text in [
        format!("{forty}\n\n{forty}\n\n```\n{forty}{forty}\n```\n"),
        format!("{forty}. {forty}"),
        format!("| {forty} | {forty} |\n"),
    ] {
        assert_eq!(sentences(&text).iter().filter(long).count(), 0, "{text}");
    }
    let (mut seen, mut wrong) = (0, Vec::new());
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        let found = sentences(&text);
        seen += found.len();
        wrong.extend(
            found.iter().filter(long).map(|sentence| {
                format!("{}: {} words:{sentence}", page.display(), words(sentence))
            }),
        );
    }
    assert!(seen > 2_000, "only {seen} sentences were found");
    assert!(
        wrong.is_empty(),
        "a sentence has at most {MOST_WORDS} words:\n{}",
        wrong.join("\n")
    );
}

/// The commands of both programs in the fenced blocks of a page, as arguments.
fn commands(text: &str) -> Vec<Vec<String>> {
    let joined = text.replace("\\\n", " ");
    let (mut found, mut is_shell, mut is_fenced) = (Vec::new(), false, false);
    for line in joined.lines() {
        let line = line.trim();
        if let Some(kind) = line.strip_prefix("```") {
            is_fenced = !is_fenced;
            is_shell = is_fenced && matches!(kind, "sh" | "console");
            continue;
        }
        if !is_shell {
            continue;
        }
        for program in ["baileys_exporter", "baileys_remediator"] {
            for (at, _) in line.match_indices(program) {
                // What is called, and not the name of a unit, a path or a job.
                let before = &line[..at];
                let is_call = before.is_empty()
                    || before.ends_with("bots ")
                    || before.ends_with("$ ")
                    || before.ends_with("&& ")
                    || before.ends_with("; ");
                let rest = &line[at + program.len()..];
                if !is_call || !rest.starts_with(' ') {
                    continue;
                }
                let rest = rest.replace(";", " ; ");
                let ends = ["|", ">", "&&", ";", "#"];
                let split = shlex(rest.split(" #").next().unwrap_or_default());
                let arguments = split
                    .into_iter()
                    .take_while(|word| !ends.iter().any(|end| word.starts_with(end)));
                let mut command = vec![program.to_owned()];
                command.extend(arguments);
                found.push(command);
            }
        }
    }
    found
}

/// Words of a command, with quotes as a shell reads them; enough for the pages.
fn shlex(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in text.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Each command of a page is run in a world of its own with the session of the examples. What
/// it then answers is tested elsewhere; here it must not be called wrong.
#[test]
fn the_programs_take_every_command_of_the_pages() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let folder = dir.path().join("sessions/company_962302");
    testkit::fixture::unpack("normal", &folder, std::time::SystemTime::now()).unwrap();
    let config = format!(
        "sessions: {{paths: ['{}']}}\nstate: {{path: '{}'}}\ntrigger: local\n",
        at("sessions"),
        at("state")
    );
    std::fs::write(at("config.yml"), config).unwrap();
    let mut all = BTreeSet::new();
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        all.extend(commands(&text));
    }
    assert!(all.len() > 25, "{all:#?}");
    let mut wrong = Vec::new();
    for command in &all {
        let program = match command[0].as_str() {
            "baileys_exporter" => env!("CARGO_BIN_EXE_baileys_exporter"),
            _ => env!("CARGO_BIN_EXE_baileys_remediator"),
        };
        // These run until they are ended; tests/install.rs starts them.
        let is_service = command
            .get(1)
            .is_none_or(|word| word == "serve" || word.starts_with('-'));
        let arguments = command[1..].iter().map(|word| {
            let word = word.replace("/etc/baileys/config.yml", &at("config.yml"));
            word.replace("$SESSION", "company_962302")
                .replace("$RUN", "1")
        });
        let mut call = Command::new(program);
        call.args(arguments).stdin(Stdio::null());
        call.env("BAILEYS_CONFIG", at("config.yml"));
        if is_service {
            call.arg("--help");
        }
        let output = call.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        // The parser of arguments ends with 2 and the usage.
        if output.status.code() == Some(2) && said.contains("\nUsage: ") {
            wrong.push(format!("{}: {said}", command.join(" ")));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

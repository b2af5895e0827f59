//! Words of an argv that hold the name of a session.
//!
//! Names of directories are chosen by whoever makes them. So a name, or what a group of
//! the pattern took from it, is put into one word, never split, and it may hold letters,
//! digits and `_ . @ : + -` only: no space, slash, quote, glob, `$` or `=` that the program
//! behind the word, or one behind that, could read as something else. It cannot begin a
//! word with a dash.

use std::cell::Cell;

use regex::Regex;

use crate::connection::Template;
use crate::folder::SessionName;

use super::ControlError;

/// Programs that take a program as text.
const SHELLS: [&str; 11] = [
    "sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "csh", "tcsh", "fish", "busybox",
];

/// One word.
#[derive(Clone, Debug, PartialEq)]
pub struct Word(Template);

impl Word {
    /// Parses a word.
    ///
    /// Errors: a placeholder that nothing fills, or one behind a lone dash.
    pub fn parse(text: &str, pattern: Option<&Regex>) -> Result<Self, String> {
        let template = Template::parse(text, pattern).map_err(|error| error.to_string())?;
        let start = template.literal_start();
        if template.placeholders().next().is_some()
            && !start.is_empty()
            && start.bytes().all(|byte| byte == b'-')
        {
            return Err("a session's name may not become an option; write the option out".into());
        }
        Ok(Self(template))
    }

    /// A name: something, and no option.
    pub(super) fn name(text: &str, pattern: Option<&Regex>) -> Result<Self, String> {
        if text.is_empty() || text.starts_with('-') {
            return Err("must be a name".into());
        }
        Self::parse(text, pattern)
    }

    /// A program and its arguments.
    ///
    /// Errors: no program, one with a placeholder or a path that is not absolute, and a
    /// text for a shell.
    pub(super) fn argv(argv: &[String], pattern: Option<&Regex>) -> Result<Vec<Self>, String> {
        let Some(program) = argv.first().filter(|program| !program.is_empty()) else {
            return Err("is empty; give the program and its arguments".into());
        };
        let words = argv
            .iter()
            .enumerate()
            .map(|(at, word)| {
                Self::parse(word, pattern).map_err(|error| format!("word {}: {error}", at + 1))
            })
            .collect::<Result<Vec<_>, _>>()?;
        if words
            .first()
            .is_some_and(|word| word.0.placeholders().next().is_some())
        {
            return Err("the program may hold no placeholder; its arguments may".into());
        }
        if program.contains('/') && !program.starts_with('/') {
            return Err("give the program as an absolute path, or by a name on the PATH".into());
        }
        for (word, next) in argv.iter().zip(argv.iter().skip(1)) {
            let base = word.rsplit('/').next().unwrap_or_default();
            if SHELLS.contains(&base) && is_text_option(next) {
                return Err(format!(
                    "{base} {next} would run a text; put it into a script file and name that, with {{session}} as an argument of its own"
                ));
            }
        }
        Ok(words)
    }

    /// The word for one session.
    pub(super) fn fill(&self, session: &SessionName) -> Result<String, ControlError> {
        let bad = Cell::new(false);
        let filled = self.0.filled(session, |value| {
            bad.set(bad.get() || !is_plain(value));
            value.to_owned()
        });
        let text = filled.map_err(|why| ControlError(format!("not tried: {why}")))?;
        let begins =
            |text: &str| text.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '+'));
        if bad.get() || (self.0.literal_start().is_empty() && self.is_filled() && !begins(&text)) {
            return Err(ControlError(
                "not tried: the session's name holds signs that are not handed to a program; letters, digits and _ . @ : + - are, and it may not begin with one of . @ : -; take the part that names the service with a group of connection.session_pattern".into(),
            ));
        }
        Ok(text)
    }

    fn is_filled(&self) -> bool {
        self.0.placeholders().next().is_some()
    }

    /// What it takes from a session.
    pub(super) fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.0.placeholders()
    }

    /// The text after the last placeholder.
    pub(super) fn literal_end(&self) -> &str {
        self.0.literal_end()
    }
}

/// `-c`, `-ec`, `-lc`.
fn is_text_option(word: &str) -> bool {
    word.strip_prefix('-')
        .is_some_and(|letters| !letters.starts_with('-') && letters.contains('c'))
}

/// Whether a program may be handed this part of a session's name.
fn is_plain(value: &str) -> bool {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '@' | ':' | '+' | '-');
    !value.is_empty() && value != "." && value != ".." && value.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::ffi::OsStr;

    fn session(name: &str) -> SessionName {
        SessionName::from_dir(OsStr::new(name))
    }

    fn fill(template: &str, name: &str) -> Result<String, ControlError> {
        let pattern = Regex::new(r"^(?:(?<first>[^_]*)_?(?<rest>.*))$").unwrap();
        Word::parse(template, Some(&pattern))
            .unwrap()
            .fill(&session(name))
    }

    #[test]
    fn a_name_stays_in_its_word() {
        for (template, name, word) in [
            ("{session}", "company_962302", "company_962302"),
            ("bot@{session}.service", "a.b-c", "bot@a.b-c.service"),
            ("--bot={session}", "-x", "--bot=-x"),
            ("{rest}", "company_7", "7"),
            ("{{session}}", "x", "{session}"),
            ("{session}", "+51987", "+51987"),
            ("{session}", "señal", "señal"),
            ("/run/{session}", "a..b", "/run/a..b"),
        ] {
            assert_eq!(fill(template, name).unwrap(), word, "{template} {name}");
        }
    }

    #[test]
    fn names_that_could_mean_something_else_are_refused() {
        for (template, name) in [
            ("{session}", "-rf"),
            ("{session}", "--force"),
            ("{session}", "@file"),
            ("{session}", ".hidden"),
            ("{rest}", "a_-x"),
            ("{first}{session}", "_x"),
            ("x{rest}", "company_"),
            ("bot@{session}.service", "*"),
            ("bot@{session}.service", "a b"),
            ("bot@{session}.service", "a\nb"),
            ("bot@{session}.service", "a\\x2d"),
            ("bot@{session}.service", "[a]"),
            ("/run/{rest}/stop", "a_.."),
            ("x{session}", "$(reboot)"),
            ("x{session}", "a;b"),
            ("x{session}", "a=b"),
            ("x{session}", "/a"),
            ("x{session}", "'a'"),
            ("x{session}", "%n"),
        ] {
            let error = fill(template, name).unwrap_err().to_string();
            assert!(
                error.starts_with("not tried: "),
                "{template} {name}: {error}"
            );
        }
    }

    #[test]
    fn argv_that_cannot_be_used() {
        let argv = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            Word::argv(&words, None).map(|words| words.len())
        };
        for (words, says) in [
            (&[][..], "is empty"),
            (&[""], "is empty"),
            (&["bot-{session}"], "no placeholder"),
            (&["./stop"], "absolute path"),
            (&["bin/stop"], "absolute path"),
            (&["stop", "-{session}"], "become an option"),
            (&["stop", "--{session}"], "become an option"),
            (&["stop", "{id}"], "word 2: nothing fills {id}"),
            (&["sh", "-c", "stop"], "script file"),
            (&["/bin/bash", "-ec", "stop"], "script file"),
            (&["sudo", "-n", "sh", "-lc", "stop"], "script file"),
        ] {
            let error = argv(words).unwrap_err();
            assert!(error.contains(says), "{words:?}: {error}");
        }
        for words in [
            &["stop", "{session}"][..],
            &["/opt/stop", "-s", "{session}"],
            &["sh", "/opt/stop.sh"],
        ] {
            assert_eq!(argv(words), Ok(words.len()));
        }
    }

    proptest! {
        /// Whatever a directory is called: refused, or one word with the name as it is,
        /// without a sign that anything behind it could take apart, and no option.
        #[test]
        fn any_name(name in "\\PC{1,12}|[-./*@_a-c \n]{1,6}") {
            for template in ["{session}", "bot@{session}.service", "{first}{rest}", "/opt/{rest}/x"] {
                let Ok(word) = fill(template, &name) else { continue };
                prop_assert!(!word.starts_with('-'));
                let signs = ['*', '?', '[', '\'', '"', '\\', '$', '`', ';', '&', '|', '<', '>', '(', '=', '~', '!', '#'];
                prop_assert!(!word.contains(|c: char| c.is_whitespace() || c.is_control() || signs.contains(&c)));
                prop_assert!(!word.split('/').any(|part| part == ".."));
                if template == "bot@{session}.service" {
                    prop_assert_eq!(word, format!("bot@{name}.service"));
                }
            }
        }
    }
}

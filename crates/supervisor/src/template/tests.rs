use super::*;
use proptest::prelude::*;

fn fill(template: &str, name: &str) -> Result<String, String> {
    let pattern = Regex::new(r"^(?:(?<first>[^_]*)_?(?<rest>.*))$").unwrap();
    let placeholders = Placeholders::new("session", "session_pattern", Some(&pattern));
    ArgTemplate::parse(template, &placeholders)
        .unwrap()
        .fill(name)
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
        let error = fill(template, name).unwrap_err();
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
        ArgTemplate::argv(
            &words,
            &Placeholders::new("session", "session_pattern", None),
        )
        .map(|words| words.len())
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

/// The same text for every subject; a group of the same name comes first.
#[test]
fn a_constant_is_text() {
    let host = || Placeholders::new("session", "session_pattern", None);
    let host = host().with_constant("hostname", "h-1".into());
    let template = Template::parse("{{{hostname}}}/{session}", &host).unwrap();
    assert_eq!(template.fill("a", str::to_owned).unwrap(), "{h-1}/a");
    assert_eq!(template.placeholders().collect::<Vec<_>>(), ["session"]);
    let error = Template::parse("{host}", &host).unwrap_err().to_string();
    assert!(error.contains("{session}, {hostname}"), "{error}");
    let pattern = Regex::new("(?<hostname>[a-z]+)").unwrap();
    let group = Placeholders::new("session", "session_pattern", Some(&pattern));
    let group = group.with_constant("hostname", "h-1".into());
    let template = Template::parse("{hostname}", &group).unwrap();
    assert_eq!(template.fill("a", str::to_owned).unwrap(), "a");
}

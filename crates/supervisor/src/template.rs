//! Texts with placeholders, and arguments of a program that are made of them.

use std::cell::Cell;
use std::fmt;

use regex::{Captures, Regex};

/// Programs that take a program as text.
const SHELLS: [&str; 11] = [
    "sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "csh", "tcsh", "fish", "busybox",
];

/// What fills placeholders: the name of a subject, and what the named groups of a pattern
/// capture from it.
#[derive(Clone, Debug)]
pub struct Placeholders {
    subject: &'static str,
    key: &'static str,
    pattern: Option<Regex>,
    constants: Vec<(&'static str, String)>,
}

impl Placeholders {
    /// `{SUBJECT}` stands for the whole name. `pattern` must match a whole name; `key` is
    /// what the operator knows it by.
    pub fn new(subject: &'static str, key: &'static str, pattern: Option<&Regex>) -> Self {
        Self {
            subject,
            key,
            pattern: pattern.cloned(),
            constants: Vec::new(),
        }
    }

    /// With `{NAME}` for a text that is the same for every subject. A group of this name
    /// comes before it.
    #[must_use]
    pub fn with_constant(mut self, name: &'static str, text: String) -> Self {
        self.constants.push((name, text));
        self
    }
}

/// A text that cannot be used as a template: a sentence, which does not repeat the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError(pub String);

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TemplateError {}

/// A text with placeholders: `{SUBJECT}` is the subject's name, `{NAME}` what the named group
/// NAME captured from it, `{{` and `}}` are braces.
#[derive(Clone)]
pub struct Template {
    parts: Vec<TemplatePart>,
    placeholders: Placeholders,
}

/// Two templates that fill alike look alike.
impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template")
            .field("parts", &self.parts)
            .field("pattern", &self.pattern().map(Regex::as_str))
            .finish()
    }
}

/// The same text: there is one set of placeholders in a configuration.
impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.parts == other.parts
    }
}

/// A part of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplatePart {
    /// Text as it is.
    Text(String),
    /// The subject's name.
    Subject,
    /// What the named group captured.
    Group(String),
}

impl Template {
    /// Parses a template.
    ///
    /// Errors: a placeholder that nothing fills, or a single brace.
    pub fn parse(text: &str, placeholders: &Placeholders) -> Result<Self, TemplateError> {
        let Placeholders {
            subject,
            key,
            pattern,
            constants,
        } = placeholders;
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            let byte = text.len() - rest.len() + at;
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                literal.push_str(brace);
                rest = after;
                continue;
            }
            let name = match (brace, rest.split_once('}')) {
                ("{", Some((name, after))) => {
                    rest = after;
                    name
                }
                _ => {
                    return Err(TemplateError(format!(
                        "a single `{brace}` stands at byte {byte}; write {brace}{brace} for a brace"
                    )));
                }
            };
            let is_group = pattern
                .as_ref()
                .is_some_and(|p| p.capture_names().flatten().any(|group| group == name));
            let mut constants = constants.iter();
            if !is_group && let Some((_, text)) = constants.find(|(known, _)| *known == name) {
                literal.push_str(text);
                continue;
            }
            if !literal.is_empty() {
                parts.push(TemplatePart::Text(std::mem::take(&mut literal)));
            }
            parts.push(match name {
                _ if name == *subject => TemplatePart::Subject,
                _ if is_group => TemplatePart::Group(name.to_owned()),
                _ => {
                    let shown = match is_identifier(name) {
                        true => format!("{{{name}}}"),
                        false => "what stands in the braces".into(),
                    };
                    let others = placeholders.constants.iter();
                    let others: String = others.map(|(name, _)| format!(", {{{name}}}")).collect();
                    return Err(TemplateError(format!(
                        "nothing fills {shown} at byte {byte}; there is {{{subject}}}{others}, and each named group of {key}; for a brace write {{{{ or }}}}"
                    )));
                }
            });
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(TemplatePart::Text(literal));
        }
        Ok(Self {
            parts,
            placeholders: placeholders.clone(),
        })
    }

    /// Its parts.
    pub fn parts(&self) -> &[TemplatePart] {
        &self.parts
    }

    /// Other parts, filled with the same placeholders.
    pub fn with_parts(&self, parts: Vec<TemplatePart>) -> Self {
        Self {
            parts,
            placeholders: self.placeholders.clone(),
        }
    }

    /// The pattern, if a group of it is used.
    fn pattern(&self) -> Option<&Regex> {
        let uses_group = self
            .parts
            .iter()
            .any(|part| matches!(part, TemplatePart::Group(_)));
        self.placeholders.pattern.as_ref().filter(|_| uses_group)
    }

    /// The names of its placeholders.
    pub fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            TemplatePart::Text(_) => None,
            TemplatePart::Subject => Some(self.placeholders.subject),
            TemplatePart::Group(name) => Some(name),
        })
    }

    /// Whether two subjects can have different texts.
    fn has_placeholders(&self) -> bool {
        self.placeholders().next().is_some()
    }

    /// Whether it holds the whole name of the subject.
    pub fn has_subject(&self) -> bool {
        self.parts.contains(&TemplatePart::Subject)
    }

    /// The text before the first placeholder.
    fn literal_start(&self) -> &str {
        match self.parts.first() {
            Some(TemplatePart::Text(text)) => text,
            _ => "",
        }
    }

    /// The text after the last placeholder.
    pub fn literal_end(&self) -> &str {
        match self.parts.last() {
            Some(TemplatePart::Text(text)) => text,
            _ => "",
        }
    }

    /// The text for one subject. Each value that is filled in goes through `encode`.
    ///
    /// Errors: the pattern does not match the name, or a name that begins with a dash would
    /// stand first.
    pub fn fill(&self, name: &str, encode: impl Fn(&str) -> String) -> Result<String, String> {
        let Placeholders { subject, key, .. } = &self.placeholders;
        let captures = match self.pattern() {
            Some(pattern) => Some(
                whole_match(pattern, name)
                    .ok_or_else(|| format!("{key} does not match the {subject}'s name"))?,
            ),
            None => None,
        };
        let mut filled = String::new();
        for (index, part) in self.parts.iter().enumerate() {
            let value = match part {
                TemplatePart::Text(text) => {
                    filled.push_str(text);
                    continue;
                }
                TemplatePart::Subject => name,
                TemplatePart::Group(group) => captures
                    .as_ref()
                    .and_then(|captures| captures.name(group))
                    .map(|found| found.as_str())
                    .ok_or_else(|| format!("the group {group} captured nothing"))?,
            };
            if index == 0 && value.starts_with('-') {
                return Err(format!("the {subject}'s name would read as an option"));
            }
            filled.push_str(&encode(value));
        }
        Ok(filled)
    }
}

/// Whether this is what a placeholder's name looks like.
fn is_identifier(name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    (1..=40).contains(&name.chars().count()) && name.chars().all(is_word)
}

fn whole_match<'a>(pattern: &Regex, text: &'a str) -> Option<Captures<'a>> {
    let captures = pattern.captures(text)?;
    let all = captures.get(0)?;
    (all.start() == 0 && all.end() == text.len()).then_some(captures)
}

/// One argument of a program, with placeholders.
///
/// The subject's name may come from anywhere. So what is filled in stays in its argument, is
/// never split, and holds letters, digits and `_ . @ : + -` only: no space, slash, quote,
/// glob, `$` or `=` that a program could read as something else. It cannot begin an argument
/// with a dash.
#[derive(Clone, Debug, PartialEq)]
pub struct ArgTemplate(Template);

impl ArgTemplate {
    /// Parses an argument.
    ///
    /// Errors: a placeholder that nothing fills, or one behind a lone dash.
    pub fn parse(text: &str, placeholders: &Placeholders) -> Result<Self, String> {
        let template = Template::parse(text, placeholders).map_err(|error| error.to_string())?;
        let start = template.literal_start();
        if template.has_placeholders()
            && !start.is_empty()
            && start.bytes().all(|byte| byte == b'-')
        {
            return Err(format!(
                "a {}'s name may not become an option; write the option out",
                placeholders.subject
            ));
        }
        Ok(Self(template))
    }

    /// A name: not empty, and no option.
    pub(crate) fn name(text: &str, placeholders: &Placeholders) -> Result<Self, String> {
        if text.is_empty() || text.starts_with('-') {
            return Err("must be a name".into());
        }
        Self::parse(text, placeholders)
    }

    /// A program and its arguments.
    ///
    /// Errors: no program, one with a placeholder or a path that is not absolute, and a
    /// text for a shell.
    pub fn argv(argv: &[String], placeholders: &Placeholders) -> Result<Vec<Self>, String> {
        let Some(program) = argv.first().filter(|program| !program.is_empty()) else {
            return Err("is empty; give the program and its arguments".into());
        };
        let args = argv
            .iter()
            .enumerate()
            .map(|(at, arg)| {
                Self::parse(arg, placeholders).map_err(|error| format!("word {}: {error}", at + 1))
            })
            .collect::<Result<Vec<_>, _>>()?;
        if args.first().is_some_and(|arg| arg.0.has_placeholders()) {
            return Err("the program may hold no placeholder; its arguments may".into());
        }
        if program.contains('/') && !program.starts_with('/') {
            return Err("give the program as an absolute path, or by a name on the PATH".into());
        }
        for (arg, next) in argv.iter().zip(argv.iter().skip(1)) {
            let base = arg.rsplit('/').next().unwrap_or_default();
            if SHELLS.contains(&base) && is_text_option(next) {
                return Err(format!(
                    "{base} {next} would run a text; put it into a script file and name that, with {{{}}} as an argument of its own",
                    placeholders.subject
                ));
            }
        }
        Ok(args)
    }

    /// The argument for one subject.
    ///
    /// Errors: the name holds anything else than what is allowed.
    pub fn fill(&self, name: &str) -> Result<String, String> {
        let bad = Cell::new(false);
        let filled = self.0.fill(name, |value| {
            bad.set(bad.get() || !is_plain(value));
            value.to_owned()
        });
        let text = filled.map_err(|why| format!("not tried: {why}"))?;
        let begins =
            |text: &str| text.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '+'));
        let is_first = self.0.literal_start().is_empty() && self.0.has_placeholders();
        if bad.get() || (is_first && !begins(&text)) {
            let Placeholders { subject, key, .. } = &self.0.placeholders;
            return Err(format!(
                "not tried: the {subject}'s name holds signs that are not handed to a program; letters, digits and _ . @ : + - are, and it may not begin with one of . @ : -; take the part that names the service with a group of {key}"
            ));
        }
        Ok(text)
    }

    /// The text behind it.
    pub fn template(&self) -> &Template {
        &self.0
    }
}

/// `-c`, `-ec`, `-lc`.
fn is_text_option(arg: &str) -> bool {
    arg.strip_prefix('-')
        .is_some_and(|letters| !letters.starts_with('-') && letters.contains('c'))
}

/// Whether a program may be handed this part of a name.
fn is_plain(value: &str) -> bool {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '@' | ':' | '+' | '-');
    !value.is_empty() && value != "." && value != ".." && value.chars().all(allowed)
}

#[cfg(test)]
mod tests;

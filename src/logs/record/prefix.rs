//! Text before a line: dates of most formats, and what syslog, containers and process managers
//! write there.

use std::sync::LazyLock;

use regex::bytes::Regex;

/// A time of day and a zone.
const CLOCK: &str = r"\d{1,2}:\d\d(?::\d\d)?(?:[.,]\d{1,9})?(?: ?[AaPp]\.?[Mm]\b\.?)?";
const ZONE: &str = r"(?: ?(?:Z\b|[+-]\d\d:?\d\d\b|(?:GMT|UTC)(?:[+-]\d{1,2}(?::?\d\d)?)?\b|[A-Z]{2,3}T\b|MSK\b|WIB\b|WITA\b)(?: \([A-Z][^)\n]{1,40}\))?)?";
/// Names of days and months, in the languages of most bots.
const DAY: &str = r"(?:(?i:mon|tue|wed|thu|fri|sat|sun|lun|mar|mi.{1,2}|jue|vie|s.{1,2}b|dom|seg|ter|qua|qui|sex)[a-z]{0,7}\.?,? +)?";
const MONTH: &str = r"(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|ene|abr|ago|dic|dez|fev|mai|set|out|mei|agu|okt|des)[a-z]{0,7}\.?";

/// The kinds of prefixes.
struct Forms {
    /// Removed wherever they occur.
    any: Regex,
    /// Like `host program: `, but a sentence may have this form too.
    host: Regex,
    /// A tag of a program that runs several others. A bot may write one as well.
    tag: Regex,
    /// Shows that a tag is not part of the text.
    after_a_tag: Regex,
    /// `pod container ` of stern.
    pod: Regex,
}

impl Forms {
    fn new() -> Option<Self> {
        let digits = r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}(?:[-/.]\d{2,4})?|\d{8}";
        let nth = r"\d{1,2}(?:st|nd|rd|th)?";
        let date = format!(
            r"{DAY}(?:{digits}|{MONTH} +{nth}(?:,? +\d{{4}})?|{nth}[ /-]{MONTH}(?:[ /,-]{{1,2}}\d{{4}})?)"
        );
        let stamp = format!(
            r"(?:(?:{date}(?:T|-|:|,? +|, at ))?{CLOCK}{ZONE}(?: \d{{4}}\b)?|{CLOCK},? +(?:{date}))"
        );
        let epoch = r"1[5-9]\d{8}(?:[.,]\d{1,9})?|1[5-9]\d{11}";
        let time = format!(r"(?:{stamp}|\[ *\d{{1,9}}\.\d{{6}}\]|{epoch})");
        let word = r"[^\s\[\]{}:]{1,64}";
        // A container or a service. A word with only a capital is the name of a person.
        let service =
            r"[a-z0-9_.-]{0,100}[a-z][a-z0-9_.-]{0,100}|[A-Za-z][\w.-]{0,99}[\d_.-][\w.-]{0,99}";
        let any = [
            // CRI.
            format!(r"{stamp} std(?:out|err) [FP](?::\w)? "),
            // syslog, RFC 5424.
            format!(
                r"(?:<\d{{1,3}}>)?1 {stamp} \S{{1,255}} \S{{1,64}} \S{{1,64}} \S{{1,64}} (?:-|\[[^\n]{{1,400}}?\]) "
            ),
            r"<\d{1,3}>".to_owned(),
            // syslog and `journalctl`: host, program and its process.
            format!(r"{time} \S{{1,255}} {word}(?: {word}){{0,3}}\[\d{{1,10}}\]: "),
            // Heroku and Fly.
            format!(r"{time} [a-z]{{2,20}}\[[\w.-]{{1,40}}\](?:: | [a-z]{{3}} \[[a-z]{{4,7}}\])"),
            // s6.
            r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\.\d{9}  ".to_owned(),
            r"@[0-9a-f]{24} ".to_owned(),
            // pm2 in each of its formats, `docker logs -t`, `ts`.
            format!(r"(?:{stamp}|\[{stamp}\])(?:: | \| | - |, | )"),
            format!(r"(?:{date}|{epoch}|\[(?:{date}|{epoch})\]): "),
            // Docker Compose, `pm2 logs`.
            format!(r"(?:{service}) *\| "),
            r"\d{1,4}\|[^|{\n]{1,60}\| ?".to_owned(),
            // `docker service logs`.
            r"[\w.-]{1,100}\.\d{1,5}\.[a-z0-9]{12,25}@\S{1,80} +\| ".to_owned(),
            // pm2's log_date_format without separators.
            r"20[2-9]\d[01]\d[0-3]\d[-T ]?[0-2]\d[0-5]\d[0-5]\d: ".to_owned(),
            // A CSV export with milliseconds.
            r"1[5-9]\d{11},".to_owned(),
            // `kubectl logs --prefix`, turbo.
            r"\[pod/[^\]\s]{1,255}\] ".to_owned(),
            r"[a-z@][\w@/.-]{0,60}:(?:start|dev|serve|run|prod|build|watch|test)[\w:-]{0,40}: "
                .to_owned(),
        ];
        let compiled = |source: &str| Regex::new(&format!("(?-u)^(?:{source})")).ok();
        Some(Self {
            any: compiled(&any.join("|"))?,
            host: compiled(&format!(
                r"{DAY}{MONTH} [ \d]\d \d\d:\d\d:\d\d(?:\.\d{{1,9}})? (?:[a-z0-9]|[A-Z][A-Z0-9])[\w.-]{{0,254}} [\w./@-]{{1,64}}: "
            ))?,
            tag: compiled(r"\[[\w.:@/ -]{1,60}\] |[\w.-]{1,100} *\| ")?,
            after_a_tag: compiled(&format!(
                r#"\{{"(?:level|time)":|\[[^\]\n]{{5,40}}\] (?:TRACE|DEBUG|INFO|WARN|ERROR|FATAL)\b|{CODE}|[}}\])]"#
            ))?,
            pod: compiled(
                r"(?P<pod>[a-z0-9][a-z0-9.-]{0,250}) (?P<container>[a-z0-9][a-z0-9.-]{0,60}) ",
            )?,
        })
    }
}

/// The indented lines of an error or an object.
const CODE: &str = r#" +(?:at |[}\])]|["']?[\w$:.-]{1,60}["']?: |[{\[]\s*$|\[Symbol\(|isBoom)"#;

/// Words that begin a sentence of the bot, in the position of a host name.
fn is_no_host(prefix: &[u8]) -> bool {
    static WORDS: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(concat!(
            r"(?i-u)\d\d(?:\.\d{1,9})? (?:connection|conex|koneksi|sambungan|session|sesi|sess|whatsapp|wa|device|dispositivo|",
            r"bot|disconnect|desconect|closed?|closing|error|status|reason|logged|uncaught|stream|account|your|you|client) "
        ))
        .ok()
    });
    WORDS.as_ref().is_some_and(|words| words.is_match(prefix))
}

/// How many spaces are before a level that is aligned to the right. They are no indentation.
fn padding(text: &[u8]) -> usize {
    static PADDED: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(
            r"(?-u)^(?P<spaces> {1,6})(?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|FATAL)[ \t:]",
        )
        .ok()
    });
    let found = PADDED.as_ref().and_then(|padded| padded.captures(text));
    found.map_or(0, |found| found["spaces"].len())
}

/// Whether the line is the header of a record of pino-pretty.
pub fn is_pretty_header(text: &[u8]) -> bool {
    static HEADER: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"(?-u)^\[[^\]\n]{5,40}\] (?:TRACE|DEBUG|INFO|WARN|ERROR|FATAL)\b").ok()
    });
    HEADER.as_ref().is_some_and(|header| header.is_match(text))
}

/// Where the text after a prefix begins, and whether the prefix says that the line continues.
pub(super) fn prefix(text: &[u8]) -> Option<(usize, bool)> {
    static FORMS: LazyLock<Option<Forms>> = LazyLock::new(Forms::new);
    // Every prefix begins with one of these. This excludes most other text.
    if !text
        .first()
        .is_some_and(|byte| byte.is_ascii_alphanumeric() || b"<[@".contains(byte))
        || is_pretty_header(text)
    {
        return None;
    }
    let forms = FORMS.as_ref()?;
    if let Some(found) = forms.host.find(text)
        && (!is_no_host(found.as_bytes()) || forms.after_a_tag.is_match(&text[found.end()..]))
    {
        return Some((found.end(), false));
    }
    if let Some(found) = forms.any.find(text) {
        let found = found.as_bytes();
        let cut = [&b" stdout P"[..], b" stderr P"];
        let partial = cut.iter().any(|cut| {
            memchr::memmem::find(found, cut).is_some_and(|at| {
                // CRI's tag is the last word.
                found.len() - at <= cut.len() + 3
            })
        });
        return Some((found.len() + padding(&text[found.len()..]), partial));
    }
    if let Some(found) = forms.tag.find(text) {
        let rest = &text[found.end()..];
        return forms
            .after_a_tag
            .is_match(rest)
            .then_some((found.end(), false));
    }
    let found = forms.pod.captures(text)?;
    let (pod, container) = (found.name("pod")?, found.name("container")?);
    let of_container = pod.as_bytes().strip_prefix(container.as_bytes())?;
    of_container
        .starts_with(b"-")
        .then(|| Some((found.get(0)?.end(), false)))?
}

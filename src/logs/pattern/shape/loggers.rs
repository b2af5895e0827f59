//! What usual loggers write between the time and the message.

use std::sync::LazyLock;

use regex::bytes::Regex;

use super::super::words::{ANOTHER_PROGRAM, expression};

/// A level.
const LEVEL: &str = r"(?i:trace|debug|verbose|info|information|notice|log|warn|warning|error|err|fatal|critical|severe)";
/// Levels that bots do not use for chat messages.
const BAD: &str = r"(?i:warn|warning|error|err|fatal|critical|severe)";
/// A category or module. A word with only a capital is the name of a person.
const NAME: &str = r"(?:[a-z][\w$./@-]{0,80}|[A-Z][\w$]{0,40}(?:[./][\w$]{1,40}){1,6})";
/// A line of a source file.
const PLACE: &str = r"/?(?:[\w@.-]{1,60}/){0,12}[\w@.-]{1,60}\.(?:[cm]?[jt]sx?|go|py|rs|php|cs|java|kt|rb):\d{1,6}(?::\d{1,6})?";
const TIME: &str =
    r"\d[\dTZ:.,/+-]{7,34}(?: \d{1,2}:\d\d[\d:.,]{0,14})?(?: ?Z| ?[+-]\d\d:?\d\d)?(?: [AP]M)?";
/// A thread, or any tag.
const TAG: &str = r"\[ *[^\]\n]{1,80}\]";

/// Parts of a bot that have users of their own.
const OTHER_PARTS: &str = r"auth(?:entication|controller|service)?\b|login|user|admin|message|(?:^|[^a-z])(?:ws|socket|chats?|msgs?|incoming|inbound|received|recv|handlers?|commands?|cmd|groups?|grupos?|grup|mensajes?|mensage(?:m|ns)|pesan)(?:[^a-z]|$)";

/// Whether a logger's category is that of another program or part of the bot. Pure.
pub(super) fn is_of_another_part(category: &[u8]) -> bool {
    static OTHERS: LazyLock<Option<Regex>> =
        LazyLock::new(|| expression(&format!(r"{ANOTHER_PROGRAM}|{OTHER_PARTS}")));
    OTHERS
        .as_ref()
        .is_none_or(|others| others.is_match(category))
}

/// Where the message begins that a logger has written with its level, category or place before it.
/// `None`: the text is in no such form, or
/// the category is that of another program. Pure.
pub(super) fn header(text: &[u8]) -> Option<usize> {
    static FORMS: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let forms = [
            // log4js.
            format!(r"\[{LEVEL}\] {NAME} - "),
            // log4j, logback and Spring.
            format!(r"{LEVEL} +{TAG}(?: +{TAG})? +{NAME} +[-:] "),
            format!(r"{TAG} +{LEVEL} +{NAME} +[-:] "),
            format!(r"{LEVEL} +\d{{1,9}} --- (?:{TAG} *){{1,3}}{NAME} +: "),
            // Go, and zerolog.
            format!(r"{PLACE}: "),
            format!(r"(?:ERR|WRN|INF|DBG|FTL|TRC) (?:{PLACE} > )?"),
            // tslog and zap.
            format!(
                r"(?:{TIME}[\t ]+)?{LEVEL}[\t ]+(?:\[{PLACE}[^\]\n]{{0,60}}\]|{PLACE})(?:[\t ]+{NAME})?[\t ]+"
            ),
            format!(r"(?:{TIME}\t)?{LEVEL}\t(?:{NAME}\t)?"),
            // bunyan: long and short.
            format!(r"(?:{LEVEL}: )?{NAME}/\d{{1,9}} on [\w.-]{{1,80}}(?: \([^)\n]{{1,100}}\))?: "),
            format!(r"{BAD} {NAME}: "),
            // Python: logging and loguru.
            format!(r"{NAME} +[-|] +{LEVEL} +[-|] +"),
            format!(r"{LEVEL}:{NAME}:"),
            format!(r"{LEVEL} +\| +{NAME}:[\w<>]{{1,60}}:\d{{1,6}} - "),
            // .NET: its console, and NLog.
            r"(?:trce|dbug|info|warn|fail|crit): [\w.]{1,120}\[\d{1,9}\]\n +".to_owned(),
            format!(r"(?:{TIME}\|)?{LEVEL}\|[\w.]{{1,120}}\|"),
            // The module `debug`.
            r" *(?:bot|wa|whatsapp|baileys|app|api|server)(?::[a-z][\w-]{0,40}){1,3} +".to_owned(),
            // Monolog, Ruby, Rust.
            format!(r"(?:\[[^\]\n]{{5,40}}\] )?[a-z]\w{{0,40}}\.{LEVEL}: "),
            format!(r"[DIWEF], \[[^\]\n]{{5,60}}\] +{LEVEL} -- [\w.]{{0,40}}: "),
            format!(r"{LEVEL} \w{{1,40}}(?:::\w{{1,40}}){{1,8}}: "),
            // The session, as a tag.
            format!(
                r"(?:\[?{LEVEL}\]?:? )?(?:\([a-z][a-z0-9_.-]{{1,39}}\)|\{{[a-z][a-z0-9_.-]{{1,39}}\}}):? "
            ),
        ];
        Regex::new(&format!(r"(?-u)\A(?:{})", forms.join("|"))).ok()
    });
    let found = FORMS.as_ref()?.find(text)?;
    (!is_of_another_part(found.as_bytes())).then_some(found.end())
}

#[cfg(test)]
mod tests;

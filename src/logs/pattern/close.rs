//! Why a connection ended, from what a bot prints of it: many bots silence the library's
//! logger and print only the reason.

use std::sync::LazyLock;

use regex::bytes::{RegexSet, RegexSetBuilder, SetMatches};

use super::shape::RecordShape;
use super::shipped::{LOGGED_OUT, REPLACED, conflict, source_code, stream_error};

/// What a record says of the end of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CloseReason {
    /// The login has ended.
    pub logged_out: bool,
    /// Another connection with the same login replaced it.
    pub replaced: bool,
    /// A conflict. Which one it is stands in the rest of the record, if there is more of it;
    /// otherwise it is a replaced connection, for the other one is printed with its code.
    pub conflict: bool,
}

/// `status…: CODE`, as the disconnect reason of Baileys is printed.
macro_rules! status_is {
    ($code:literal) => {
        concat!(
            r"(?:status(?:[ _]?code|[ _]?reason)?|reason(?:[ _]?code)?|c.{1,2}digo|close[ _]?code|",
            r"\braz.{1,2}n|\bmotivo|\bestado|\bkode|\balasan)",
            r"[^a-z0-9\n]{1,12}",
            $code,
            r"\b|(?:disconnected|connection closed?|errored \(conflict\))[^\n]{0,40}\bcode[^a-z0-9\n]{1,4}",
            $code,
            r"\b|errored \(conflict\)[^a-z0-9\n]{1,12}",
            $code,
            r"\b|\(",
            $code,
            r"\)|^[^a-z0-9\n]{0,20}",
            $code,
            r"[ :,]"
        )
    };
}

/// One sign of [`SIGNS`].
#[derive(Clone, Copy)]
#[repr(usize)]
enum Is {
    Code401,
    Code440,
    Node401,
    Conflict,
    LoggedOut,
    NotLoggedOut,
    OfAConnection,
    OfAnother,
    ReplacedNode,
    RemovedNode,
    AllReasons,
}

/// In the order of [`Is`].
const SIGNS: [&str; 11] = [
    status_is!("401"),
    status_is!("440"),
    stream_error!("401"),
    r"stream errored \(conflict",
    r"\b(?:is)?logged_?out\b",
    concat!(
        r#"\b(?:is)?logged_?out\b["']?\s{0,3}[:=]\s{0,3}(?:false|0|no\b|null|undefined)|"#,
        r"\bnot (?:is)?logged_?out\b|logged_?out:? \?|",
        source_code!()
    ),
    concat!(
        r"isboom|disconnect|desconect|stream errored|connection (?:closed?|lost|update|errored)|",
        r"conex|koneksi|logged ?out|\bclosed?\b|baileys|whatsapp|conflict|reconnect|",
        // Nothing but the code.
        r"^[^a-z0-9\n]{0,10}status(?:_?code|_?reason)?\W{1,4}(?:401|440)\W{0,4}$"
    ),
    r"axios|https?://|request failed|\b(?:get|post|put|patch|delete) /|not-authorized",
    conflict!("replaced"),
    conflict!("device_removed"),
    // `DisconnectReason` itself.
    r"connectionlost\W{1,6}408\b[^\x00]{0,200}?loggedout\W{1,6}401\b",
];

/// How a record begins, or what it holds, that the bot itself wrote. Before it stand a time,
/// tags, signs and a level only.
const REPORT: [&str; 2] = [
    r"^\s{2,}isboom: true|error: stream errored \(|output: \{",
    concat!(
        r"\A(?:\[[^\]\n]{1,60}\]|[^a-z\n\[])*",
        r"(?:(?:info|warn|warning|error|fatal|debug|log)\b\W{0,4})?(?:",
        r"connection (?:replaced|closed)|connectionreplaced|connection update|device logged out|",
        r"you are logged out|whatsapp (?:session )?logged out|logged out\W{1,3}please|",
        r"closed: |reason\W|status(?:_?code|_?reason)?\W{1,4}4[04][10]|disconnect|",
        r"conexi.{1,3}n (?:reemplazada|cerrada|perdida)|sesi.{1,3}n cerrada|desconectado\W|",
        r"conex.{1,3}o (?:substitu|fechada|encerrada|perdida)|dispositivo desconectado|sess.{1,3}o encerrada|",
        r"koneksi |session (?:telah )?logout|perangkat |close \{|stream errored|\{ *$",
        r")"
    ),
];

/// What a report says beside the reason, where the connection is one to WhatsApp. The reason
/// alone (`connection replaced`, `statusCode: 401`) is what other programs print as well.
const TO_WHATSAPP: [&str; 2] = [
    concat!(
        r"(?:status(?:[ _]?code|[ _]?reason)?|reason(?:[ _]?code)?|c.{1,2}digo|close[ _]?code)",
        r"[^a-z0-9\n]{1,12}440\b|\(440\)|connection_?replaced\W{1,4}440\b|",
        r"logged_?out\W{1,4}401\b|\b401\W{1,4}(?:is)?logged_?out"
    ),
    concat!(
        r"whatsapp|baileys|\bqr\b|\b(?:re-?)?scan\b|escane|re-?link\b|",
        r"connection closed\W{1,3}you are logged out|another new session|",
        r"otra nueva sesi|outra nova sess|sesi baru (?:telah )?(?:ter|di)buka|verifique novamente"
    ),
];

fn compiled(sources: &[&str]) -> Option<RegexSet> {
    RegexSetBuilder::new(sources)
        .case_insensitive(true)
        .multi_line(true)
        .unicode(false)
        .build()
        .ok()
}

/// Of a whole record.
pub(super) fn reason(record: &[u8], shape: &RecordShape) -> CloseReason {
    static SET: LazyLock<Option<RegexSet>> = LazyLock::new(|| compiled(&SIGNS));
    // The library reports the reason one record earlier.
    let Some(set) = SET.as_ref().filter(|_| !shape.connection_errored) else {
        return CloseReason::default();
    };
    let found: SetMatches = set.matches(record);
    let is = |sign: Is| found.matched(sign as usize);
    if is(Is::AllReasons) {
        return CloseReason::default();
    }
    let reported = is(Is::OfAConnection) && !is(Is::OfAnother);
    let replaced_node = is(Is::ReplacedNode);
    let logged_out = is(Is::RemovedNode)
        || is(Is::LoggedOut) && !is(Is::NotLoggedOut) && !is(Is::OfAnother)
        || is(Is::Code401) && reported && !replaced_node
        || is(Is::Node401) && !replaced_node;
    let replaced = replaced_node || is(Is::Code440) && reported;
    CloseReason {
        logged_out,
        replaced,
        conflict: is(Is::Conflict) && !logged_out && !replaced,
    }
}

/// Whether the record is written as only the library's logger or the bot's own report writes
/// it, not as the text of a chat that the bot prints.
pub(super) fn is_certain(record: &[u8], shape: &RecordShape) -> bool {
    static SET: LazyLock<Option<RegexSet>> = LazyLock::new(|| compiled(&REPORT));
    shape.library || SET.as_ref().is_some_and(|set| set.is_match(record))
}

/// Whether this line, without envelopes, is a bot's own report that WhatsApp has ended its
/// connection, and not one that another program could print.
pub(in crate::logs) fn is_own_report(line: &[u8]) -> bool {
    static ENDS: LazyLock<Option<RegexSet>> = LazyLock::new(|| compiled(&[LOGGED_OUT, REPLACED]));
    static SET: LazyLock<Option<RegexSet>> = LazyLock::new(|| compiled(&TO_WHATSAPP));
    let is_match = |set: &Option<RegexSet>| set.as_ref().is_some_and(|set| set.is_match(line));
    let shape = RecordShape::default();
    is_match(&SET)
        && is_certain(line, &shape)
        && (is_match(&ENDS) || reason(line, &shape) != CloseReason::default())
}

#[cfg(test)]
mod tests;

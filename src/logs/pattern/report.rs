//! Which records are reports: in a form that only the library's logger or the bot itself uses, and
//! not text of a chat that the bot prints.

use std::sync::LazyLock;

use regex::bytes::{Regex, RegexSet};

use super::close::{BOOM, CLOSE_EVENT, ENDING, OF_HTTP, closed_connection, compiled, reason};
use super::shape::RecordShape;
use super::shipped::{BANNED, LOGGED_OUT, REPLACED, prefix};
use super::words::expression;

/// The beginning of a report.
const BEGINNING: &str = concat!(
    prefix!(),
    // Not the key of an object, which is `connection: 'close'`.
    r#"(?:(?:whatsapp |wa |baileys )?conn(?:ection)?(?:[^\w\n"']{1,3}|[^\w\n]{1,3}[#\w@.-]{1,40}[^\w\n]{1,3})(?:replaced|closed?|lost|terminated)|"#,
    r"connectionreplaced|connection[ .]update|lastdisconnect|",
    r"device logged out|you are logged out|whatsapp (?:session )?logged out|logged out\W{1,3}please|",
    r"not reconnecting\W{1,3}(?:logged out|40[123]|440)|",
    r"whatsapp (?:connection )?(?:closed|disconnected|desconectado)|whatsapp returned 40[123]\b|",
    r"conex.{1,4} (?:close|encerrad)|closed\W|close(?: reason)?\W{1,4}4\d\d|reason\W|",
    r"status(?:_?code|_?reason)\W{1,4}4[04][10]|status\W{1,4}4[04][10]\W{1,3}\w|disconnect|",
    r"conexi.{1,3}n (?:reemplazada|cerrada|perdida)|desconectad[oa]\W|desconectado d[eo]l? whatsapp|",
    r"conex.{1,3}o (?:substitu|fechada|encerrada|perdida)|",
    r"koneksi |sambungan |sesi.{1,3}n tomada por otra|close \{|stream errored|conflict\W{1,3}replaced|",
    r"(?:session|instance) [\w@.:-]{1,60} (?:is |was |has been )?(?:closed|disconnected)\W|",
    r#"instance "[^"\n]{1,100}" - logout$|"#,
    r"unknown disconnectreason|closed connection, reason |(?:will|should)[ _]?reconnect\W{1,4}false\W{1,4}4[04][10]\b|",
    r"session \+?\d{8,15} (?:is |was |has been )?logged out|code\W{1,4}401\W{1,4}reason\W{1,4}logged[ _]?out|",
    // The code and its name, as only the library has them.
    r"(?:[\w.-]{1,40} (?:disconnected|closed)\W{1,3})?(?:logged_?out\W{1,4}401\b|401\W{1,4}logged_?out|440\W{1,4}connectionreplaced)|",
    r"(?:uncaught )?(?:authfilecorrupt)?error: auth file is corrupt or unreadable|",
    r"bot (?:telah |sudah )?(?:logout|ter-?logout|dikeluarkan)(?:\W{0,4}$|\W{1,4}(?:sila|scan|hapus|pindai))|",
    r"sin conexi.{1,3}n\W|bot disconnected\W{1,3}(?:device )?logged[ _]?out|ba\xc4\x9flant\xc4\xb1 (?:kapand|kesildi|koptu|kapat)|",
    // Without the code, a person may have written it.
    r"(?:your|this|tu|su|el|este|seu|o) (?:bot )?(?:number|n.{1,2}mero|nomor) (?:is |was |has been |fue |ha sido |foi )?(?:banned|banid[oa]|banead[oa])[^\n]{0,60}\b40[236]\b",
    r")"
);

/// Reports in Arabic and Hindi. Only tags, symbols and a level are before them, because letters of
/// another script are a name elsewhere.
const OTHER_SCRIPT: &str = concat!(
    r"\A(?:\[[^\]\n]{1,60}\]|[^a-z0-9\n\[\x80-\xff]|\xe2[\x80-\xbf]{2}|\xf0\x9f[\x80-\xbf]{2}|\xef\xb8\x8f|",
    r"(?:info|warn|warning|error|fatal|debug|log)\b)*",
    r"(?:(?:انقطع|تم قطع|تم إغلاق|تم انقطاع|انتهى) (?:ال)?اتصال[^a-z0-9\n]{1,60}(?:401|403|440)\b|",
    r"कनेक्शन (?:बंद|टूट)[^a-z0-9\n]{1,60}(?:401|403|440)\b)"
);

/// Beginnings of reports that other parts of a bot also write, about its own users and devices. A
/// report only if the record mentions WhatsApp.
const BEGINNING_OF_WHATSAPP: &str = concat!(
    prefix!(),
    r"(?:(?:la |se ha |a |sua |su |tu )?(?:sesi.{1,3}n|sess.{1,3}o)\b|dispositivo |aparelho |",
    r"(?:se ha )?cerrado la sesi|logout (?:realizado|detect)|usu.{1,2}rio deslogad|cliente (?:\S{1,60} )?deslogad|",
    r"user logged out from|logged out|bot (?:foi )?(?:des|logged)|(?:voc.{1,2} |o bot )foi desconectado|you have been logged|",
    r"(?:session|client|instance|device) (?:\S{1,60} )?(?:is |was |has been |got |telah )?(?:logged|logout|closed|disconnected|expired|invalid)|",
    r"sesi |perangkat |",
    r"oturum|cihaz |",
    r"(?:account|number|cuenta|conta|n.{1,2}mero|nomor|akun|whatsapp)\b)",
);

/// What a record about WhatsApp contains beside the reason. The address of a contact does not count:
/// it stands for a customer, while `NUMBER:DEVICE@s.whatsapp.net` is the bot itself.
const OF_WHATSAPP: &str = concat!(
    r"(?:\A|[^.]|web\.)whatsapp|:\d{1,3}@s\.whatsapp|baileys|\bqr\b|\b(?:re-?)?scan\b|escane|pindai|re-?link\b|re-?pair|pairing|parear|vincular|",
    r"(?:elimina|borra|borre|delete|remove|hapus|memadam) (?:\w{1,6} )?(?:carpeta|folder|pasta|session|sesi|auth|creds)|",
    r"creds|credenciales|credenciais|auth[ _]?(?:folder|info|state)|tel.{1,2}fono|celular|\bphone\b|",
    r"(?:clear|clean|resett|delet|remov|wip)ing (?:the )?(?:auth|session|folder|creds|state)|re-?authenticate|",
    r"eliminando datos|verifique novamente|permanently logged|permanentemente\W|\b401\b|\b403\b"
);

/// Only a code that any program may print.
const ANY_PROGRAM: &str = r"\A[^a-z0-9\n]{0,10}(?:status(?:_?code|_?reason)?\W{1,4}40[13]|(?:status|code)\W{1,4}440)\W{0,4}\z";

/// Lines of an event of the connection, each with its key at the beginning. The text of a chat would
/// be quoted there.
const OF_AN_EVENT: &str = concat!(
    r#"^[ \t]{2,}(?:lastdisconnect|"lastdisconnect")\s?: |"#,
    r#"^[ \t]{2,}(?:event|"event")\s?: ["']connection\.update["']|"#,
    r#"^[ \t]{2,}(?:tag|"tag")\s?: ["']stream:error["']"#
);

/// What is before the keys of an object on one line.
macro_rules! on_a_line {
    () => {
        concat!(
            prefix!(),
            r"(?:(?:connection[. ])?(?:update|event)|last ?disconnect|disconnect(?:ed)?(?: info)?|(?:error )?output|motivo|reason|error)?",
            r#"[^a-z\n{]{0,6}\{(?:[^\n]*[,{])?\s?["']?"#
        )
    };
}

/// Such an event on one line.
const OF_AN_EVENT_ON_A_LINE: &str = concat!(
    on_a_line!(),
    r#"(?:state["']?\s?:\s?["']close["']|lastdisconnect["']?\s?:|event["']?\s?:\s?["'](?:connection\.update|session\.status)["'])"#
);

/// A closed connection in an object: the event, but in the headers of HTTP.
const CLOSED: &str = concat!(r#"^[ \t]{2,}"?"#, closed_connection!());

/// The same on one line.
const CLOSED_ON_A_LINE: &str = concat!(on_a_line!(), closed_connection!());

/// A line of an error of the library. A report only if the error is one that ends a connection.
const OF_AN_ERROR: &str = r#"^[ \t]{2,}(?:isboom|"isboom"|'isboom')\s?: true"#;

/// Such an error as an object on one line, or its `output`.
const OF_AN_ERROR_ON_A_LINE: &str = concat!(
    prefix!(),
    r"(?:[\w\x80-\xff]{1,20}[ .]?){0,2}",
    r#"[^a-z\n{]{0,6}\{(?:[^\n]*[,{])?\s?["']?isboom["']?\s?:\s?true\b|"#,
    r#"\{\s{0,12}["']?statuscode["']?\s?:\s?4\d\d,\s{0,12}["']?payload["']?\s?:\s?\{\s{0,12}["']?statuscode"#
);

/// Keys of a chat message, and its sender.
const OF_A_CHAT: &str = concat!(
    r#"\b(?:remotejid|pushname|conversation|extendedtextmessage|messagetimestamp|fromme|notifyname)["']?\s?:|@g\.us\b|"#,
    r#"(?:^[ \t]{2,}|[{,] ?)["']?(?:from|sender|sendername|author|participant|pushname|chat|chatid)["']?\s?: ?["'\d]|"#,
    // A bot does not ask questions.
    r"\?\?|\xc2\xbf|\?\W{0,3}\z"
);

/// What a report contains beside the reason if the connection is one to WhatsApp. Other programs
/// also print the reason alone (`connection replaced`, `statusCode: 401`).
const TO_WHATSAPP: [&str; 2] = [
    concat!(
        r"(?:status(?:[ _]?code|[ _]?reason)?|reason(?:[ _]?code)?|c.{1,2}digo|close[ _]?code)",
        r"[^a-z0-9\n]{1,12}440\b|\(440\)|connection_?replaced\W{1,4}440\b|",
        r"logged_?out\W{1,4}401\b|\b401\W{1,4}(?:reason\W{1,4})?(?:is)?logged_?out"
    ),
    concat!(
        r"whatsapp|baileys|\bqr\b|\b(?:re-?)?scan\b|escane|re-?link\b|",
        r"connection closed\W{1,3}you are logged out|another new session|",
        r"otra nueva sesi|outra nova sess|sesi baru (?:telah )?(?:ter|di)buka|verifique novamente"
    ),
];

/// Whether the record is a report.
pub(super) fn is_certain(record: &[u8], shape: &RecordShape) -> bool {
    if shape.library {
        return true;
    }
    if shape.class {
        return !is_of_a_chat(record);
    }
    match &shape.plain {
        Some(plain) => {
            let own = is_certain_text(plain) || shape.closes;
            own && !shape.chat && !is_of_a_chat(record)
                || memchr::memmem::find(record, b"\"type\":\"AuthFileCorruptError\"").is_some()
        }
        None => is_certain_text(record),
    }
}

/// Whether the record is an error or an event, and not a sentence.
pub(super) fn is_object(record: &[u8]) -> bool {
    static SET: LazyLock<Option<RegexSet>> = LazyLock::new(|| {
        compiled(&[
            OF_AN_EVENT,
            OF_AN_EVENT_ON_A_LINE,
            OF_AN_ERROR,
            OF_AN_ERROR_ON_A_LINE,
            CLOSED,
            CLOSED_ON_A_LINE,
        ])
    });
    SET.as_ref().is_some_and(|set| set.is_match(record))
}

fn is_of_a_chat(text: &[u8]) -> bool {
    static SET: LazyLock<Option<RegexSet>> = LazyLock::new(|| compiled(&[OF_A_CHAT]));
    SET.as_ref().is_some_and(|set| set.is_match(text))
}

fn is_certain_text(text: &[u8]) -> bool {
    static SET: LazyLock<Option<RegexSet>> = LazyLock::new(|| compiled(&REPORT));
    SET.as_ref().is_some_and(|set| {
        let found = set.matches(text);
        let has = |what: Has| found.matched(what as usize);
        let closed = has(Has::Closed) && !has(Has::OfHttp);
        let closed_on_a_line = has(Has::ClosedOnALine) && !has(Has::OfHttp);
        let ends = has(Has::Ending) || has(Has::CloseEvent) || closed || closed_on_a_line;
        let begins = (has(Has::Beginning) && !has(Has::AnyProgram)
            || has(Has::BeginningOfWhatsApp) && has(Has::OfWhatsApp))
            && (ends || !has(Has::Boom));
        let on_a_line =
            closed_on_a_line || has(Has::EventOnALine) || has(Has::ErrorOnALine) && ends;
        let in_lines =
            has(Has::SeveralLines) && (closed || has(Has::Event) || has(Has::Error) && ends);
        (in_lines || has(Has::OtherScript) || (begins || on_a_line) && !has_sender(text))
            && !has(Has::Chat)
    })
}

/// Whether a phone number or a name in another script is before the text. Tags do not count.
fn has_sender(text: &[u8]) -> bool {
    static BEFORE: LazyLock<Option<Regex>> = LazyLock::new(|| expression(prefix!()));
    static NO_SENDER: LazyLock<Option<Regex>> = LazyLock::new(|| {
        expression(concat!(
            r"\[[^\]\n]{1,60}\]|\b\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:\b|t)|\b20\d{6}(?:[t -]?\d{6})?\b|",
            r"\d{1,2}:\d\d(?::\d\d)?(?:[.,]\d{1,9})?|\b1[5-9]\d{8}(?:\d{3})?\b|\b\d{1,9}\.\d{6}\b"
        ))
    });
    static NUMBER: LazyLock<Option<Regex>> =
        LazyLock::new(|| expression(r"\d(?:[ ().-]{0,2}\d){7}"));
    let (Some(before), Some(no_sender), Some(number)) =
        (BEFORE.as_ref(), NO_SENDER.as_ref(), NUMBER.as_ref())
    else {
        return true;
    };
    let before = before.find(text).map_or(&b""[..], |found| found.as_bytes());
    let before = no_sender.replace_all(before, &b"|"[..]);
    number.is_match(&before) || String::from_utf8_lossy(&before).chars().any(is_of_a_name)
}

/// Whether this is a letter of a name outside of ASCII, and not one that bots decorate text with.
fn is_of_a_name(letter: char) -> bool {
    let decorates = matches!(letter,
        'ª' | 'º' | '\u{2100}'..='\u{214f}' | 'ⓐ'..='ⓩ' | 'Ⓐ'..='Ⓩ' | '\u{1d400}'..='\u{1d7ff}' | '\u{1f100}'..='\u{1f1ff}');
    !letter.is_ascii() && letter.is_alphabetic() && !decorates
}

/// One expression of [`REPORT`].
#[derive(Clone, Copy)]
#[repr(usize)]
enum Has {
    Beginning,
    BeginningOfWhatsApp,
    OfWhatsApp,
    AnyProgram,
    Error,
    Chat,
    Ending,
    CloseEvent,
    Boom,
    Event,
    EventOnALine,
    ErrorOnALine,
    SeveralLines,
    OtherScript,
    Closed,
    ClosedOnALine,
    OfHttp,
}

/// In the order of [`Has`].
const REPORT: [&str; 17] = [
    BEGINNING,
    BEGINNING_OF_WHATSAPP,
    OF_WHATSAPP,
    ANY_PROGRAM,
    OF_AN_ERROR,
    OF_A_CHAT,
    ENDING,
    CLOSE_EVENT,
    BOOM,
    OF_AN_EVENT,
    OF_AN_EVENT_ON_A_LINE,
    OF_AN_ERROR_ON_A_LINE,
    // An object of several lines.
    r"[{\[][ \t]*$",
    OTHER_SCRIPT,
    CLOSED,
    CLOSED_ON_A_LINE,
    OF_HTTP,
];

/// Whether a line without envelopes is a bot's own report that WhatsApp ended its connection, in a
/// form that no other program prints.
pub(in crate::logs) fn is_own_report(line: &[u8]) -> bool {
    static ENDS: LazyLock<Option<RegexSet>> =
        LazyLock::new(|| compiled(&[LOGGED_OUT, REPLACED, BANNED]));
    static SET: LazyLock<Option<RegexSet>> = LazyLock::new(|| compiled(&TO_WHATSAPP));
    let is_match =
        |set: &Option<RegexSet>, text: &[u8]| set.as_ref().is_some_and(|set| set.is_match(text));
    let plain = RecordShape::of(line).plain;
    let text = plain.as_deref().unwrap_or(line);
    is_match(&SET, text)
        && is_certain_text(text)
        && (is_match(&ENDS, text) || reason(text, &RecordShape::default()).is_close())
}

#[cfg(test)]
mod tests;

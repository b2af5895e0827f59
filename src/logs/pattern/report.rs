//! Which records are reports: written as only the library's logger or the bot itself writes
//! them, not as the text of a chat that the bot prints.

use std::sync::LazyLock;

use regex::bytes::RegexSet;

use super::close::{CloseReason, compiled, reason};
use super::shape::RecordShape;
use super::shipped::{BANNED, LOGGED_OUT, REPLACED, prefix};

/// How a report begins.
const BEGINNING: &str = concat!(
    prefix!(),
    r"(?:(?:whatsapp |wa |baileys )?connection\W{1,3}(?:[#\w@.-]{1,40}\W{1,3})?(?:replaced|closed?|lost|terminated)|",
    r"connectionreplaced|connection[ .]update|lastdisconnect|",
    r"device logged out|you are logged out|whatsapp (?:session )?logged out|logged out\W{1,3}please|",
    r"not reconnecting\W{1,3}(?:logged out|40[123]|440)|",
    r"whatsapp (?:connection )?(?:closed|disconnected|desconectado)|whatsapp returned 40[123]\b|",
    r"conex.{1,4} (?:close|encerrad)|closed\W|close\W{1,4}4\d\d|reason\W|",
    r"status(?:_?code|_?reason)\W{1,4}4[04][10]|status\W{1,4}4[04][10]\W{1,3}\w|disconnect|",
    r"conexi.{1,3}n (?:reemplazada|cerrada|perdida)|desconectad[oa]\W|desconectado d[eo]l? whatsapp|",
    r"conex.{1,3}o (?:substitu|fechada|encerrada|perdida)|",
    r"koneksi |sambungan |sesi.{1,3}n tomada por otra|close \{|stream errored|conflict\W{1,3}replaced|",
    r"(?:session|instance) [\w@.:-]{1,60} (?:is |was |has been )?(?:closed|disconnected)\W|",
    r#"instance "[^"\n]{1,100}" - logout$|"#,
    r"(?:uncaught )?(?:authfilecorrupt)?error: auth file is corrupt or unreadable",
    r")"
);

/// Beginnings of a report that other parts of a bot write as well, of its own users and
/// devices: certain only where the record speaks of WhatsApp.
const BEGINNING_OF_WHATSAPP: &str = concat!(
    prefix!(),
    r"(?:(?:la |se ha |a |sua |su |tu )?(?:sesi.{1,3}n|sess.{1,3}o)\b|dispositivo |aparelho |",
    r"(?:se ha )?cerrado la sesi|logout (?:realizado|detect)|usu.{1,2}rio deslogad|cliente (?:\S{1,60} )?deslogad|",
    r"user logged out from|logged out|bot (?:foi )?(?:des|logged)|(?:voc.{1,2} |o bot )foi desconectado|you have been logged|",
    r"(?:session|client|instance|device) (?:\S{1,60} )?(?:is |was |has been |got |telah )?(?:logged|logout|closed|disconnected|expired|invalid)|",
    r"sesi |perangkat |",
    r"(?:account|number|cuenta|conta|n.{1,2}mero|nomor|akun|whatsapp)\b)",
);

/// What a record of WhatsApp holds beside the reason.
const OF_WHATSAPP: &str = concat!(
    r"whatsapp|baileys|\bqr\b|\b(?:re-?)?scan\b|escane|pindai|re-?link\b|re-?pair|pairing|parear|vincular|",
    r"(?:elimina|borra|borre|delete|remove|hapus) (?:\w{1,6} )?(?:carpeta|folder|pasta|session|sesi|auth|creds)|",
    r"creds|credenciales|credenciais|auth[ _]?(?:folder|info|state)|tel.{1,2}fono|celular|\bphone\b|",
    r"(?:clear|clean|resett|delet|remov|wip)ing (?:the )?(?:auth|session|folder|creds|state)|re-?authenticate|",
    r"eliminando datos|verifique novamente|permanently logged|permanentemente\W|\b401\b|\b403\b"
);

/// Nothing but a code that any program prints.
const ANY_PROGRAM: &str = r"\A[^a-z0-9\n]{0,10}(?:status(?:_?code|_?reason)?\W{1,4}40[13]|(?:status|code)\W{1,4}440)\W{0,4}\z";

/// Lines of an object or an error that the library made, each with its key at the beginning. The
/// text of a chat stands within quotes there.
const OF_AN_OBJECT: &str = concat!(
    r#"^[ \t]{2,}(?:isboom|"isboom"|'isboom')\s?: true|"#,
    r#"^[ \t]{2,}(?:lastdisconnect|"lastdisconnect")\s?: |"#,
    r#"^[ \t]{2,}(?:connection|"connection")\s?: ["']close["']|"#,
    r#"^[ \t]{2,}(?:event|"event")\s?: ["']connection\.update["']|"#,
    r#"^[ \t]{2,}(?:tag|"tag")\s?: ["']stream:error["']"#
);

/// Keys of a chat's message, and who wrote it.
const OF_A_CHAT: &str = concat!(
    r#"\b(?:remotejid|pushname|conversation|extendedtextmessage|messagetimestamp|fromme|notifyname)["']?\s?:|@g\.us\b|"#,
    // The number of a person stands before the text.
    r"\A(?:\[[^\]\n]{1,60}\]|[^a-z\n\[\d]){0,20}\+?\d[\d ()-]{7,}\d\)?\W{0,2}[:>]\s|",
    // A bot does not ask.
    r"\?\?|\xc2\xbf|\?\W{0,3}\z"
);

/// What a report says beside the reason, where the connection is one to WhatsApp. The reason
/// alone (`connection replaced`, `statusCode: 401`) is what other programs print as well.
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
    match &shape.plain {
        Some(plain) => {
            is_certain_text(plain)
                || memchr::memmem::find(record, b"\"type\":\"AuthFileCorruptError\"").is_some()
        }
        None => is_certain_text(record),
    }
}

fn is_certain_text(text: &[u8]) -> bool {
    static SET: LazyLock<Option<RegexSet>> = LazyLock::new(|| compiled(&REPORT));
    SET.as_ref().is_some_and(|set| {
        let found = set.matches(text);
        let is = |index| found.matched(index);
        let begins = is(0) && !is(3) || is(1) && is(2);
        (begins || is(4)) && !is(5)
    })
}

const REPORT: [&str; 6] = [
    BEGINNING,
    BEGINNING_OF_WHATSAPP,
    OF_WHATSAPP,
    ANY_PROGRAM,
    OF_AN_OBJECT,
    OF_A_CHAT,
];

/// Whether this line, without envelopes, is a bot's own report that WhatsApp has ended its
/// connection, and not one that another program could print.
pub(in crate::logs) fn is_own_report(line: &[u8]) -> bool {
    static ENDS: LazyLock<Option<RegexSet>> =
        LazyLock::new(|| compiled(&[LOGGED_OUT, REPLACED, BANNED]));
    static SET: LazyLock<Option<RegexSet>> = LazyLock::new(|| compiled(&TO_WHATSAPP));
    let is_match =
        |set: &Option<RegexSet>, text: &[u8]| set.as_ref().is_some_and(|set| set.is_match(text));
    let plain = match line.first() {
        Some(b'{') => RecordShape::of(line).plain,
        _ => None,
    };
    let text = plain.as_deref().unwrap_or(line);
    is_match(&SET, text)
        && is_certain_text(text)
        && (is_match(&ENDS, text)
            || reason(text, &RecordShape::default()) != CloseReason::default())
}

#[cfg(test)]
mod tests;

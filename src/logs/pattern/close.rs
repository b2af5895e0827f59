//! Why a connection ended, from what a bot prints of it: many bots silence the library's
//! logger and print only the reason.

use std::sync::LazyLock;

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder, SetMatches};

use super::shape::RecordShape;
use super::shipped::{BANNED, LOGGED_OUT, REPLACED, conflict, source_code, stream_error};

/// What a record says of the end of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CloseReason {
    /// The login has ended.
    pub logged_out: bool,
    /// Of a login that has ended: it is the sentence that bots print after the reason. Near a
    /// record that gives the reason it is the same event.
    pub after_the_reason: bool,
    /// Another connection with the same login replaced it.
    pub replaced: bool,
    /// The account is banned or locked.
    pub banned: bool,
    /// A conflict. Which one it is stands in the rest of the record, if there is more of it;
    /// otherwise it is a replaced connection, for the other one is printed with its code.
    pub conflict: bool,
}

/// What stands before a disconnect reason, as Baileys and bots name it.
macro_rules! label {
    () => {
        concat!(
            r"(?:status(?:[ _]?code|[ _]?reason)?|reason(?:[ _]?code)?|c.{1,2}digo|close[ _]?code|",
            r"\bcode|\braz.{1,2}n|\bmotivo|\bcausa|\bestado|\bkode|\balasan|errored \(conflict\))",
            // Not `==`, which compares.
            r"(?:[^a-z0-9\n=!]{0,6}=[^a-z0-9\n=!]{0,6}|[^a-z0-9\n=!]{1,12})"
        )
    };
}

/// Words of a connection that has ended.
macro_rules! ended {
    () => {
        concat!(
            r"(?:clos(?:e|ed)|disconnected|desconectad[oa]|desconectou|cerrad[oa]|fechad[oa]|",
            r"encerrad[oa]|perdid[oa]|terputus|ditutup(?: karena)?|putus)"
        )
    };
}

/// What may stand before a bot's report: a time, tags, signs and a level.
macro_rules! prefix {
    () => {
        concat!(
            r"\A(?:\[[^\]\n]{1,60}\]|[^a-z\n\[])*",
            r"(?:(?:info|warn|warning|error|fatal|debug|log)\b\W{0,4}(?:\[[^\]\n]{1,60}\]\W{0,4})?)?"
        )
    };
}

/// A disconnect reason with what names it.
const LABELLED: &str = concat!(label!(), r"(4\d\d|5\d\d)\b");

/// A disconnect reason where nothing names it but its place.
const PLACED: &str = concat!(
    r"\((401|402|403|406|440|515|408|428|500|503)\)|^[^a-z0-9\n]{0,20}(401|440)[ :,]|",
    r"(?:^[^a-z\n]{0,60}(?:\[[^\]\n]{1,60}\][^a-z\n\[]{0,6}){0,4}|",
    r"\b(?:connection|conex.{1,4}|koneksi|whatsapp|bot)\W{1,3})(?:is |was |foi |fue |ha sido |close )?",
    ended!(),
    r"[^a-z0-9\n]{1,4}(401|402|403|406|440)\b|",
    r"\bwhatsapp (?:desconectado|disconnected)[^\n]{1,40}\b(401|403|440)\b"
);

/// One sign of [`SIGNS`].
#[derive(Clone, Copy)]
#[repr(usize)]
enum Is {
    Node401,
    Conflict,
    LoggedOut,
    LoggedOutTrue,
    NotLoggedOut,
    OfAConnection,
    LoginEnded,
    OfWhatsApp,
    OfAnother,
    PerhapsOfAnother,
    FromSomething,
    FromWhatsApp,
    ReplacedNode,
    RemovedNode,
    AllReasons,
    Afterwards,
    Forbidden,
}

/// In the order of [`Is`].
const SIGNS: [&str; 17] = [
    stream_error!("401"),
    r"stream errored \(conflict",
    r"\b(?:is)?logged_?out\b",
    r#"\b(?:is)?logged_?out\b["']?\s{0,3}[:=]\s{0,3}true\b"#,
    concat!(
        r#"\b(?:is)?logged_?out\b["']?\s{0,3}[:=]\s{0,3}(?:false|0|no\b|null|undefined)|"#,
        r"\bnot (?:is)?logged_?out\b|logged_?out:? \?|\blogged_?out (?:is|es|=)\W{1,3}4\d\d|",
        r"\[(?:auth|users?|panel|admin|login|web|http|api|dashboard|account|oauth)[ -]?(?:service|controller|module|server|guard)?\]|",
        r"\b(?:user|usuario|usu.{1,2}rio|admin|customer|cliente|pengguna|auth|panel|dashboard)\w{0,8}\W{0,3}logged_?out|",
        source_code!()
    ),
    concat!(
        r"isboom|disconnect|desconect|stream errored|connection (?:closed?|lost|update|errored)|",
        r"conex|koneksi|logged ?out|\bclosed?\b|baileys|whatsapp|conflict|reconnect|",
        // Nothing but the code.
        r"^[^a-z0-9\n]{0,10}status(?:_?code|_?reason)?\W{1,4}(?:401|440)\W{0,4}$"
    ),
    // Where the word for a login that has ended speaks of a connection.
    concat!(
        r"isboom|disconnect|desconect|stream errored|connection (?:closed?|lost|update|errored|state)|",
        r"conex|koneksi|\bclosed?\b|baileys|whatsapp|conflict|reconnect|evolution|\bqr\b|",
        r"(?:status|reason|raz.{1,2}n|motivo|alasan|state|estado)\W{1,6}(?:is)?logged_?out|\b401\b|",
        prefix!(),
        r"logged_?out\W{0,8}\z"
    ),
    r"whatsapp|baileys|\bwa\b|stream errored|disconnectreason|lastdisconnect|isboom|evolution api|\bwaha\b|loggedout|connection\.update",
    r"axios|https?://|request failed|\b(?:get|post|put|patch|delete) /|not-authorized|http/[12]",
    concat!(
        r"\b(?:telegram|telegraf|discord|slack|signal-cli|chatwoot|typebot|dify|n8n|openai|chatgpt|gpt|gemini|groq|",
        r"deepseek|anthropic|claude|elevenlabs|dialogflow|firebase|firestore|supabase|redis|mysql|mariadb|",
        r"postgres\w*|mongo\w*|sqlite|amqp|rabbitmq|kafka|mqtt|crm|erp|smtp|imap|e?mail|spotify|youtube|tiktok|",
        r"instagram|facebook|twitter|github|stripe|paypal|mercado ?pago|webhooks?|proxy|panel|dashboard|",
        r"api|http|oauth|jwt|token|socket\.io|tickets?|orders?|pedidos?|backend|database|ftp|ssh|vpn|printer|",
        r"impresora|impressora|minio|cloudinary)\b"
    ),
    concat!(
        r"(?:disconnected from|desconect\w{1,6} d[aeo]l?|terputus dari|connection (?:to|with|from)|",
        r"conexi.{1,3}n (?:con|al?|del?)|conex.{1,3}o (?:com|ao?|do|da)|koneksi (?:ke|dengan|dari))\s",
    ),
    concat!(
        r"(?:disconnected from|desconect\w{1,6} d[aeo]l?|terputus dari|connection (?:to|with|from)|",
        r"conexi.{1,3}n (?:con|al?|del?)|conex.{1,3}o (?:com|ao?|do|da)|koneksi (?:ke|dengan|dari))\s",
        r"(?:(?:el|la|os?|as?|the|your|our|su|tu|seu) )?",
        r"(?:whatsapp|wa\b|baileys|serv|celular|tel.{1,2}fono|phone|hp\b|dispositivo|aparelho|sesi|sess|bot\b|",
        r"n.{1,2}mero|number|nomor|conta|cuenta|account|internet|red\b|rede\b)"
    ),
    conflict!("replaced"),
    conflict!("device_removed"),
    // `DisconnectReason` itself.
    r"connectionlost\W{1,6}408\b[^\x00]{0,200}?loggedout\W{1,6}401\b",
    AFTERWARDS,
    r"(?:disconnectreason|reason|motivo|raz.{1,2}n|alasan)\W{1,6}forbidden\b",
];

/// The sentence that a bot prints when its login has ended, mostly after the reason. Nothing
/// but tags stands before it, and what follows is no name of a user of the bot's own pages.
const AFTERWARDS: &str = concat!(
    prefix!(),
    r"(?:\[?logged out(?:\W{0,8}\z|: ?true\b|\W{1,6}(?:clear|clean|delet|remov|wip|reset|restart|generat|",
    r"initiali|please|re-?scan|scan|re-?auth|re-?link|re-?pair|pair|new qr|qr|session|sess.{1,2}o|sesi|auth|creds|",
    r"credential|manual|need|requir|stop|exit|not reconnect|no reconnect|dari|setting)",
    r")|\[?logged out detected\b)|",
    // A tag that says what is logged out; then a name of it may follow.
    r"\A[^a-z\n\[]{0,60}\[(?:baileys|whatsapp|wa|wa-?bot|session|connection)[^\]\n]{0,40}\]\W{1,6}logged out\b|",
    r"\binstance \S{1,100} - logout\b|",
    r"(?:clos(?:e|ed)|disconnected|desconectad[oa]|cerrad[oa]|fechad[oa]|encerrad[oa]|terputus|ditutup)\W{1,4}",
    r"(?:reason\W{1,3})?(?:logout|logged out)\b"
);

/// How a record begins, or what it holds, that the bot itself wrote. Before it stand a time,
/// tags, signs and a level only.
const REPORT: [&str; 2] = [
    r#"^\s{2,}isboom: true|error: stream errored \(|output: \{|\binstance "[^"\n]{1,100}" - logout$|"type":"authfilecorrupterror""#,
    concat!(
        prefix!(),
        r"(?:connection (?:replaced|closed)|connectionreplaced|connection update|device logged out|",
        r"you are logged out|whatsapp (?:session )?logged out|logged out\W{1,3}please|",
        r"whatsapp (?:connection )?(?:closed|disconnected|desconectado)|conex.{1,4} (?:close|encerrad)|",
        r"closed\W|reason\W|status(?:_?code|_?reason)?\W{1,4}4[04][10]|disconnect|",
        r"conexi.{1,3}n (?:reemplazada|cerrada|perdida)|desconectado\W|",
        r"conex.{1,3}o (?:substitu|fechada|encerrada|perdida)|",
        r"koneksi |close \{|stream errored|\{ *$|",
        r"(?:uncaught )?(?:authfilecorrupt)?error: auth file is corrupt or unreadable",
        r")"
    ),
];

/// Beginnings of a report that other parts of a bot write as well, of its own users and
/// devices: certain only where the record speaks of WhatsApp.
const REPORT_OF_WHATSAPP: &str = concat!(
    prefix!(),
    r"(?:sesi.{1,3}n (?:cerrada|inv)|sess.{1,3}o (?:encerrada|desconectada|inv)|dispositivo (?:foi |fue )?des|aparelho |",
    r"session (?:telah )?logout|sesi |perangkat |logged out|bot (?:foi )?des|(?:voc.{1,2} |o bot )foi desconectado|",
    r"(?:account|number|cuenta|conta|n.{1,2}mero|nomor|akun|whatsapp)\b)",
);

/// What a record of WhatsApp holds beside the reason.
const HINT: &str = concat!(
    r"whatsapp|baileys|\bqr\b|\b(?:re-?)?scan\b|escane|pindai|re-?link\b|re-?pair|pairing|vincular|elimina la carpeta|",
    r"borra la carpeta|creds|auth[ _]?(?:folder|info|state)|tel.{1,2}fono|celular|clearing (?:auth|session)|",
    r"hapus (?:folder|session|sesi)|verifique novamente|\b401\b|\b403\b"
);

/// Nothing but a code that any program prints.
const ANY_PROGRAM: &str = r"\A[^a-z0-9\n]{0,10}status(?:_?code|_?reason)?\W{1,4}40[13]\W{0,4}\z";

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

fn expression(source: &str) -> Option<Regex> {
    RegexBuilder::new(source)
        .case_insensitive(true)
        .multi_line(true)
        .unicode(false)
        .build()
        .ok()
}

/// The disconnect reason in a record: the first one with a name, else the only one that stands
/// in the place of one.
fn code(record: &[u8]) -> Option<u16> {
    static NAMED: LazyLock<Option<Regex>> = LazyLock::new(|| expression(LABELLED));
    static BARE: LazyLock<Option<Regex>> = LazyLock::new(|| expression(PLACED));
    let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse().ok();
    if let Some(found) = NAMED.as_ref()?.captures(record) {
        return number(&found[1]);
    }
    let mut codes = BARE.as_ref()?.captures_iter(record).filter_map(|found| {
        let group = found.iter().skip(1).flatten().next()?;
        number(group.as_bytes())
    });
    let first = codes.next()?;
    codes.all(|other| other == first).then_some(first)
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
    let of_another = is(Is::OfAnother)
        || (is(Is::PerhapsOfAnother) || is(Is::FromSomething) && !is(Is::FromWhatsApp))
            && !is(Is::OfWhatsApp);
    let reported = is(Is::OfAConnection) && !of_another;
    let code = code(record);
    let replaced_node = is(Is::ReplacedNode);
    let ended = is(Is::LoginEnded) && !of_another;
    let with_a_reason = is(Is::RemovedNode)
        || is(Is::LoggedOutTrue) && ended
        || is(Is::LoggedOut)
            && ended
            && !is(Is::NotLoggedOut)
            && code.is_none_or(|code| code == 401)
        || code == Some(401) && reported && !replaced_node
        || is(Is::Node401) && !replaced_node;
    let after_the_reason = !with_a_reason
        && is(Is::Afterwards)
        && !of_another
        && !is(Is::NotLoggedOut)
        && !replaced_node;
    let logged_out = with_a_reason || after_the_reason;
    let replaced = replaced_node || code == Some(440) && reported;
    CloseReason {
        logged_out,
        after_the_reason,
        replaced,
        banned: (matches!(code, Some(402 | 403 | 406)) || is(Is::Forbidden)) && reported,
        conflict: is(Is::Conflict) && !logged_out && !replaced,
    }
}

/// Whether the record is written as only the library's logger or the bot's own report writes
/// it, not as the text of a chat that the bot prints.
pub(super) fn is_certain(record: &[u8], shape: &RecordShape) -> bool {
    static SET: LazyLock<Option<RegexSet>> = LazyLock::new(|| {
        let [a, b] = REPORT;
        compiled(&[a, b, REPORT_OF_WHATSAPP, HINT, ANY_PROGRAM])
    });
    if shape.library {
        return true;
    }
    SET.as_ref().is_some_and(|set| {
        let found = set.matches(record);
        let is = |index| found.matched(index);
        (is(0) || is(1)) && !is(4) || is(2) && is(3)
    })
}

/// Whether this line, without envelopes, is a bot's own report that WhatsApp has ended its
/// connection, and not one that another program could print.
pub(in crate::logs) fn is_own_report(line: &[u8]) -> bool {
    static ENDS: LazyLock<Option<RegexSet>> =
        LazyLock::new(|| compiled(&[LOGGED_OUT, REPLACED, BANNED]));
    static SET: LazyLock<Option<RegexSet>> = LazyLock::new(|| compiled(&TO_WHATSAPP));
    let is_match = |set: &Option<RegexSet>| set.as_ref().is_some_and(|set| set.is_match(line));
    let shape = RecordShape::default();
    is_match(&SET)
        && is_certain(line, &shape)
        && (is_match(&ENDS) || reason(line, &shape) != CloseReason::default())
}

#[cfg(test)]
mod tests;

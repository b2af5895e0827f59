//! Why a connection ended, from the bot's own output: many bots silence the library's logger and
//! print only the reason.

use std::sync::LazyLock;

use regex::bytes::{Captures, Regex, RegexSet, RegexSetBuilder, SetMatches};

use super::shape::RecordShape;
use super::shipped::{conflict, prefix, source_code, stream_error};
use super::words::{ANOTHER_PROGRAM, expression};

/// What a record says about the end of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CloseReason {
    /// The login has ended.
    pub logged_out: bool,
    /// The sentence that bots print when a login has ended, mostly after the reason. Near a record
    /// with the reason it is the same event.
    pub after_the_reason: bool,
    /// Another connection with the same login replaced it.
    pub replaced: bool,
    /// The account is banned or locked.
    pub banned: bool,
    /// A conflict. The rest of the record says of which kind. If it does not, the connection was
    /// replaced, because the other kind is printed with its code.
    pub conflict: bool,
    /// Only a code of 401, with its name.
    pub bare_code: bool,
    /// The record has the code of a reason.
    pub coded: bool,
    /// The record shows a request or answer of HTTP. Its code is no reason.
    pub of_http: bool,
}

impl CloseReason {
    /// Whether the connection has ended in one of these ways.
    pub(super) fn is_close(self) -> bool {
        self.logged_out || self.replaced || self.banned || self.conflict
    }

    /// Combines two readings of one record.
    pub(super) fn or(self, other: Self) -> Self {
        let logged_out = self.logged_out || other.logged_out;
        let with_a_reason = |reason: Self| reason.logged_out && !reason.after_the_reason;
        let replaced = self.replaced || other.replaced;
        Self {
            logged_out,
            after_the_reason: logged_out && !with_a_reason(self) && !with_a_reason(other),
            replaced,
            banned: self.banned || other.banned,
            conflict: (self.conflict || other.conflict) && !logged_out && !replaced,
            coded: self.coded || other.coded,
            of_http: self.of_http || other.of_http,
            bare_code: (self.bare_code || other.bare_code) && !logged_out && !replaced,
        }
    }
}

/// Text before a disconnect reason, as Baileys and bots write it.
macro_rules! label {
    () => {
        concat!(
            r"(?:status(?:[ _]?code|[ _]?reason)?|reason(?:[ _]?code)?|c.{1,2}digo(?: d[eao] [\w\x80-\xff]{1,14})?|close[ _]?code|",
            r"\bcode|\braz.{1,2}n|\bmotivo|\bcausa|\bestado|\bkode|\balasan|errored \(conflict\)|",
            r"\bkodu?|\bsebep|\bneden|(?:كود|رمز)(?: الخطأ| السبب| الحالة)?|السبب|कोड|कारण)",
            // Not `==`, which is a comparison.
            r"(?:[^a-z0-9\n=!]{0,6}=[^a-z0-9\n=!]{0,6}|[^a-z0-9\n=!]{1,12})"
        )
    };
}

/// Words about a connection that has ended.
macro_rules! ended {
    () => {
        concat!(
            r"(?:clos(?:e|ed)|disconnect(?:ed)?|desconectad[oa]|desconectou|cerrad[oa]|fechad[oa]|",
            r"encerrad[oa]|perdid[oa]|terputus|ditutup(?: karena)?|putus|kapand\xc4\xb1|kesildi|koptu)"
        )
    };
}

/// A disconnect reason with its name before it.
const LABELLED: &str = concat!(label!(), r"(4\d\d|5\d\d)\b");

/// A disconnect reason without a name, recognized by its position.
const PLACED: &str = concat!(
    r"\((401|402|403|406|440|515|408|428|500|503)\)|^[^a-z0-9\n#]{0,20}(401|440)(?:[:,]| \W{0,4}(?:conexi.{1,3}n|conex.{1,3}o|",
    r"connection|sesi.{1,3}n|sess.{1,3}o|session|unauthorized|logged|device|dispositivo|koneksi|whatsapp|stream|conflict)\b)|",
    r"(?:^[^a-z\n]{0,60}(?:\[[^\]\n]{1,60}\][^a-z\n\[]{0,6}){0,4}|",
    r"\b(?:session|sess.{1,3}o|sesi.{1,3}n|client|instance|connection)\W{1,3}[#\w@.:-]{1,60}\W{1,3}|",
    r"\b(?:connection|conex.{1,4}|koneksi|ba\xc4\x9flant\xc4\xb1|whatsapp|bot)\W{1,3}(?:update\W{1,3})?)(?:is |was |foi |fue |ha sido |close )?",
    ended!(),
    r"[^a-z0-9\n]{1,4}(401|402|403|406|440)\b|",
    r"\bwhatsapp (?:desconectado|disconnected)[^\n]{1,40}\b(401|403|440)\b|",
    r"\bconnection failure\W{1,3}(401|402|403|406)\b|",
    r"\bwhatsapp (?:returned|respondi.{1,2}|devolvi.{1,2}|retornou) (401|402|403|406|440)\b"
);

/// A bot that does not reconnect, as most do after this reason only.
macro_rules! no_reconnect {
    () => {
        concat!(
            r#"(?:(?:should|will|can)?[ _]?reconnect(?:ing)?|reconectando|reconectar|menghubungkan (?:kembali|ulang))["']?"#,
            r"(?:\W{1,5}false\b|\s?[:=]\s?no\b)"
        )
    };
}

/// A sentence about a login that was ended on a phone.
macro_rules! on_a_phone {
    () => {
        concat!(
            r"[^\n]{0,30}\b(?:from|desde|pelo|no|en|dari|melalui) (?:the |your |el |la |tu |su |seu |o )?",
            r"(?:phone|mobile|tel.{1,2}fono|celular|m.{1,2}vil|hp)\b"
        )
    };
}

/// A key and its value in the event of a connection that has ended, and in the headers of HTTP.
macro_rules! closed_connection {
    () => {
        r#"connection["']?\s?:\s?["']close["']"#
    };
}
pub(super) use closed_connection;

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
    NoReconnect,
    Closed,
    OnPurpose,
    OtherReason,
    ConnectionUpdate,
    OfAPhone,
    RemovedWord,
    Boom,
    Ending,
    CloseEvent,
    OfAServer,
    BareCode,
    ClosedConnection,
    OfHttp,
    OfTheEnd,
}

/// In the order of [`Is`].
const SIGNS: [&str; 32] = [
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
        r"isboom|disconnect|desconect|stream errored|connection (?:closed?|lost|errored|failure)|connection[ .]update|",
        r"\bse(?:si|ss)[^\n]{0,60}\b440\b|sesi.{1,3}n se cerr|se cerr.{1,2} la sesi|\bsesi tidak valid|",
        r"conex|koneksi|sambungan|ba\xc4\x9flant|oturum|الاتصال|الجلسة|कनेक्शन|limpiando sesi|clearing session|logged ?out|\bclosed?\b|baileys|whatsapp|conflict|reconnect|",
        // Only the code.
        r"\A[^a-z0-9]{0,10}status(?:_?code|_?reason)?\W{1,4}(?:401|440)\W{0,4}\z|intentional logout"
    ),
    // Where the words for a login that has ended are about a connection.
    concat!(
        r"isboom|disconnect|desconect|stream errored|connection (?:closed?|lost|update|errored|state)|",
        r"conex|koneksi|\bclosed?\b|baileys|whatsapp|conflict|reconnect|evolution|\bqr\b|",
        r"(?:status|reason|raz.{1,2}n|motivo|alasan|state|estado)\W{1,6}(?:is)?logged_?out|\b401\b|",
        prefix!(),
        r"logged_?out\W{0,8}\z"
    ),
    r"whatsapp|baileys|\bwa\b|stream errored|disconnectreason|lastdisconnect|isboom|evolution api|\bwaha\b|loggedout|connection\.update",
    r"axios|https?://|request failed|\b(?:get|post|put|patch|delete) /|not-authorized|http/[12]",
    ANOTHER_PROGRAM,
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
    no_reconnect!(),
    concat!(
        r"\bconnection\W{1,3}(?:[#\w@.:-]{1,60}\W{1,3})?(?:closed?|lost)\b|\bdisconnected\b|conexi.{1,3}n (?:cerrada|perdida)|",
        r"conex.{1,3}o (?:fechada|perdida|encerrada)|\bdesconectad[oa]\b|koneksi (?:terputus|ditutup)|sambungan ditutup|stream errored"
    ),
    concat!(
        r#"(?:manual|manually|intentional|requested|graceful)["']?\W{1,4}true|\bintentional(?:ly)? (?:clos|disconn|stop)|"#,
        r"shut(?:ting)?[ -]?down|\bsig(?:term|int)\b|\bby (?:the )?(?:user|admin|operator)\b"
    ),
    concat!(
        r"timed ?out|connection ?lost|restart ?required|bad ?session|service ?unavailable|unavailable ?service|",
        r"multi ?device|qr refs|max(?:imum)? |attempts|forbidden|banned"
    ),
    r#"^[ \t]{2,}(?:event|"event")\s?: ["']connection\.update["']|[{,]"event":"connection\.update""#,
    concat!(
        prefix!(),
        r"(?:[^\s]{1,14} ){0,4}(?:",
        r"(?:session|sesi.{1,3}n|sess.{1,3}o|sesi)\b[^\n]{0,30}(?:closed?|cerrad[oa]|cerr.{1,2}|encerrad[oa])",
        on_a_phone!(),
        r"|(?:logged out|logout|deslogad[oa]|desconectad[oa]|desvinculad[oa]|disconnected)",
        on_a_phone!(),
        r"|logged[ _]?out (?:from|of) (?:whatsapp|wa)\b|cerrado la sesi.{1,3}n de whatsapp|",
        r"sesi.{1,3}n de whatsapp (?:fue |ha sido )?cerrada|usu.{1,2}rio deslogado\W{1,3}(?:gere|escanei)|",
        r"(?:session|sesi.{1,3}n|sess.{1,3}o|sesi) (?:has |ha |telah |foi )?(?:expired|expirad[oa]|expirou|caducad[oa]|berakhir|kedaluwarsa)",
        r"[^\n]{0,60}(?:\bqr\b|scan|escane|pindai|re-?pair|\b401\b)",
        r")"
    ),
    "device_removed",
    BOOM,
    ENDING,
    CLOSE_EVENT,
    r"websocket error \(",
    concat!(prefix!(), label!(), r"401\W{0,4}\z"),
    concat!(r"\b", closed_connection!()),
    OF_HTTP,
    // What only the end of the library's connection shows, also beside the headers of an error, or
    // of the request in which a bot logs it.
    concat!(
        r"\blastdisconnect\b|\bdisconnectreason\b|stream errored|stream:error|",
        r"\b(?:whatsapp|baileys|wa) (?:connection |session )?(?:closed|lost|disconnected)\b|",
        // Not the next field of a record.
        r#"\bconnection closed[^\w"'\\]{1,4}(?:reason|status ?code|code)\W{1,4}4\d\d\b"#
    ),
];

/// An error of the library. Each of its errors is one, also those that end no connection.
pub(super) const BOOM: &str = r"\bisboom\b";

/// The messages of the library's errors that end a connection.
pub(super) const ENDING: &str = concat!(
    r"stream errored|connection (?:failure|closed|lost|terminated|was lost)|qr refs attempts|intentional logout|",
    r"\btimed out\b|restart required|connection ?replaced|\blogged ?out\b|multi-?device mismatch"
);

/// What shows a request or an answer of HTTP, as Node, its clients and loggers print it: headers
/// (those of an error of the library are empty), and names that only these objects have.
pub(super) const OF_HTTP: &str = concat!(
    r#"headers?[\\"')\]]{0,4}\s?:\s?(?:(?:[\w.]{1,30} |\[[^\]\n]{1,40}\] ?){0,3}\{\s{0,80}[^\s}]|\[(?:object|\w{0,10}headers)\b)|"#,
    r#"["'](?:content-(?:type|length|encoding)|transfer-encoding|keep-alive|user-agent|accept-encoding|cache-control|"#,
    r#"set-cookie|www-authenticate|x-powered-by)\\?["']\s?:|"#,
    r"\b(?:incomingmessage|serverresponse|clientrequest|httpparser|rawheaders|",
    r"bodyreadable|supportsbyob|httperror|statuscodeerror|responsestatuscodeerror)\b"
);

/// The event in which the library says that a connection has ended.
pub(super) const CLOSE_EVENT: &str = concat!(
    r#"\blastdisconnect\b|\bstate["']?\s?:\s?["']close["']|\bconnection[. ]update\b|"#,
    r"\bconnection clos|desconect|disconnect|conexi.{1,3}n cerr|conex.{1,3}o (?:fech|encerr)|koneksi (?:terputus|ditutup)"
);

/// The sentence that a bot prints when its login has ended, mostly after the reason. Only tags are
/// before it, and what follows is not the name of a user of the bot's own pages.
const AFTERWARDS: &str = concat!(
    prefix!(),
    r"(?:\[?logged out(?:\W{0,8}\z|: ?true\b|\W{1,6}(?:clear|clean|delet|remov|wip|reset|restart|generat|",
    r"initiali|please|re-?scan|scan|re-?auth|re-?link|re-?pair|pair|new qr|qr|session|sess.{1,2}o|sesi|auth|creds|",
    r"credential|manual|need|requir|stop|exit|not reconnect|no reconnect|dari|setting)",
    r")|\[?logged out detected\b)|",
    // A tag that says what is logged out; a name may follow.
    r"\A[^a-z\n\[]{0,60}\[(?:baileys|whatsapp|wa|wa-?bot|session|connection)[^\]\n]{0,40}\]\W{1,6}logged out\b|",
    r"\binstance \S{1,100} - logout\b|\blogout detect(?:ed|ad[oa])\b|\b(?:not reconnecting|(?:will not|won.t) reconnect)\W{1,4}logged[ _]?out\b|",
    r"(?:clos(?:e|ed)|disconnected|desconectad[oa](?: permanentemente)?|cerrad[oa]|fechad[oa]|encerrad[oa]|terputus|ditutup)\W{1,4}",
    r"(?:reason\W{1,3}|via )?(?:logout|logged out)\b|",
    // With a name.
    prefix!(),
    r"(?:(?:whatsapp|wa) )?(?:session|sess.{1,3}o|sesi.{1,3}n|client|instance|inst.{1,2}ncia|device|bot)\W{1,3}[\w@.:+-]{1,60}\W{1,3}",
    r"(?:is |was |has been |got |foi |fue )?(?:logged[ _]?out|deslogad[oa]|desconectad[oa] permanentemente)\b|",
    // Without a name.
    r"\A[^a-z\n]{0,60}",
    no_reconnect!(),
    r"\W{0,4}\z"
);

pub(super) fn compiled(sources: &[&str]) -> Option<RegexSet> {
    RegexSetBuilder::new(sources)
        .case_insensitive(true)
        .multi_line(true)
        .unicode(false)
        .build()
        .ok()
}

/// The disconnect reason in a record: the first one with a name, or else the only one in the
/// position of a reason.
fn code(record: &[u8]) -> Option<u16> {
    static NAMED: LazyLock<Option<Regex>> = LazyLock::new(|| expression(LABELLED));
    static BARE: LazyLock<Option<Regex>> = LazyLock::new(|| expression(PLACED));
    let number = |found: &Captures<'_>| {
        let digits = found.iter().skip(1).flatten().next()?;
        let code = std::str::from_utf8(digits.as_bytes()).ok()?.parse().ok()?;
        (!is_amount(record.get(digits.end()..)?)).then_some(code)
    };
    if let Some(code) = NAMED
        .as_ref()?
        .captures_iter(record)
        .find_map(|found| number(&found))
    {
        return Some(code);
    }
    let mut codes = BARE
        .as_ref()?
        .captures_iter(record)
        .filter_map(|found| number(&found));
    let first = codes.next()?;
    codes.all(|other| other == first).then_some(first)
}

/// Whether the text after a number shows that it counts things (`440 users`).
fn is_amount(rest: &[u8]) -> bool {
    let Some(rest) = rest.strip_prefix(b" ") else {
        return false;
    };
    let word: Vec<u8> = rest
        .iter()
        .take_while(|byte| byte.is_ascii_alphabetic())
        .map(u8::to_ascii_lowercase)
        .collect();
    let no_things: [&[u8]; 6] = [b"is", b"was", b"this", b"means", b"status", b"access"];
    word.ends_with(b"s") && !no_things.contains(&&word[..])
}

/// For a complete record.
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
    let of_the_end = is(Is::OfTheEnd) || is(Is::ConnectionUpdate) || is(Is::Boom) && is(Is::Ending);
    let of_http = (is(Is::OfHttp) || shape.of_http) && !of_the_end;
    // Evolution API prints its server beside the reason.
    let of_another = of_another && !is(Is::ConnectionUpdate) || of_http;
    // Headers of HTTP have this key and value too.
    let of_an_update = is(Is::ClosedConnection) && !is(Is::OfHttp);
    // Errors of queries, groups and media, and an answer of a proxy.
    let of_another_error = is(Is::OfAServer)
        || is(Is::Boom) && !is(Is::Ending) && !is(Is::CloseEvent) && !of_an_update
        || shape.is_of_something_else();
    let of_another = of_another || of_another_error;
    let reported = is(Is::OfAConnection) && !of_another;
    let code = code(record);
    let replaced_node = is(Is::ReplacedNode);
    let ended = is(Is::LoginEnded) && !of_another;
    let stays_closed = is(Is::NoReconnect)
        && is(Is::Closed)
        && !of_another
        && !is(Is::OnPurpose)
        && !replaced_node
        && (code == Some(401) || code.is_none() && !is(Is::OtherReason));
    let with_a_reason = is(Is::RemovedNode)
        || is(Is::RemovedWord)
        || stays_closed
        || is(Is::LoggedOutTrue) && ended
        || is(Is::LoggedOut)
            && ended
            && !is(Is::NotLoggedOut)
            && code.is_none_or(|code| code == 401)
        || code == Some(401) && reported && !replaced_node
        || is(Is::Node401) && !replaced_node;
    let after_the_reason = !with_a_reason
        && (is(Is::Afterwards) && !is(Is::NotLoggedOut) || is(Is::OfAPhone))
        && !of_another
        && !replaced_node;
    let logged_out = with_a_reason || after_the_reason;
    let replaced = replaced_node || code == Some(440) && reported;
    CloseReason {
        logged_out,
        after_the_reason,
        replaced,
        banned: (matches!(code, Some(402 | 403 | 406)) || is(Is::Forbidden)) && reported,
        conflict: is(Is::Conflict) && !logged_out && !replaced,
        bare_code: is(Is::BareCode) && !logged_out,
        coded: code.is_some(),
        of_http,
    }
}

#[cfg(test)]
mod tests;

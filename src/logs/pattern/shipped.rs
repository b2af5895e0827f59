//! The patterns that are shipped, as data. A new one goes into [`SHIPPED`].

use std::borrow::Cow;

use super::definition::{Pattern, Severity};

const fn pattern(
    name: &'static str,
    severity: Severity,
    regex: &'static str,
    exclude: Option<&'static str>,
    help: &'static str,
    printed_by: &'static str,
) -> Pattern {
    const fn own(text: Option<&'static str>) -> Option<Cow<'static, str>> {
        match text {
            Some(text) => Some(Cow::Borrowed(text)),
            None => None,
        }
    }
    Pattern {
        name: Cow::Borrowed(name),
        regex: Cow::Borrowed(regex),
        exclude: own(exclude),
        severity,
        help: Cow::Borrowed(help),
        printed_by: Cow::Borrowed(printed_by),
    }
}

/// WhatsApp's error node with this code, as JSON, as `util.inspect` prints it, or as XML, on one or
/// several lines, with its keys in any order.
macro_rules! stream_error {
    ($code:literal) => {
        concat!(
            r"stream:error\W{1,80}(?:attrs\W{1,80})?code\W{1,8}",
            $code,
            r"\b|attrs\W{1,80}code\W{1,8}",
            $code,
            r"\b[^\x00]{0,400}?tag\W{1,8}stream:error"
        )
    };
}
pub(super) use stream_error;

/// The node `conflict` of this type, in the same forms.
macro_rules! conflict {
    ($kind:literal) => {
        concat!(
            r"conflict\W{1,80}(?:attrs\W{1,80})?type\W{1,8}",
            $kind,
            r"\b|attrs\W{1,80}type\W{1,8}",
            $kind,
            r"\W{1,80}tag\W{1,8}conflict\b"
        )
    };
}
pub(super) use conflict;

/// Text before a bot's report: a time, tags, symbols and a level.
macro_rules! prefix {
    () => {
        concat!(
            r"\A(?:\[[^\]\n]{1,60}\]|[^a-z\n\[]|(?:info|warn|warning|error|fatal|debug|log|notice|am|pm|utc|gmt|",
            r"mon|tue|wed|thu|fri|sat|sun|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)\b|v\d|",
            r"(?:wa|whatsapp|baileys)(?: web)?\s?[:|-]\s)*"
        )
    };
}
pub(super) use prefix;

/// WhatsApp's word in the node, and what bots print instead in English, Spanish, Portuguese and
/// Indonesian. A disconnect reason of 401 counts as well: `close.rs`.
pub(super) const LOGGED_OUT: &str = concat!(
    r"device_removed|",
    r"\b(?:device|you are|you have been|whatsapp(?: session)?|session|bot|instance)\W{1,3}(?:is |was |has been |got )?logged out\b|",
    r"logged out\W{1,4}(?:please|scan|re-?scan|re-?link|re-?pair)|logged out dari hp\b|",
    r"sesi.{1,3}n (?:ha sido |fue )?(?:cerrada|invalidada)|dispositivo (?:foi |fue |ha sido )?(?:desconectado|desvinculado|removido|eliminado)|dispositivo cerrado\W{1,3}(?:elim|por favor)|",
    r"sesi.{1,3}n inv.{1,2}lida\W{1,4}(?:por favor )?(?:borr|elimin|vuelv|escane)|",
    r"conexi.{1,3}n cerrada\W{1,4}(?:por favor )?(?:elimin|borr)|desconectado permanentemente|",
    r"(?:has|ha|fuiste|fue|foi)(?: sido)? desconectad[oa] d[eo]l? whatsapp|\bdeslogad[oa] d[eo] whatsapp|\bbot (?:foi )?deslogado\b|",
    r"\baparelho (?:foi )?(?:desconectado|desvinculado|removido)|",
    r"sess.{1,3}o (?:foi )?(?:encerrada|desconectada|invalidada)|",
    r"\b(?:session|sesi|perangkat|device|akun|bot)\W(?:anda )?(?:telah |sudah |ter)?(?:logout|log out|dikeluarkan)\b|",
    r"\bperangkat (?:anda )?(?:telah |sudah |ter)?keluar\W{1,4}(?:sila|harap|tolong|mohon|hapus|pindai|scan|logged|dari sesi|dari whatsapp)|",
    r"\bsesi (?:telah |sudah )?log keluar\b|\bakun (?:anda )?(?:telah |sudah )?keluar dari (?:whatsapp|wa)\b|closed connection, reason invalid_session\b|voc.{1,2} foi desconectad[oa]\W{1,4}(?:escane|leia|gere)|",
    r#""status":"failed"[^\n]{0,200}"reason":"logged[ _]?out|"#,
    // Turkish.
    r"\boturum(?:u|unuz)? (?:kapat.{1,2}ld|kapand|sonland.{1,2}r.{1,2}ld)|\bcihaz (?:ba.{1,2}lant.{1,2}s.{1,2} )?kald.{1,2}r.{1,2}ld"
);

/// What bots print about an account that WhatsApp has banned or locked. A disconnect reason of 402,
/// 403 or 406 counts as well: `close.rs`.
pub(super) const BANNED: &str = concat!(
    r"\b(?:account|number|cuenta|conta|n.{1,2}mero|nomor|akun)\W{1,3}(?:[\w+*-]{1,20}\W)?(?:is |was |has been |got |fue |ha sido |foi |telah |sudah |di ?)?",
    r"(?:banned|banid[oa]|banead[oa]|suspend(?:ed|id[oa])|bloquead[oa]|blokir|diblokir|dibanned|terblokir)",
    r"(?: temporarily| permanently| temporalmente| permanentemente)?\W{1,3}(?:by |por |pelo |pela |oleh |from |on |do |de |del )?(?:whatsapp\b|wa\b|meta\b|\(?403\b)|",
    r"\bwhatsapp (?:has |ha )?(?:banned|bloqueou|baniu|bane.{1,2}|suspendi.{1,2}) (?:this|the|your|a|o|el|la|este|esta|tu|su|seu|sua) (?:account|number|n.{1,2}mero|cuenta|conta)|",
    r"\bwhatsapp (?:account|number) (?:is |was |has been )?(?:temporarily |permanently )?(?:banned|suspended)|",
    r"^(?:\[[^\]\n]{1,60}\]|[^a-z\n\[]){0,40}(?:(?:your|this|the|bot|tu|su|el|la|seu|sua|o|a) )?(?:account|number|cuenta|conta|n.{1,2}mero|nomor|akun) (?:is |was |has been |fue |ha sido |foi |telah |sudah |terkena )?",
    r"(?:banned|banid[oa]|banead[oa]|diblokir|dibanned)\W{0,4}$|\bhesa(?:p|b.{1,2}n.{1,2}z) (?:yasakland|engellendi)"
);

/// What WhatsApp's node and bots say when another process connected with the same login. A
/// disconnect reason of 440 counts as well: `close.rs`.
pub(super) const REPLACED: &str = concat!(
    r"connection ?replaced\b|another (?:new )?session (?:is |was |has been )?opened|\bsession conflict\b|",
    r"\bconflict\W{1,4}replaced\b|sesi.{1,3}n tomada por otra|conexi.{1,3}n (?:fue |ha sido )?reemplazada|otra (?:nueva )?sesi.{1,3}n (?:fue )?abierta|",
    r"conex.{1,3}o (?:foi )?substitu.{1,3}da|outra (?:nova )?sess.{1,3}o (?:foi )?aberta|",
    r"koneksi (?:telah |ter)?(?:di)?(?:ganti|timpa|replace)|sesi baru (?:telah )?(?:ter|di)buka|",
    r"closed connection, reason replaced\b|session opened elsewhere|conflict: another (?:client|device|session) connected|",
    r"sesi.{1,3}n (?:fue |ha sido )?reemplazada por otr|sess.{1,3}o (?:foi )?substitu.{1,3}da por outr|conex.{1,3}o aberta em outro lugar|",
    conflict!("replaced")
);

/// A source line that compares a reason, as Node prints it above a stack trace.
macro_rules! source_code {
    () => {
        r"[!=]==?\s{0,3}(?:\w{1,30}\.){0,3}(?:loggedout|connectionreplaced)\b"
    };
}
pub(super) use source_code;

/// Source code, and a person whose session on the bot's own web page ended.
const OTHER_SESSION: &str = concat!(
    source_code!(),
    r"|\bkullan.{1,2}c.{1,2} |\bm.{1,2}.{1,2}teri ",
    r"|sesi.{1,3}n cerrada (?:correctamente|exitosamente|con .{1,2}xito|desde (?:ip\b|el auth|la web|el panel|el navegador))|",
    r"(?:sesi.{1,3}n cerrada|sess.{1,3}o encerrada) (?:p[oe][rl]o?|para|del?|d[oa]|com|con) (?:inacti|inati|falta de|tiempo|tempo|el cliente|la cliente|o cliente|cliente|usuario|usu.{1,2}rio|",
    r"el usuario|o usu.{1,2}rio|admin|agente|el agente|o agente|operador|asesor|atendente|chat|soporte|suporte|atenci|atendimento)|(?:due to|for|after) inactivity|",
    r"(?:sesi.{1,3}n cerrada|sess.{1,3}o encerrada)\b[^\n]{0,80}\b(?:inactividad|inatividade)\b|",
    r"karena tidak aktif|\b(?:impresora|impressora|printer)\b|dispositivo (?:removido|eliminado) (?:d[oe]l?|da) (?:cadastro|sistema|registro|inventario|panel|painel)|",
    r"sess.{1,3}o encerrada com sucesso|(?:session|device|instance) logged out success|dispositivo desconectado com sucesso"
);

/// Other kinds of connections that are replaced, source code, and the list of all reasons.
const OTHER_CONNECTION: &str = concat!(
    source_code!(),
    r#"|^\s{0,8}["']?connectionreplaced["']?: 440,?\s{0,3}$|connectionlost\W{1,4}408\b|connectionreplaced (?:is|es|=)\W{1,3}440\b|"#,
    r"\b(?:\w{0,10}socket|wss?|redis|mysql|mariadb|postgres\w*|mongo\w*|amqp|mqtt|sse|db|database|pool|peer|client|tcp|http)\W{1,4}connection ?replaced|",
    r"connection ?replaced\W{1,4}(?:browser|tab)\b"
);

/// The shipped signs, from the output of libsignal, Baileys 6.7 to 7.0.0-rc14, the version after
/// it, its Rust engine, and bots. libsignal writes to stderr and the logger (pino) to stdout, and
/// no event is in both: for a message in a known session, libsignal gives the reason and pino only
/// says that no session matched; for a first message only pino gives it.
pub const SHIPPED: &[Pattern] = {
    use Severity::{Critical, Info, Warning};
    &[
        pattern(
            "closing_stale_open_session",
            Warning,
            "closing stale open session",
            None,
            "libsignal before 2025-11-20 threw an open session away to begin a new one.",
            "6",
        ),
        pattern(
            "closing_open_session",
            Info,
            "closing open session in favor of incoming prekey bundle",
            None,
            "A contact began a new session: it had lost the old one, or could not read the bot.",
            "6, 7",
        ),
        pattern(
            "decrypted_with_closed_session",
            Warning,
            "decrypted message with closed session",
            None,
            "A message was read with a session closed before; libsignal damages the open one while it tries.",
            "6, 7",
        ),
        pattern(
            "bad_mac",
            Warning,
            r"session error: ?error: bad mac|\bmessage\W{1,6}bad mac|mac verification failed for",
            None,
            "A message could not be decrypted: the keys of the two sides differ.",
            "6, 7, Rust engine",
        ),
        pattern(
            "key_used_already",
            Warning,
            r"session error: ?messagecountererror: key used already|\bmessage\W{1,6}key used already",
            None,
            "A message came twice, or the folder was put back to an older state.",
            "6, 7",
        ),
        pattern(
            "over_2000_messages",
            Warning,
            r"session error: ?sessionerror: over 2000 messages into the future|\bmessage\W{1,6}over 2000 messages into the future",
            None,
            "More than 2,000 messages of a contact never reached this folder.",
            "6, 7",
        ),
        pattern(
            "invalid_pre_key_id",
            Warning,
            r"\bmessage\W{1,6}invalid prekey id|invalid prekey identifier",
            None,
            "A contact used a pre-key that is no longer in the folder.",
            "6, 7, Rust engine",
        ),
        pattern(
            "no_session_record",
            Warning,
            r"\bmessage\W{1,6}no session record|\bsession with \S{1,80} not found",
            None,
            "A contact wrote in a session that is no longer in the folder.",
            "6, 7, Rust engine",
        ),
        pattern(
            "no_matching_session",
            Warning,
            "no matching sessions found for message",
            None,
            "None of a contact's sessions could read a message.",
            "6, 7",
        ),
        pattern(
            "old_counter",
            Warning,
            "message with old counter",
            None,
            "A message came twice, or the folder was put back to an older state.",
            "6, 7, Rust engine",
        ),
        pattern(
            "no_sender_key",
            Warning,
            "no senderkeyrecord found for decryption|no session found to decrypt message|no sender message key found|no sender key state",
            None,
            "A group message could not be read: the sender's key is not in the folder. A retry heals it.",
            "6, 7, Rust engine",
        ),
        pattern(
            "untrusted_identity",
            Warning,
            "untrusted identity for address",
            None,
            "A contact's identity key is not the one in the folder.",
            "Rust engine",
        ),
        pattern(
            "sender_key_refused",
            Warning,
            "failed to process sender key distribution message",
            None,
            "A group member's new key could not be stored.",
            "7",
        ),
        pattern(
            "decrypt_failed",
            Warning,
            "failed to decrypt message",
            Some("with any known session"),
            "The bot could not read a message, whatever the reason.",
            "6, 7",
        ),
        pattern(
            "encrypt_failed",
            Warning,
            "failed to encrypt for recipient|all encryptions failed",
            None,
            "The bot could not encrypt a message.",
            "7 since rc14",
        ),
        pattern(
            "session_recreated",
            Warning,
            "mac error detected, forcing immediate session recreation|base key collision on retry|reg id mismatch on retry",
            None,
            "The library threw a contact's session away because its messages could not be read.",
            "7 since rc14",
        ),
        pattern(
            "retries_exhausted",
            Warning,
            "will not send message again",
            None,
            "A contact asked for a message too often; it stays unreadable there.",
            "6, 7",
        ),
        pattern(
            "waiting_for_message",
            Warning,
            r"waiting for (?:this )?message\b",
            Some(r"timed out waiting|waiting for messages?(?: ?\.\.| ?\xe2\x80\xa6)"),
            "The other side, or the bot, waits for a message that could not be read.",
            "bots, WhatsApp's screen",
        ),
        pattern(
            "query_timeout",
            Warning,
            "timed out waiting for message",
            None,
            "WhatsApp did not answer a question of the library: a network problem, no lost message.",
            "7",
        ),
        pattern(
            "device_removed",
            Critical,
            LOGGED_OUT,
            Some(OTHER_SESSION),
            "WhatsApp has ended the login: an operator must scan a QR code.",
            "6, 7, bots",
        ),
        pattern(
            "connection_replaced",
            Critical,
            REPLACED,
            Some(OTHER_CONNECTION),
            "Another process connected with the same auth folder. A conflict whose kind the log does not tell counts too: it may be a logout.",
            "6, 7, bots",
        ),
        pattern(
            "account_banned",
            Critical,
            BANNED,
            Some(r"success|com sucesso|con .{1,2}xito|berhasil|\b(?:group|grupo|grup)\b"),
            "WhatsApp has banned or locked the account (disconnect reason 402, 403 or 406).",
            "bots",
        ),
        pattern(
            "stream_errored",
            Warning,
            "stream errored out",
            None,
            "WhatsApp ended the connection with an error, whatever its code.",
            "6, 7",
        ),
        pattern(
            "stream_error_401",
            Critical,
            stream_error!("401"),
            None,
            "WhatsApp ended the connection with 401: the login is no longer valid.",
            "6, 7",
        ),
        pattern(
            "stream_error_500",
            Warning,
            stream_error!("500"),
            None,
            "WhatsApp ended the connection with 500.",
            "6, 7",
        ),
        pattern(
            "stream_error_503",
            Warning,
            stream_error!("503"),
            None,
            "WhatsApp ended the connection with 503: its service is not available.",
            "6, 7",
        ),
        pattern(
            "stream_error_515",
            Info,
            stream_error!("515"),
            None,
            "WhatsApp asked for a restart (515), as it does after pairing.",
            "6, 7",
        ),
        pattern(
            "connection_failure",
            Warning,
            r"error: connection failure|\bmessage\W{1,6}connection failure",
            None,
            "WhatsApp refused the login (Connection Failure).",
            "6, 7",
        ),
        pattern(
            "account_restricted",
            Critical,
            r"error 463: account restricted|reachout timelock restriction set",
            None,
            "WhatsApp has restricted the account: it may not write to new contacts.",
            "7 since rc14",
        ),
        pattern(
            "own_identity_changed",
            Critical,
            "self primary identity changed",
            None,
            "The account was registered anew on its phone; the bot will have to be paired again.",
            "7 since rc14",
        ),
        pattern(
            "creds_corrupt",
            Critical,
            "auth file is corrupt or unreadable",
            None,
            "A file of the auth folder cannot be read, and the bot does not start.",
            "after rc14",
        ),
        pattern(
            "keys_not_stored",
            Critical,
            r"failed to commit mutations|transaction failed, rolling back[^\x00]{0,400}?(?:enospc|edquot|erofs|eacces|eperm|eio\b|emfile|econn|etimedout|sqlite)",
            None,
            "Keys could not be stored: a full or read-only disk, a permission, or a database that is away.",
            "7",
        ),
        pattern(
            "transaction_failed",
            Warning,
            "transaction failed, rolling back",
            None,
            "A change to the keys was undone; 7.x prints it after every message that it could not decrypt.",
            "7",
        ),
        pattern(
            "pre_key_upload",
            Info,
            "uploading pre-keys",
            None,
            "The bot minted and uploaded new pre-keys.",
            "6, 7",
        ),
        pattern(
            "pre_key_upload_failed",
            Warning,
            "failed to upload pre-keys to server|failed to check/upload pre-keys during initialization",
            None,
            "WhatsApp refused new pre-keys; 7.x mints a new batch at each attempt.",
            "7",
        ),
        pattern(
            "pre_keys_low",
            Info,
            "server count low",
            None,
            "WhatsApp holds few pre-keys of the bot, so new ones are uploaded.",
            "7",
        ),
        pattern(
            "pre_key_vanished",
            Warning,
            "skipping deletion of non-existent pre-key",
            None,
            "A used pre-key had been removed by something else than the library.",
            "7 since rc14",
        ),
        pattern(
            "identity_changed",
            Info,
            "identity key changed or new contact",
            None,
            "A new contact, or one with a new phone. Again and again for one contact: the store breaks identity keys.",
            "7 since rc14",
        ),
        pattern(
            "stanza_refused",
            Warning,
            r"smax-invalid \(479\)",
            None,
            "WhatsApp refused a message: the list of the recipient's devices is old.",
            "7 since rc14",
        ),
        pattern(
            "app_state_failed",
            Warning,
            r"lthash verification failed|failed to find key .{1,80} to decode (?:mutation|patch)",
            None,
            "The state of chats (archived, muted) could not be read.",
            "6, 7",
        ),
    ]
};

/// A private key or a root key in plain text, as `console.info` and JSON print it.
pub(super) const SECRET: &str = concat!(
    r#"\b(?:privkey|rootkey|private(?:key)?)['"]?\s?:\s?"#,
    r#"(?:<buffer [0-9a-f]|uint8array\(|\{\s?['"]?type['"]?:\s?['"]buffer|['"][a-z0-9+/]{40})"#,
    r#"|\badvsecretkey['"]?\s?:\s?['"][a-z0-9+/]{8}"#,
);

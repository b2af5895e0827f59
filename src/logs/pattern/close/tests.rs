use super::super::{Hit, Patterns, RecordSigns, ScanState};
use super::*;

static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| Patterns::shipped_and(&[]).unwrap());

/// How often `device_removed` and `connection_replaced` are counted in this text, and how often in
/// a form that pages.
fn closes(text: &str) -> ((u32, u32), (u32, u32)) {
    let patterns = &*PATTERNS;
    let (mut all, mut certain) = ((0, 0), (0, 0));
    let mut sink = |_: Hit<'_>, found: &RecordSigns| {
        for sign in &found.signs {
            let name = patterns.patterns()[sign.pattern].name.as_ref();
            let add = |counts: &mut (u32, u32)| match name {
                "device_removed" => counts.0 += 1,
                "connection_replaced" => counts.1 += 1,
                _ => {}
            };
            add(&mut all);
            if sign.certain {
                add(&mut certain);
            }
        }
    };
    let mut state = ScanState::default();
    patterns.scan(text.as_bytes(), &mut state, &mut Vec::new(), &mut sink);
    patterns.flush(&mut state, &mut sink);
    (all, certain)
}

#[test]
fn what_bots_print_counts_and_is_their_own_report() {
    for text in [
        "Connection Replaced, Another New Session Opened, Please Close Current Session First",
        "[ ⚠ ] 440 Conexión reemplazada, se ha abierto otra nueva sesión.",
        "[Baileys] ⚠️ Conexão substituída (440) para 7",
        "koneksi digantikan, sesi baru terbuka",
        "reason=connectionReplaced 440",
        "status 440: session conflict",
        "statusCode: 440",
        "statusReason: 440",
        "Connection closed. Status: 440, Reason: Stream Errored (conflict)",
        "Error: Stream Errored (conflict)\n    at x (y)",
        "Conexión cerrada. Razón: 440",
        "Koneksi terputus, kode: 440",
        "Connection closed with code 440",
        "disconnect {\n  \"tag\": \"stream:error\",\n  \"attrs\": {},\n  \"content\": [\n    {\n      \"tag\": \"conflict\",\n      \"attrs\": {\n        \"type\": \"replaced\"\n      }\n    }\n  ]\n}",
    ] {
        assert_eq!(closes(text), ((0, 1), (0, 1)), "{text}");
    }
    for text in [
        "Device Logged Out, Please Scan Again And Run.",
        "Connection closed. You are logged out.",
        "[WhatsApp] Logged out. Please delete the whatsapp-auth/ folder and restart the app to re-link.",
        "closed: loggedOut (401)",
        "[ ⚠ ] 401 Sesión cerrada, elimina la carpeta y escanea nuevamente.",
        "Dispositivo desconectado, verifique novamente e execute.",
        "session telah logout, harap hapus session dan scan kembali",
        "Connection closed. Status: 401, Reason: Stream Errored (conflict)",
        "Connection closed: Stream Errored (conflict) 401",
        "Error: Stream Errored (conflict), code 401",
        "Disconnected, code=401",
        "Conexión cerrada. Razón: 401",
        "Conexión perdida, motivo: 401",
        "Desconectado. Motivo: 401",
        "Conexão fechada. Código: 401",
        "Conexão perdida (401)",
        "Koneksi terputus, alasan: 401",
        "connection closed due to  Error: Stream Errored (conflict)\n    at x (y) {\n  isBoom: true,\n  output: {\n    statusCode: 401\n  }\n} , reconnecting  false",
    ] {
        assert_eq!(closes(text), ((1, 0), (1, 0)), "{text}");
    }
}

#[test]
fn what_is_no_close_of_this_connection_does_not_count() {
    for text in [
        "websocket connection replaced (browser tab)",
        "ws: connection replaced",
        "redis connection replaced",
        "token replaced",
        r#"{"op":"edit","attrs":{"type":"replaced"},"what":"media"}"#,
        r#"Template: "type":"replaced""#,
        r#"{"statusCode":405,"loggedOut":false,"msg":"connection closed"}"#,
        "AxiosError: Request failed with status code 401",
        "GET /api/users status: 401 closed",
        r#"{"statusCode":401,"message":"Unauthorized"}"#,
        "[WhatsApp] 4401 messages",
        "user logged out of the panel",
        "shouldReconnect: isLoggedOut ? false : true",
        "[18:14:04.021] INFO (7): connection errored\n    trace: \"Error: Stream Errored (conflict)\\n    at x\"",
        "Error: Stream Errored (restart required)",
        "order 440 of 401",
        "/app/index.js:50\n        const again = statusCode !== DisconnectReason.loggedOut\n                       ^\n\nTypeError: x",
        "        if (reason === DisconnectReason.connectionReplaced) { warn() }",
        "        if (reason === DisconnectReason.loggedOut) { log(`Device Logged Out, Please Scan Again`) }",
        "DisconnectReason { connectionClosed: 428, connectionLost: 408, connectionReplaced: 440, timedOut: 408, loggedOut: 401, badSession: 500 }",
        "{\n  connectionClosed: 428,\n  connectionLost: 408,\n  connectionReplaced: 440,\n  timedOut: 408,\n  loggedOut: 401,\n  badSession: 500\n}",
    ] {
        assert_eq!(closes(text), ((0, 0), (0, 0)), "{text}");
    }
}

/// A bot prints the messages it receives.
#[test]
fn the_text_of_a_chat_is_no_report() {
    for text in [
        "MSG: 34600000000@s.whatsapp.net my other bot said device_removed yesterday",
        "📥 {\"conversation\":\"Connection replaced??\",\"sender\":\"Ana\"}",
        "[CMD] Luis: !search connectionReplaced",
        "[28/11 20:00] Ana: Connection Replaced, Another New Session Opened",
        "Body: device_removed",
    ] {
        let (all, certain) = closes(text);
        assert_eq!(all.0 + all.1, 1, "{text}");
        assert_eq!(certain, (0, 0), "{text}");
    }
}

#[test]
fn the_librarys_own_record_is_a_report() {
    let node = |kind: &str| {
        format!(
            r#"{{"tag":"stream:error","attrs":{{}},"content":[{{"tag":"conflict","attrs":{{"type":"{kind}"}}}}]}}"#
        )
    };
    for (kind, counts) in [("device_removed", (1, 0)), ("replaced", (0, 1))] {
        for text in [
            format!(
                r#"{{"level":50,"time":"t","node":{},"msg":"stream errored out"}}"#,
                node(kind)
            ),
            format!(
                r#"[18:14:04.021] ERROR (7): stream errored out {{"node":{}}}"#,
                node(kind)
            ),
            format!(
                "[18:14:04.021] ERROR (N/7): session:a - stream errored out \nreqId=3 node={}",
                node(kind)
            ),
        ] {
            assert_eq!(closes(&text), (counts, counts), "{text}");
        }
    }
}

#[test]
fn the_expressions_compile() {
    assert!(compiled(&SIGNS).is_some());
    assert!(expression(LABELLED).is_some() && expression(PLACED).is_some());
}

/// Counts of each pattern about an end: logged out, replaced, banned.
fn ends(text: &str) -> [u32; 3] {
    let patterns = &*PATTERNS;
    let mut counts = [0; 3];
    let mut sink = |_: Hit<'_>, found: &RecordSigns| {
        for sign in &found.signs {
            match patterns.patterns()[sign.pattern].name.as_ref() {
                "device_removed" => counts[0] += 1,
                "connection_replaced" => counts[1] += 1,
                "account_banned" => counts[2] += 1,
                _ => {}
            }
        }
    };
    let mut state = ScanState::default();
    patterns.scan(text.as_bytes(), &mut state, &mut Vec::new(), &mut sink);
    patterns.flush(&mut state, &mut sink);
    counts
}

/// What real bots print when their login has ended, in four languages.
#[test]
fn a_login_that_has_ended_counts_in_every_wording() {
    for text in [
        "Logged out: true",
        "Connection closed. Code: 401 | Logged out: true",
        "Logged Out",
        "🚪 Logged Out",
        "[LOGGED OUT]",
        "[Logged out, clearing state....]",
        "❌ Logged out. Clearing auth and restarting...",
        "❌ Logged out - session required",
        "❌ Logged out! Deleting session and exiting...",
        "Logged out, clearing session and restarting...",
        "warn: [sales:client] Logged out",
        "[Baileys] Logged out",
        "[baileys] Logged out — re-scan QR to reconnect",
        "[Baileys] Logged out: sess-12",
        "[Baileys] Logged out for acme. Clearing auth.",
        "[BAILEYS] Logged out. Manual reconnect required.",
        "[BAILEYS] Logged out detected, reinitializing with cleared session...",
        "2026-11-28T20:00:00Z [wa] Logged out",
        "🔒 Device Logged Out",
        "⚠️ WhatsApp logged out.",
        "LoggedOut!",
        "Alasan: Logged Out dari HP",
        "closed: 401 Unauthorized",
        "[2026-11-28T20:00:00.000Z] Closed: 401",
        "❌ [auth_info_baileys] Closed: 401 - Unauthorized",
        "Closed. Code: 401",
        "Closed with code: 401",
        "[Baileys] Closed sess-12 — code: 401",
        "[BAILEYS] empresa 7 desconectou (code 401)",
        "[SESSION] Connection closed — code: 401",
        "❌ WhatsApp connection closed: 401",
        "Connection closed 401",
        "WhatsApp desconectado u-12 401",
        "disconnected with reason: loggedOut",
        "❌ Conexão fechada. Motivo: 401. Reconectando: false",
        "⚠️ [ACME] Conexão encerrada: 401",
        "Conexão fechada (logout). A sessão pode ser inválida.",
        "Bot deslogado!",
        "❌ Bot deslogado no dispositivo loja. Reinicie manualmente.",
        "🔒 Bot deslogado. Escaneie o QR Code novamente.",
        "Conexão: #3 - Account: #7 | Deslogada do WhatsApp.",
        "Você foi desconectado do WhatsApp. Escaneie o QR code novamente",
        "❌ Você foi desconectado do WhatsApp.",
        "O bot foi desconectado do WhatsApp, irei apagar e gerar um qr code novo.",
        "sessão encerrada no celular",
        "Aparelho desconectado. Leia o QR code.",
        "❌ Sesión inválida. Borra la carpeta y vuelve a vincular.",
        "[ ⚠ ] Conexion cerrada, por favor elimina la carpeta MysticSession y escanea nuevamente.",
        "Borre la carpeta baileys, Bot desconectado Permanentemente",
        "Sesión cerrada desde el teléfono. Borrando sesión guardada...",
        "[bot] Sesión cerrada (LOGOUT). Re-vincular",
        "⚠️ Bot desconectado (razón: 401). Reintentando...",
        "Has sido desconectado de WhatsApp",
        "Perangkat Keluar, Silakan Pindai Ulang",
        "Perangkat Keluar. Hapus folder \"session\" dan jalankan ulang.",
        "→ Perangkat keluar dari sesi. Pairing ulang diperlukan.",
        "File sesi rusak/perangkat keluar. Silakan hapus file sesi dan pindai ulang.",
        "Perangkat logout. Silakan scan ulang.",
        "Sesi logout. Hapus folder sessions/creds.json lalu pairing ulang.",
        "Koneksi ditutup karena 401",
        "❌ Koneksi close: loggedOut (401) - Connection Failure",
        "[Evolution API]  [salon]  v2.2.2  163   -  Thu Nov 26 2026 22:36:12     WARN   [WAMonitoringService]  [string]  Instance \"salon\" - LOGOUT",
        r#"{"level":"warn","msg":"Instance \"salon\" - LOGOUT"}"#,
    ] {
        assert_eq!(ends(text), [1, 0, 0], "{text}");
    }
}

#[test]
fn a_banned_account_counts() {
    for text in [
        "Connection closed. Status: 403, Reason: Connection Failure",
        "Closed. Code: 403",
        "❌ Koneksi close: forbidden (403) - Connection Failure",
        "Conexão fechada. Motivo: 403",
        "[Baileys] Connection closed — reason: forbidden",
        "connection closed { statusCode: 406 }",
        "🚫 Account banned",
        "Your account has been banned by WhatsApp",
        "Número banido pelo WhatsApp (403)",
        "Tu número ha sido bloqueado por WhatsApp",
        "Nomor telah diblokir oleh WhatsApp",
        "WhatsApp account is temporarily banned",
        "Seu número foi banido",
        "Tu número fue baneado",
    ] {
        assert_eq!(ends(text), [0, 0, 1], "{text}");
    }
}

/// Other parts of a bot, other services, source code and comparisons.
#[test]
fn what_only_resembles_an_end_does_not_count() {
    for text in [
        "statusCode: 408, loggedOut is 401",
        "loggedOut is 401, statusCode: 408",
        "Connection closed. statusCode: 408 (loggedOut = 401)",
        "statusCode(515) !== DisconnectReason.loggedOut(401)",
        "Connection closed: 515 !== loggedOut",
        "shouldReconnect = 428 !== DisconnectReason.loggedOut",
        "statusCode: 408, connectionReplaced is 440",
        "code 428 !== connectionReplaced (440)",
        "Desconectado del CRM. Estado: 401",
        "[CRM] Desconectado. Motivo: 401",
        "Desconectado de la base de datos. Código: 401",
        "Conexión con Chatwoot cerrada. Código: 401",
        "Disconnected from the ticket server of Acme, code=401",
        "Telegram bot disconnected: 401: Unauthorized",
        "Discord gateway closed, code: 401",
        "Connection to api.example.org closed: 401",
        "OpenAI request closed with status 401",
        "API status: 401, connection closed",
        "[API] Connection closed. Status: 403",
        "Conexão com o banco fechada. Motivo: 401",
        "Koneksi ke database terputus, kode: 401",
        "Ticket closed: 401",
        "Fails closed: 401 session-missing",
        "is fail-closed: 401",
        "if (lastDisconnect?.error?.output?.statusCode === 401) { console.log(\"closed\") }",
        "const gone = statusCode == 401 || statusCode == 403 // connection closed",
        "[Auth] Logged out",
        "Logged out user 12",
        "[AuthService] Logged out: user 12",
        "Logged out successfully",
        "user logged out: true",
        "the User is logged out: true",
        "socket.emit userLoggedOut 7",
        r#"{"event":"user.loggedOut","id":7}"#,
        r#"{"success":true,"loggedOut":true}"#,
        "chatbot deslogado",
        "Usuário deslogado!",
        "O usuário foi desconectado do sistema",
        "Sesión cerrada exitosamente",
        "Sesión cerrada desde IP: 10.0.0.1",
        "Conexión cerrada, reconectando...",
        "[ ⚠ ] Sesión incorrecta, por favor elimina la carpeta x y escanea nuevamente.",
        "Perangkat keluaran: printer",
        "semua perangkat keluar atau Room ID salah",
        "Instance \"salon\" - REMOVED",
        "✅ Número banido com sucesso!",
        "User banned from the group",
        "Account banned until 12/12/2026",
        "Forbidden: 403 GET /admin",
        "AxiosError: Request failed with status code 403",
    ] {
        assert_eq!(ends(text), [0, 0, 0], "{text}");
    }
}

/// These page even if it is unknown whether the bot is connected.
#[test]
fn a_report_that_other_programs_write_as_well_does_not_page() {
    for text in [
        "statusCode: 401",
        "Logged out",
        "Logged out: true",
        "Sesión cerrada",
        "❌ Dispositivo desconectado",
        "Bot deslogado!",
        "Account banned",
        "Ana: Logged out, please scan again",
        "Ana wrote: closed: 401",
    ] {
        assert_eq!(closes(text).1, (0, 0), "{text}");
    }
    for text in [
        "[Baileys] Logged out",
        "❌ Logged out. Clearing auth and restarting...",
        "closed: 401 Unauthorized",
        "Sesión cerrada desde el teléfono",
        "Você foi desconectado do WhatsApp. Escaneie",
        "Perangkat Keluar, Silakan Pindai",
        "🔒 Bot deslogado. Escaneie o QR Code novamente.",
        "[salon]  Instance \"salon\" - LOGOUT",
        "❌ WhatsApp connection closed: 401",
        "Bot telah logout",
        "❌ Bot disconnected: device logged out. Delete ./auth and restart.",
    ] {
        assert_eq!(closes(text).1, (1, 0), "{text}");
    }
}

/// In Turkish, Arabic and Hindi.
#[test]
fn other_languages_are_read() {
    for text in [
        "❌ Bağlantı kapandı. Durum kodu: 401",
        "Bağlantı kapandı: 401",
        "Oturum kapatıldı, QR kodunu tekrar okutun",
        "❌ انقطع الاتصال. كود الخطأ: 401",
        "[WARN] कनेक्शन बंद हो गया, कारण: 401",
    ] {
        assert_eq!(closes(text), ((1, 0), (1, 0)), "{text}");
    }
    for text in [
        "Bağlantı koptu, kod: 440",
        "تم قطع الاتصال، السبب: 440",
        "कनेक्शन बंद, कोड: 440",
    ] {
        assert_eq!(closes(text), ((0, 1), (0, 1)), "{text}");
    }
    for text in ["kod: 401", "كود: 401", "कोड: 401"] {
        assert_eq!(closes(text), ((0, 0), (0, 0)), "{text}");
    }
    for text in [
        "محمد: انقطع الاتصال، السبب: 401",
        "5215550001111 انقطع الاتصال، السبب: 401",
        "राम: कनेक्शन बंद, कारण: 401",
    ] {
        assert_eq!(closes(text).1, (0, 0), "{text}");
    }
}

#[test]
fn a_loggers_level_and_category_hide_no_report() {
    for before in [
        "[2026-11-29T10:00:00.000] [ERROR] default - ",
        "2026-11-29 10:00:00,123 ERROR [main] com.example.Bot - ",
        "10:00:00.123 [main] WARN  c.example.Bot - ",
        "2026-11-29T10:00:00.123Z  INFO 31 --- [           main] com.example.Bot   : ",
        "2026-11-29 10:00:00.123\tERROR\t[index.ts:12]\t",
        "2026-11-29 10:00:00.123  WARN  /src/wa.ts:12:3 main  ",
        "[2026-11-29T10:00:00.000Z]  WARN: bot/31 on vps1 (/srv/a.js:12 in close): ",
        "10:00:00.000Z  WARN bot: ",
        "2026/11/29 10:00:00 wa.go:12: ",
        "10:00AM ERR wa.go:12 > ",
        "2026-11-29 10:00:00 [error]: ",
        "2026-11-29 10:00:00,123 - wa.bot - ERROR - ",
        "2026-11-29 10:00:00.123 | ERROR    | app.wa:close:12 - ",
        "fail: Bot.Wa[0]\n      ",
        "[2026-11-29T10:00:00.000000+00:00] bot.ERROR: ",
        "2026-11-29T10:00:00.123456Z  INFO bot::wa: ",
        "(ventas) ",
        "bot.1.abcdefghijklmnopqrstuvwxy@node1    | ",
        "20261129100000: ",
    ] {
        for text in [
            "Connection closed. Status code: 401",
            "Device Logged Out, Please Scan Again",
        ] {
            let text = format!("{before}{text}");
            assert_eq!(closes(&text), ((1, 0), (1, 0)), "{text}");
        }
    }
    for text in [
        "[INFO] Ana - Connection closed 401",
        "[ERROR] default - message of 5215550001111: Device Logged Out",
        "wa.go:12: Ana: Device Logged Out",
        "wa.go:12: 5215550001111 Device Logged Out",
        "(ventas) Ana: Device Logged Out",
    ] {
        assert_eq!(closes(text), ((1, 0), (0, 0)), "{text}");
    }
    for text in [
        "[ERROR] telegram - connection closed 401",
        "ERROR [main] com.example.Auth - User ana logged out (401)",
        "mongo.js:12: connection closed 401",
    ] {
        assert_eq!(closes(text), ((0, 0), (0, 0)), "{text}");
    }
}

/// Lines of a logger that aligns levels to the right are records of their own.
#[test]
fn a_level_that_is_aligned_continues_no_record() {
    let line = |message: &str| format!("2026-11-29T10:00:00.123456Z  INFO bot::wa: {message}\n");
    let text = line("device_removed") + &line("restarted") + &line("device_removed");
    assert_eq!(closes(&text).0, (2, 0));
}

/// A file of the folder that cannot be read, as Node and pino print the error.
#[test]
fn an_unreadable_file_of_the_folder_is_the_librarys_report() {
    for (text, certain) in [
        (
            "AuthFileCorruptError: Auth file is corrupt or unreadable: /srv/bot/creds.json\n    at x (y)",
            true,
        ),
        (
            r#"{"level":60,"err":{"type":"AuthFileCorruptError","message":"Auth file is corrupt or unreadable: /srv"},"msg":"x"}"#,
            true,
        ),
        ("Ana: my bot says Auth file is corrupt or unreadable", false),
    ] {
        let found = PATTERNS.judge(text.as_bytes());
        let [sign] = found.pending[..] else {
            panic!("{text}: {found:?}");
        };
        assert_eq!(PATTERNS.patterns()[sign.pattern].name, "creds_corrupt");
        assert_eq!(sign.certain, certain, "{text}");
    }
}

/// Every error of the library has a code. Only some of them end the connection.
#[test]
fn an_error_of_the_library_counts_if_it_ends_the_connection() {
    let error = |message: &str, code: u16| {
        format!(
            "Error: {message}\n    at x (/app/node_modules/baileys/lib/Socket/socket.js:1:1) {{\n  data: null,\n  isBoom: true,\n  isServer: false,\n  output: {{\n    statusCode: {code},\n    payload: {{\n      statusCode: {code},\n      error: 'x',\n      message: '{message}'\n    }},\n    headers: {{}}\n  }}\n}}"
        )
    };
    for message in [
        "GraphQL server error: Forbidden",
        "Failed to fetch latest Baileys version: Forbidden",
        "WebSocket Error (Unexpected server response: 403)",
        "forbidden",
        "not-acceptable",
        "Failed to fetch stream",
        "Cannot proceed: socket is not authenticated yet (creds.me.id is missing)",
    ] {
        for code in [401, 403, 406, 440] {
            for text in [
                error(message, code),
                format!("Error en el grupo: {}", error(message, code)),
                format!(
                    r#"{{"level":50,"time":1,"pid":1,"hostname":"h","class":"baileys","err":{{"type":"Error","message":"{message}","data":null,"isBoom":true,"output":{{"statusCode":{code}}}}},"msg":"failed to do it"}}"#
                ),
                format!(
                    r#"{{"data":null,"isBoom":true,"isServer":false,"output":{{"statusCode":{code},"payload":{{"message":"{message}"}}}}}}"#
                ),
            ] {
                assert_eq!(ends(&text), [0, 0, 0], "{text}");
            }
        }
    }
    for message in [
        "Stream Errored (unknown)",
        "Connection Failure",
        "Connection Terminated",
        "Intentional Logout",
    ] {
        for (code, count) in [(401, [1, 0, 0]), (440, [0, 1, 0]), (403, [0, 0, 1])] {
            assert_eq!(ends(&error(message, code)), count, "{message} {code}");
        }
    }
    // The library's logger, about something else.
    let about = "Error in uploading to mmg.whatsapp.net, retrying...";
    let upload = format!(
        r#"{{"level":40,"time":1,"pid":1,"hostname":"h","class":"baileys","uploadResult":{{"code":401}},"msg":"{about}"}}"#
    );
    assert_eq!(ends(&upload), [0, 0, 0]);
    assert_eq!(ends(&upload.replace(about, "connection closed")), [1, 0, 0]);
}

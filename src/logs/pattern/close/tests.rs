use super::super::{Hit, Patterns, RecordSigns, ScanState};
use super::*;

/// How often `device_removed` and `connection_replaced` are counted in this text, and how often
/// in a form that pages.
fn closes(text: &str) -> ((u32, u32), (u32, u32)) {
    let patterns = Patterns::shipped_and(&[]).unwrap();
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
        "statusCode: 401",
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

/// A bot prints what is written to it.
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
fn the_sets_compile() {
    assert!(compiled(&SIGNS).is_some() && compiled(&REPORT).is_some());
}

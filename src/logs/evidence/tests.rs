use super::*;

#[test]
fn lines_of_a_bot() {
    for line in [
        r#"{"level":30,"time":1,"pid":2,"hostname":"vm","class":"baileys","msg":"x"}"#,
        r#"{"log":"{\"level\":30,\"class\":\"baileys\",\"msg\":\"x\"}\n","stream":"stdout"}"#,
        r#"{"level":30,"time":1,"msg":"opened connection to WA"}"#,
        "[18:15:27.956] INFO (26677): opened connection to WA",
        "\x1b[32mINFO\x1b[39m (7): \x1b[36mstream errored out\x1b[39m",
        r#"{"log":"\u001b[32mINFO\u001b[39m (7): \u001b[36mopened connection to WA\u001b[39m\n","stream":"stdout"}"#,
        "Session error:Error: Bad MAC Error: Bad MAC",
        "2026-11-23T18:16:57: Closing open session in favor of incoming prekey bundle",
        "    at Object.verifyMAC (/app/node_modules/libsignal/src/crypto.js:87:15)",
        "    at x (file:///srv/node_modules/@whiskeysockets/baileys/lib/Socket/socket.js:1:1)",
        "Connection closed. Status: 401, Reason: Stream Errored (conflict)",
        "{ tag: 'stream:error', attrs: { code: '515' } }",
        // Bots that silence the logger.
        "Device Logged Out, Please Scan Again And Run.",
        "Connection closed. You are logged out.",
        "Connection Replaced, Another New Session Opened, Please Close Current Session First",
        "[ ⚠ ] 440 Conexión reemplazada, se ha abierto otra nueva sesión. Por favor, cierra la sesión actual.",
        "[ ⚠ ] 401 Sesión cerrada, por favor elimina la carpeta y escanea nuevamente.",
        "[Baileys] ⚠️ Conexão substituída (440) para 7",
        "Dispositivo desconectado, verifique novamente e execute.",
        "koneksi digantikan, sesi baru terbuka",
        "session telah logout, harap hapus session dan scan kembali",
        "statusCode: 440",
        "2026-11-29T05:00:00.000Z stdout F statusReason: 440",
        "status 440: session conflict",
        "bot-1  | closed: loggedOut (401)",
        r#"{"log":"reason=connectionReplaced 440\n","stream":"stdout","time":"t"}"#,
        "[WhatsApp] Logged out. Please delete the whatsapp-auth/ folder and restart the app to re-link.",
        // Bots whose own logger writes JSON.
        r#"{"level":"warn","message":"Connection closed","statusCode":401,"reason":"loggedOut","service":"bot"}"#,
        r#"{"level":"error","message":"Device Logged Out, Please Scan Again And Run.","timestamp":"t"}"#,
        r#"{"level":50,"time":1,"pid":2,"msg":"Session logged out, scan the QR code again"}"#,
    ] {
        assert!(shows_library(line.as_bytes()), "{line}");
    }
}

#[test]
fn lines_of_other_programs() {
    for line in [
        "ws: connection replaced",
        "device_removed",
        r#"{"level":30,"time":1,"pid":2,"hostname":"vm","msg":"connection closed"}"#,
        r#"{"type":"replaced","code":"401"}"#,
        "waiting for message",
        "connection replaced",
        "Connection replaced by a newer one",
        "connection closed",
        "Disconnected",
        "statusCode: 401",
        "Request failed: statusCode: 440 https://shop.example/api",
        "You are logged out",
        "user logged out, please log in again",
        "Session closed (440 requests)",
        "440 connections closed",
        "session conflict",
        "Dispositivo desconectado",
        "Sesión cerrada",
        "[28/11 20:00] Ana: Device Logged Out, Please Scan Again And Run.",
        r#"{"statusCode":401,"error":"Unauthorized","message":"scan the QR code"}"#,
        r#"{"level":30,"statusCode":401,"msg":"Connection closed"}"#,
        r#"{"level":30,"body":"Device Logged Out, Please Scan Again","msg":"message received"}"#,
        "scan complete: connection closed",
        "message from Ana: how do I fix Bad MAC in baileys?",
        "    at x (/app/node_modules/express/lib/router.js:1:1)",
        "",
    ] {
        assert!(!shows_library(line.as_bytes()), "{line}");
    }
}

#[test]
fn lines_of_the_librarys_logger() {
    for line in [
        r#"{"level":30,"time":1,"class":"baileys","msg":"x"}"#,
        r#"{"log":"{\"level\":30,\"class\":\"baileys\",\"msg\":\"x\"}\n","stream":"stdout"}"#,
        "[18:15:27.956] INFO (26677): opened connection to WA",
        "[03:21:09.021] INFO (N/7): session:bot - opened connection to WA {\"session\":\"bot\"}",
    ] {
        assert!(shows_logger(line.as_bytes()), "{line}");
    }
    for line in [
        "Session error:Error: Bad MAC Error: Bad MAC",
        "Connection closed. Status: 440, Reason: Stream Errored (conflict)",
        "    at x (file:///srv/node_modules/@whiskeysockets/baileys/lib/Socket/socket.js:1:1)",
        "opened connection to WA",
    ] {
        assert!(!shows_logger(line.as_bytes()), "{line}");
    }
}

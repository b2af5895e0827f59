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
        "message from Ana: how do I fix Bad MAC in baileys?",
        "    at x (/app/node_modules/express/lib/router.js:1:1)",
        "",
    ] {
        assert!(!shows_library(line.as_bytes()), "{line}");
    }
}

use super::*;

#[test]
fn the_message_of_each_logger_is_found() {
    for before in [
        "[ERROR] default - ",
        "ERROR [main] com.example.Bot - ",
        "[main] WARN  c.example.Bot - ",
        "ERROR 31 --- [           main] com.example.Bot   : ",
        "2026-11-29 10:00:00.123\tERROR\t[index.ts:12]\t",
        "2026-11-29 10:00:00.123  WARN  /src/wa.ts:12:3 main  ",
        "2026-11-29T10:00:00.123Z\terror\tbot/wa.go:12\t",
        "bot/31 on vps1: ",
        "WARN: bot/31 on vps1: ",
        "bot/31 on vps1 (/srv/a.js:12 in close): ",
        "WARN bot: ",
        "wa.go:12: ",
        "ERR wa.go:12 > ",
        "WRN ",
        "wa.bot - ERROR - ",
        "ERROR:root:",
        "ERROR    | app.wa:close:12 - ",
        "fail: Bot.Wa[0]\n      ",
        "2026-11-29 10:00:00.1234|ERROR|Bot.Wa|",
        "  bot:wa ",
        "bot.ERROR: ",
        "E, [2026-11-29T10:00:00.123456 #123] ERROR -- : ",
        "INFO bot::wa: ",
        "(ventas) ",
        "[INFO] {ventas-2} ",
    ] {
        let text = format!("{before}Connection closed");
        assert_eq!(header(text.as_bytes()), Some(before.len()), "{text}");
    }
}

/// A person's name, a number and a sentence are none.
#[test]
fn a_sender_is_no_logger() {
    for text in [
        "Ana - Device Logged Out",
        "Ana: Device Logged Out",
        "LOG Ana: Device Logged Out",
        "INFO ana: Device Logged Out",
        "[INFO] Ana - Device Logged Out",
        "[INFO] 5215550001111 - Device Logged Out",
        "(5215550001111) Device Logged Out",
        "(Ana) Device Logged Out",
        "<ana> Device Logged Out",
        "Device Logged Out",
        "Connection closed: 401",
        "[ERROR] telegram - connection closed 401",
        "ERROR [main] com.example.Auth - User ana logged out (401)",
        "mongo.js:12: connection closed 401",
        "(redis) connection closed: 440",
        "(panel) Session closed",
        "(grupo) Device Logged Out",
        "[INFO] incoming - Device Logged Out",
        "message-handler.ts:44: Device Logged Out",
    ] {
        assert_eq!(header(text.as_bytes()), None, "{text}");
    }
}

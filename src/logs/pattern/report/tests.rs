use super::*;

#[test]
fn the_expressions_compile() {
    assert!(compiled(&REPORT).is_some() && compiled(&TO_WHATSAPP).is_some());
    assert!(compiled(&[LOGGED_OUT, REPLACED, BANNED]).is_some());
}

#[test]
fn a_sender_before_the_text_is_no_date_and_no_tag() {
    for text in [
        "(5215550001111) closed",
        "+52 1 555 000 1111 | closed",
        "[10:00] 555-000-1111: closed",
        "[IN] 5215550001111 closed",
        "Ана: closed",
        "محمد: closed",
        "李: closed",
        "ñ: closed",
    ] {
        assert!(has_sender(text.as_bytes()), "{text}");
    }
    for text in [
        "closed",
        "[5215550001111] closed",
        "2026-11-29T10:00:00.123456789Z closed",
        "29/11/2026, 10:00:00 AM - closed",
        "20261129 100000 closed",
        "1764412800123 closed",
        "1764412800 12345 closed",
        "[Nest] 123  - 11/29/2026, 10:00:00 AM    WARN [WhatsApp] closed",
        "ℹ ⚠️ ❌ 🔒 │ » closed",
        "𝗕𝗼𝘁: closed",
        "ERROR (31): closed",
    ] {
        assert!(!has_sender(text.as_bytes()), "{text}");
    }
}

#[test]
fn the_address_of_a_contact_is_no_mention_of_whatsapp() {
    for text in [
        "Sesión cerrada para 5215512345678@s.whatsapp.net por inactividad",
        "Sessão encerrada: 5511987654321@s.whatsapp.net (timeout)",
        "Session closed for 5215512345678@s.whatsapp.net",
    ] {
        assert!(!is_certain_text(text.as_bytes()), "{text}");
    }
    for text in [
        "Sesión de WhatsApp cerrada",
        "Session logged out: 5215512345678:12@s.whatsapp.net",
        "Sesión cerrada, revise web.whatsapp.com",
        "whatsapp session logged out",
    ] {
        assert!(is_certain_text(text.as_bytes()), "{text}");
    }
}

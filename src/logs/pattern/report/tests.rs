use super::*;

#[test]
fn the_expressions_compile() {
    assert!(compiled(&REPORT).is_some() && compiled(&TO_WHATSAPP).is_some());
    assert!(compiled(&[LOGGED_OUT, REPLACED, BANNED]).is_some());
}

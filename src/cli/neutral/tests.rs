use unicode_width::UnicodeWidthStr;

use super::*;

#[test]
fn nothing_reaches_the_terminal_that_it_obeys() {
    let hostile = "a\x1b[2Jb\x07\r\u{9b}31m\x7f\u{202e}c\u{2066}d\u{2069}\u{200f}\u{61c}\u{2028}e";
    for shown in [neutral(hostile), neutral_styled(hostile)] {
        assert_eq!(
            shown,
            "a\\u001b[2Jb\\u0007\\u000d\\u009b31m\\u007f\\u202ec\\u2066d\\u2069\\u200f\\u061c\\u2028e"
        );
    }
    assert_eq!(neutral_line("a\nb\tc"), "a\\u000ab\\u0009c");
    let plain = "größer, 测试, 👩‍👩‍👧, עברית\n\tx";
    assert_eq!(neutral(plain), plain);
}

#[test]
fn the_tables_keep_their_colours_and_no_name_hides_text() {
    use anstyle::{AnsiColor, Style};
    for style in [
        Style::new().bold(),
        Style::new().dimmed(),
        AnsiColor::Red.on_default().bold(),
        AnsiColor::Green.on_default(),
        AnsiColor::Yellow.on_default(),
        AnsiColor::Cyan.on_default(),
    ] {
        let text = format!("{}x{}\n", style.render(), style.render_reset());
        assert_eq!(neutral_styled(&text), text);
        assert!(!neutral(&text).contains('\x1b'));
    }
    for hostile in [
        "\x1b[8m",
        "\x1b[31;8m",
        "\x1b[m",
        "\x1b[31",
        "\x1b",
        "\x1b]0;x\x07",
    ] {
        assert!(!neutral_styled(hostile).contains('\x1b'), "{hostile:?}");
    }
}

/// `--output=json` says the same, whatever a name holds.
#[test]
fn json_stays_what_it_is() {
    let value = serde_json::json!({"se\u{202e}ssion": "a\x1b[2J\u{85}\u{2028}\n\t\"\\"});
    for text in [
        value.to_string(),
        serde_json::to_string_pretty(&value).unwrap(),
    ] {
        let shown = neutral_styled(&text);
        assert!(!shown.chars().any(|c| is_active(c) && c != '\n'), "{shown}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&shown).unwrap(),
            value
        );
    }
}

#[test]
fn wide_text_is_cut_in_its_middle() {
    assert_eq!(fit("company_962302", 14), "company_962302");
    assert_eq!(fit("company_962302", 9), "comp…2302");
    assert_eq!(fit("测试测试测试", 7), "测…试");
    for text in [
        "x".repeat(255),
        "测".repeat(80),
        "e\u{301}".repeat(60),
        "👩‍👩‍👧".repeat(9),
        "☺\u{fe0f}".repeat(30),
    ] {
        for columns in 1..60 {
            assert!(fit(&text, columns).width() <= columns, "{columns}");
        }
    }
}

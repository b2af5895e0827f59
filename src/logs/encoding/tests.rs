use super::*;

/// As PowerShell writes it, or in the other byte order.
fn utf16(text: &str, little: bool) -> Vec<u8> {
    let units = std::iter::once('\u{feff}')
        .chain(text.chars())
        .collect::<String>();
    units
        .encode_utf16()
        .flat_map(|unit| match little {
            true => unit.to_le_bytes(),
            false => unit.to_be_bytes(),
        })
        .collect()
}

#[test]
fn utf_16_is_read_line_by_line() {
    let text = "opened connection to WA\r\nConexión reemplazada\r\ndevice_removed\r\n";
    for little in [true, false] {
        let bytes = utf16(text, little);
        assert_eq!(to_utf8(&bytes), text.as_bytes());
        // A chunk that begins after a newline.
        let cut = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let rest = to_utf8(&bytes[cut..]).into_owned();
        let rest = String::from_utf8(rest).unwrap();
        assert_eq!(rest, text.split_once('\n').unwrap().1);
    }
}

#[test]
fn other_text_stays() {
    for text in ["", "a\nb", "ä\r\n", "x\0y\n"] {
        assert_eq!(to_utf8(text.as_bytes()), text.as_bytes());
    }
    // The hole left by a writer that kept its position when the file was truncated.
    assert_eq!(
        to_utf8(b"\0\0\0\0\0\0device_removed\n"),
        &b"device_removed\n"[..]
    );
}

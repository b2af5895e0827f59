//! The names that rotations give to files.

/// Whether a rotation may have renamed the log `of` to `name`: `of` or its stem, then numbers,
/// dates or words such as `old`. `bot10.log` is not a rotation of `bot1.log`.
///
/// After the full name of the log only a rotation can add something. Between its stem and its
/// extension the name of another bot may continue (`company_962302.log` beside `company.log`), so
/// there it must be a date, or follow a dot (logrotate's `extension`) or two underscores
/// (pm2-logrotate).
pub(crate) fn is_rotation_of(name: &str, of: &str) -> bool {
    let stem = of.rsplit_once('.').map_or(of, |(stem, _)| stem);
    let (tail, behind_all) = match (name.strip_prefix(of), name.strip_prefix(stem)) {
        (Some(tail), _) => (tail, stem.len() < of.len()),
        (None, Some(tail)) => (tail, false),
        (None, None) => return false,
    };
    if name == of || !tail.starts_with(['.', '-', '_']) {
        return false;
    }
    let is_marked = tail.starts_with('.') || tail.starts_with("__") || is_date(&tail[1..]);
    if !behind_all && !is_marked {
        return false;
    }
    let words = tail
        .split(['.', '-', '_', ':', '+', 'T', 'Z'])
        .filter(|word| !word.is_empty());
    let mut numbered = false;
    for word in words {
        match word.to_ascii_lowercase().as_str() {
            "old" | "bak" | "prev" | "rotated" | "orig" => numbered = true,
            "log" | "txt" | "json" | "jsonl" | "gz" => {}
            word if word.bytes().all(|b| b.is_ascii_digit()) => numbered = true,
            _ => return false,
        }
    }
    numbered || tail.ends_with(".gz")
}

/// Whether a text begins with a date of this century: `2026-01…`, `20260101`, with the hour
/// (`2026010107`) or to the second (`20260101070000`). Numbers of bots and telephones rarely look
/// like this.
fn is_date(text: &str) -> bool {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (year, rest) = text.split_at(digits.min(4));
    let within = |part: Option<&str>, most: u32| {
        part.and_then(|part| part.parse::<u32>().ok())
            .is_some_and(|number| (1..=most).contains(&number))
    };
    year.starts_with("20")
        && match digits {
            4 => {
                rest.starts_with(['-', '_', '.'])
                    && within(rest.get(1..3), 12)
                    && !rest[3..].starts_with(|c: char| c.is_ascii_digit())
            }
            8 | 10 | 14 => within(rest.get(..2), 12) && within(rest.get(2..4), 31),
            _ => false,
        }
}

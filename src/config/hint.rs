//! What to do about a mistake in the shape of the configuration file. Pure.

use super::processes::MOVED;

/// For an error of the YAML parser or of the file's shape. `line` is the line it points at.
pub(super) fn hint(message: &str, line: &str) -> Option<String> {
    if ["service", "process"]
        .iter()
        .any(|key| message.contains(&format!("unknown field `{key}`")))
    {
        return Some(MOVED.to_owned());
    }
    if let Some((unknown, known)) = unknown_field(message) {
        return nearest(unknown, known).map(|near| format!("did you mean `{near}`?"));
    }
    let indent = &line[..line.len() - line.trim_start().len()];
    if indent.contains('\t') {
        return Some("indent with spaces; YAML takes no tabs".to_owned());
    }
    if message.contains("duplicate") {
        return Some("each key stands once; join the two".to_owned());
    }
    if message.contains("expected mapping") {
        return Some("write its keys below it, each on a line of its own, indented".to_owned());
    }
    if message.contains("list of strings") {
        return Some("put a number or a word such as yes in quotes".to_owned());
    }
    if message.contains("invalid type") {
        return None;
    }
    let value = line.split_once(": ").map_or(line, |(_, value)| value);
    let value = value.trim_start().trim_start_matches("- ").trim_start();
    if value.starts_with(['*', '&', '!', '%', '@', '`', '{', '[']) {
        return Some(
            "put a text with special characters in quotes, such as \"*_old\" or \"{hostname}\""
                .to_owned(),
        );
    }
    None
}

/// The key that is not known, and those that are.
fn unknown_field(message: &str) -> Option<(&str, impl Iterator<Item = &str>)> {
    let (_, rest) = message.split_once("unknown field `")?;
    let (unknown, rest) = rest.split_once("`, expected ")?;
    let known = rest.trim_start_matches("one of ");
    let known = known
        .split([',', ' '])
        .map(|word| word.trim_matches('`'))
        .filter(|word| !word.is_empty() && *word != "or");
    Some((unknown, known))
}

/// The word that differs least, if it differs little.
pub(super) fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let most = (unknown.chars().count() + 1) / 3;
    known
        .map(|word| (distance(unknown, word), word))
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, word)| word)
}

/// How many characters must be changed, added or removed.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests;

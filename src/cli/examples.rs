//! What many sessions have in common, said once: a count and three examples.

use std::collections::BTreeMap;

/// Number of examples of a group.
pub const EXAMPLES: usize = 3;

/// Puts items with equal keys together, in the order of the keys; items keep their order.
pub fn grouped<T, K: Ord>(
    items: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> K,
) -> Vec<Vec<T>> {
    let mut groups: BTreeMap<K, Vec<T>> = BTreeMap::new();
    for item in items {
        groups.entry(key(&item)).or_default().push(item);
    }
    groups.into_values().collect()
}

/// The names, e.g. `a, b, c and 41 more`.
pub fn names<T: AsRef<str>>(all: &[T]) -> String {
    let shown: Vec<&str> = all.iter().take(EXAMPLES).map(AsRef::as_ref).collect();
    match all.len().saturating_sub(EXAMPLES) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The same behind the number of sessions, if there are several.
pub fn counted<T: AsRef<str>>(sessions: &[T]) -> String {
    match sessions.len() {
        0 | 1 => names(sessions),
        several => format!("{several} sessions ({})", names(sessions)),
    }
}

#[cfg(test)]
mod tests;

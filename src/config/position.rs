//! Where in the configuration file a key stands. Pure.

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

/// A place in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// From 1.
    pub line: u64,
    /// In characters, from 1.
    pub column: u64,
}

/// The position of the value that an error message is about: the message begins with its key,
/// as in `overrides[0].sessions: …`. Of a key that is missing, the position of the section.
/// `None` where the message begins with no key of this text.
pub(super) fn of_key(text: &str, message: &str) -> Option<Position> {
    let root: Spanned<Node> = serde_saphyr::from_str(text).ok()?;
    let mut found = None;
    let mut node = root;
    for step in steps(message) {
        let next = match (step, node.value) {
            (KeyStep::Key(key), Node::Map(entries)) => entries
                .into_iter()
                .find_map(|(name, value)| (name == key).then_some(value)),
            (KeyStep::Index(index), Node::List(items)) => items.into_iter().nth(index),
            _ => None,
        };
        let Some(next) = next else { break };
        found = Some(Position {
            line: next.referenced.line(),
            column: next.referenced.column(),
        });
        node = next;
    }
    found
}

enum KeyStep<'a> {
    Key(&'a str),
    Index(usize),
}

/// The key at the beginning of a message.
fn steps(message: &str) -> impl Iterator<Item = KeyStep<'_>> {
    let is_key = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.[]".contains(c);
    let end = message.find(|c| !is_key(c)).unwrap_or(message.len());
    let words = message[..end].split(['.', '[', ']']);
    words
        .filter(|word| !word.is_empty())
        .map(|word| match word.parse() {
            Ok(index) => KeyStep::Index(index),
            Err(_) => KeyStep::Key(word),
        })
}

/// A value of the file, of which only the place matters.
enum Node {
    Map(Vec<(String, Spanned<Node>)>),
    List(Vec<Spanned<Node>>),
    Scalar,
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyNode)
    }
}

struct AnyNode;

impl<'de> Visitor<'de> for AnyNode {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }
}

#[cfg(test)]
mod tests;

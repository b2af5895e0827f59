//! The page of the benchmarks.

use std::fs;
use std::path::Path;

/// Replaces the table that `command` writes into docs/performance.md.
pub fn write_table(command: &str, table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/performance.md");
    let (begin, end) = (
        format!("<!-- BEGIN {command} -->\n"),
        format!("<!-- END {command} -->"),
    );
    let text = fs::read_to_string(&path).expect("docs/performance.md");
    let from = text.find(&begin).expect("the first marker") + begin.len();
    let to = text.find(&end).expect("the second marker");
    let text = format!("{}{table}{}", &text[..from], &text[to..]);
    fs::write(&path, text).expect("docs/performance.md");
}

use super::*;

#[test]
fn columns_line_up() {
    let mut table = Table::new(&["NAME", "N"]);
    table.row(vec![plain("a"), right("100")]);
    table.row(vec![plain("größer"), right("5")]);
    let shown = anstream::adapter::strip_str(&table.to_string()).to_string();
    assert_eq!(shown, "NAME      N\na       100\ngrößer    5");
}

#[test]
fn a_name_breaks_no_line_and_no_column() {
    let mut table = Table::new(&["NAME", "N", "DETAIL"]);
    let detail = "d".repeat(100);
    for name in ["a\nb\u{202e}c".to_owned(), "测".repeat(80)] {
        table.row(vec![plain(name), right("1"), plain(&detail)]);
    }
    let shown = anstream::adapter::strip_str(&table.to_string()).to_string();
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 3, "{shown}");
    assert!(lines[1].starts_with("a\\u000ab\\u202ec "), "{shown}");
    let column = |line: &str| line.split_once(" 1  ").unwrap().0.width();
    assert_eq!(column(lines[1]), column(lines[2]));
    assert!(lines.iter().skip(1).all(|line| line.ends_with(&detail)));
}

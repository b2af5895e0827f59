use super::*;

#[test]
fn columns_line_up() {
    let mut table = Table::new(&["NAME", "N"]);
    table.row(vec![plain("a"), right("100")]);
    table.row(vec![plain("größer"), right("5")]);
    let shown = anstream::adapter::strip_str(&table.to_string()).to_string();
    assert_eq!(shown, "NAME      N\na       100\ngrößer    5");
}

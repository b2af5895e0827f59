use super::*;

#[test]
fn many_are_counted_and_few_are_named() {
    assert_eq!(counted(&["a"]), "a");
    assert_eq!(counted(&["a", "b", "c"]), "3 sessions (a, b, c)");
    assert_eq!(
        counted(&["a", "b", "c", "d"]),
        "4 sessions (a, b, c and 1 more)"
    );
    let groups = grouped([("b", 1), ("a", 2), ("b", 3)], |(key, _)| *key);
    assert_eq!(groups, [vec![("a", 2)], vec![("b", 1), ("b", 3)]]);
}

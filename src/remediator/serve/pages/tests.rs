use super::*;

#[test]
fn parameters_are_decoded() {
    assert_eq!(
        parameter("session=a%20b%2Fc%3D&id=1", "session").as_deref(),
        Some("a b/c=")
    );
    assert_eq!(
        parameter("x=1&session=a+b", "session").as_deref(),
        Some("a b")
    );
    assert_eq!(parameter("session", "session"), None);
    assert_eq!(parameter("session=%ff", "session"), None);
}

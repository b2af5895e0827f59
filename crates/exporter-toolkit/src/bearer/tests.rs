use super::*;
use proptest::prelude::*;

fn authorization(values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(AUTHORIZATION, value.parse().unwrap());
    }
    headers
}

#[test]
fn bearer_tokens() {
    let ok = |values: &[&str]| bearer_matches(&authorization(values), b"s3cret");
    assert!(ok(&["Bearer s3cret"]));
    assert!(ok(&["bEARER   s3cret "]));
    assert!(!ok(&[]));
    assert!(!ok(&["Bearer s3cre"]));
    assert!(!ok(&["Bearer s3cret2"]));
    assert!(!ok(&["Bearer S3cret"]));
    assert!(!ok(&["s3cret"]));
    assert!(!ok(&["Bearers3cret"]));
    assert!(!ok(&["Basic s3cret"]));
    assert!(!ok(&["Bearer s3cret", "Bearer s3cret"]));
    assert!(!ok(&["Bearer s3cret", "Basic x"]));
}

#[test]
fn an_empty_token_matches_nothing() {
    for value in ["Bearer ", "Bearer", "Bearer  ", "", "Bearer x"] {
        assert!(!bearer_matches(&authorization(&[value]), b""), "{value:?}");
    }
}

proptest! {
    #[test]
    fn only_the_same_token_matches(token in "[!-~]{1,40}", other in "[!-~]{1,40}") {
        let headers = authorization(&[&format!("Bearer {token}")]);
        prop_assert!(bearer_matches(&headers, token.as_bytes()));
        prop_assert_eq!(bearer_matches(&headers, other.as_bytes()), token == other);
    }
}

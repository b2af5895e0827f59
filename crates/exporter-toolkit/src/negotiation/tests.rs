use super::*;
use hyper::header::{ACCEPT, HeaderValue};
use proptest::prelude::*;

#[test]
fn weights() {
    for (text, q) in [
        ("0", 0),
        ("1", 1000),
        ("0.5", 500),
        ("0.001", 1),
        ("1.000", 1000),
    ] {
        assert_eq!(thousandths(text), Some(q), "{text}");
    }
    for text in [
        "", "2", "1.1", "-1", "0.1234", ".5", "0.x", "nan", "1e0", "+1",
    ] {
        assert_eq!(thousandths(text), None, "{text}");
    }
}

proptest! {
    #[test]
    fn weighted_lists_never_panic(
        value in proptest::string::string_regex("[ -~\t]{0,80}").unwrap(),
    ) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(&value).unwrap());
        if let Some(list) = weighted_list(&headers, ACCEPT) {
            prop_assert!(list.iter().all(|item| item.q <= 1000 && !item.value.is_empty()));
        }
    }
}

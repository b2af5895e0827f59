use std::path::Path;

use super::*;

fn lay_out(root: &Path, session: &str) {
    let folder = root.join(session);
    std::fs::create_dir_all(&folder).unwrap();
    let creds = r#"{"noiseKey":{},"nextPreKeyId":31}"#;
    std::fs::write(folder.join("creds.json"), creds).unwrap();
}

fn names(list: &SessionNames) -> Vec<&str> {
    list.iter().map(SessionName::as_str).collect()
}

#[tokio::test]
async fn a_folder_that_appears_later_is_listed() {
    let root = tempfile::tempdir().unwrap();
    let source = SessionsPath {
        name: None,
        path: root.path().to_owned(),
    };
    let all = Arc::new(AllSessions::new(vec![source]));
    lay_out(root.path(), "one");
    let list = all.list(Duration::ZERO).await.unwrap();
    assert_eq!(names(&list), ["one"]);
    lay_out(root.path(), "two");
    // The last look is young enough.
    let list = all.list(Duration::from_secs(3600)).await.unwrap();
    assert_eq!(names(&list), ["one"]);
    let list = all.list(Duration::ZERO).await.unwrap();
    assert_eq!(names(&list), ["one", "two"]);
    assert_eq!(names(&all.list_now()), ["one", "two"]);
}

#[test]
fn a_companion_is_another_session_of_the_same_source() {
    let name = SessionName::from_text;
    let all: SessionNames = ["a", "b", "c"].map(name).into();
    let same = |names: &'static str| move |other: &SessionName| names.contains(other.as_str());
    let found = |all, names| companion(&name("a"), all, same(names));
    assert_eq!(found(Some(&all), "a"), None);
    assert_eq!(found(Some(&all), "ac").as_deref(), Some("the session c"));
    assert!(found(None, "a").unwrap().contains("could not be listed"));
}

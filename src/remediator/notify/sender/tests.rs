use serde_json::json;

use super::*;

#[test]
fn the_text_goes_into_each_string_that_asks_for_it() {
    let template = json!({"chat_id": 12, "text": "{text}", "blocks": [{"a": "x {text}"}, null]});
    let text = "two\n\"lines\"";
    assert_eq!(
        filled(&template, text),
        json!({"chat_id": 12, "text": text, "blocks": [{"a": format!("x {text}")}, null]})
    );
    assert!(
        filled(&template, text)
            .to_string()
            .contains("two\\n\\\"lines")
    );
}

#[tokio::test]
async fn a_command_reads_the_text_and_its_failure_repeats_none_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let argv = |script: &str| ["/bin/sh", "-c", script, "sh"].map(str::to_owned);
    let mut copies = argv("cat > \"$1\"").to_vec();
    copies.push(out.display().to_string());
    command(&copies, "one\ntwo").await.unwrap();
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "one\ntwo\n");
    let error = command(&argv("cat; cat >&2; exit 3"), "a secret").await;
    let error = error.unwrap_err();
    assert_eq!(error, "the command exited with 3");
    let missing = command(&["/nonexistent/program".to_owned()], "text").await;
    assert!(missing.unwrap_err().contains("cannot be started"));
}

#[test]
fn an_answer_about_the_message_itself_is_distinguished() {
    for status in [400, 405, 413, 414, 422] {
        assert!(refuses_the_message(status), "{status}");
    }
    for status in [302, 401, 403, 404, 408, 429, 500, 503] {
        assert!(!refuses_the_message(status), "{status}");
    }
}

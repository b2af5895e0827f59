use super::*;

fn build(yaml: &str) -> Result<Notify, String> {
    serde_saphyr::from_str::<NotifySection>(yaml)
        .map_err(|error| error.to_string())?
        .build()
}

#[test]
fn one_way_and_one_url() {
    for good in [
        "command: [/usr/local/bin/tell, me]",
        "webhook: {url: 'https://ntfy.sh/topic'}",
        "webhook: {url_file: /etc/x, json: {chat_id: 1, text: '{text}'}}",
        "webhook: {url_file: 'credential:x', json: ['a {text}']}",
    ] {
        build(good).unwrap();
    }
    for (bad, said) in [
        ("{}", "either command or webhook"),
        (
            "{command: [a], webhook: {url: 'https://a/b'}}",
            "either command or webhook",
        ),
        ("command: []", "notify.command"),
        ("command: ['']", "notify.command"),
        ("webhook: {}", "notify.webhook.url"),
        (
            "webhook: {url: 'https://a/b', url_file: /x}",
            "either url or url_file",
        ),
        ("webhook: {url: 'ftp://secret/b'}", "must look like"),
        ("webhook: {url: 'https://u:secret@a/b'}", "must look like"),
        (
            "webhook: {url: 'https://a/b', json: {text: secret}}",
            "{text}",
        ),
        (
            "webhook: {url: 'https://a/b', http_config: {follow_redirects: true}}",
            "notify.webhook.http_config.follow_redirects",
        ),
    ] {
        let error = build(bad).unwrap_err();
        assert!(error.contains(said), "{bad}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

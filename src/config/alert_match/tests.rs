use super::*;

struct BotsHost;

impl Placeholders for BotsHost {
    fn hostname(&self) -> String {
        "bots1".into()
    }

    fn variable(&self, name: &str) -> Option<String> {
        (name == "REGION").then(|| "eu".into())
    }
}

fn labels(label: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(label.to_owned(), value.to_owned())])
}

#[test]
fn values_are_filled_in() {
    for (text, value) in [
        ("bots1:10273", "bots1:10273"),
        ("{hostname}:10273", "bots1:10273"),
        ("${REGION}-{hostname}", "eu-bots1"),
    ] {
        let matches = AlertMatch::new("webhook.match", labels("instance", text)).unwrap();
        assert_eq!(matches.resolve(&BotsHost), Ok(labels("instance", value)));
    }
}

#[test]
fn errors_name_the_key() {
    for (label, text, error) in [
        (
            "in-stance",
            "x",
            "webhook.match: \"in-stance\" is not the name of a label",
        ),
        ("instance", "", "webhook.match.instance: the value is empty"),
        (
            "instance",
            "{host}",
            "webhook.match.instance: the only placeholders are",
        ),
        (
            "instance",
            "${HOST",
            "webhook.match.instance: a ${ is not closed",
        ),
    ] {
        let built = AlertMatch::new("webhook.match", labels(label, text));
        let told = built.unwrap_err();
        assert!(told.contains(error), "{told}");
    }
    let matches = AlertMatch::new("webhook.match", labels("instance", "${NOT_SET}")).unwrap();
    let told = matches.resolve(&BotsHost).unwrap_err();
    assert!(
        told.contains("webhook.match.instance: the environment variable"),
        "{told}"
    );
}

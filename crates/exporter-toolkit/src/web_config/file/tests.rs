use super::*;
use std::os::unix::fs::PermissionsExt;

fn put(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}

#[test]
fn a_file_that_configures_nothing_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.yml");
    let read = |text: &str| {
        put(&path, text);
        super::read(&path).1
    };
    for text in [
        "",
        " \n\n\t\n",
        "# users\n",
        "\n# a\n# b",
        "---\n",
        "{}\n",
        "null\n",
    ] {
        let error = read(text)
            .err()
            .unwrap_or_else(|| panic!("{text:?} was accepted"));
        assert!(error.contains("leave the flag out"), "{text:?}: {error}");
    }
    for key in ["tls_server_config", "basic_auth_users"] {
        let error = read(&format!("rate_limit: {{interval: 1s, burst: 5}}\n{key}:\n"))
            .err()
            .unwrap();
        assert!(
            error.contains(&format!("{key}: nothing follows")),
            "{error}"
        );
    }
    assert!(read("rate_limit: {interval: 1s, burst: 5}\n").is_ok());
    assert!(read("# ours\nhttp_server_config: {http2: true}\n").is_ok());
}

#[test]
fn the_demands_on_clients_become_no_weaker() {
    let dir = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["a".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    put(&dir.path().join("crt"), &certificate.pem());
    put(&dir.path().join("key"), &key.serialize_pem());
    let path = dir.path().join("web.yml");
    let config = |policy: &str| {
        let ca = if policy.contains("Verify") {
            ", client_ca_file: crt"
        } else {
            ""
        };
        put(
            &path,
            &format!(
                "tls_server_config: {{cert_file: crt, key_file: key, client_auth_type: {policy}{ca}}}"
            ),
        );
        super::read(&path).1.unwrap()
    };
    let (no, any) = ("NoClientCert", "RequireAnyClientCert");
    let (given, both) = ("VerifyClientCertIfGiven", "RequireAndVerifyClientCert");
    for (former, next, loses) in [
        (both, given, true),
        (both, any, true),
        (both, no, true),
        (any, given, true),
        (given, any, true),
        (given, no, true),
        (given, both, false),
        (any, both, false),
        (no, both, false),
        (no, given, false),
        (both, both, false),
    ] {
        let lost = config(next).lost_from(&config(former));
        assert_eq!(
            lost,
            loses.then_some("client_auth_type"),
            "{former} to {next}"
        );
    }
}

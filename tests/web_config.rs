//! `--web.config.file` of both programs, as clients meet it: with a real Prometheus and a real
//! Alertmanager, with certificates that change, with clients that should stay outside, and
//! with files that more people can read than should.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use serde_json::{Value, json};
use testkit::Patience;
use testkit::process::{self, Process};
use testkit::stack::INSTALL;
use testkit::{fixture, net};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion, crypto,
    version,
};

const EXPORTER: &str = env!("CARGO_BIN_EXE_baileys_exporter");
const REMEDIATOR: &str = env!("CARGO_BIN_EXE_baileys_remediator");
const TOKEN: &str = "c2VjcmV0LXRva2VuLW9mLXRoZS10ZXN0cw";
/// Everything that is waited for happens within this time, or the test fails.
const SOON: Duration = Duration::from_secs(60);

/// An authority and what it issues.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
struct Identity {
    cert: String,
    key: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    fn issue(&self, names: &[&str], usage: ExtendedKeyUsagePurpose) -> Identity {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = names.into_iter().map(san).collect();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        Identity {
            cert: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    fn server(&self) -> Identity {
        self.issue(
            &["127.0.0.1", "localhost"],
            ExtendedKeyUsagePurpose::ServerAuth,
        )
    }

    fn client(&self, name: &str) -> Identity {
        self.issue(&[name], ExtendedKeyUsagePurpose::ClientAuth)
    }
}

fn san(name: String) -> SanType {
    match name.parse() {
        Ok(ip) => SanType::IpAddress(ip),
        Err(_) if name.contains("://") => SanType::URI(name.try_into().unwrap()),
        Err(_) if name.contains('@') => SanType::Rfc822Name(name.try_into().unwrap()),
        Err(_) => SanType::DnsName(name.try_into().unwrap()),
    }
}

/// How a client connects.
#[derive(Clone)]
struct Client {
    authority: String,
    identity: Option<Identity>,
    versions: Vec<&'static SupportedProtocolVersion>,
}

/// What was answered: status, head and body; or why not.
type Answer = Result<(u16, String, String), String>;

impl Client {
    fn new(authority: &Authority) -> Self {
        Self {
            authority: authority.pem.clone(),
            identity: None,
            versions: vec![&version::TLS12, &version::TLS13],
        }
    }

    fn with(&self, identity: &Identity) -> Self {
        Self {
            identity: Some(identity.clone()),
            ..self.clone()
        }
    }

    fn only(&self, version: &'static SupportedProtocolVersion) -> Self {
        Self {
            versions: vec![version],
            ..self.clone()
        }
    }

    fn connect(&self, port: u16) -> Result<StreamOwned<ClientConnection, TcpStream>, String> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.authority.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions)
            .unwrap()
            .with_root_certificates(roots);
        let config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = vec![CertificateDer::from_pem_slice(identity.cert.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let stream = TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(SOON)).unwrap();
        Ok(StreamOwned::new(connection, stream))
    }

    fn ask(&self, port: u16, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let mut stream = self.connect(port)?;
        exchange(&mut stream, method, path, headers, body)
    }

    fn get(&self, port: u16, path: &str, headers: &str) -> Answer {
        self.ask(port, "GET", path, headers, "")
    }

    fn status(&self, port: u16, path: &str, headers: &str) -> u16 {
        self.get(port, path, headers)
            .unwrap_or_else(|error| panic!("{path}: {error}"))
            .0
    }
}

fn exchange(
    stream: &mut (impl Read + Write),
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> Answer {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    stream
        .write_all(request.as_bytes())
        .map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    let mut read = Ok(());
    if let Err(error) = stream.read_to_end(&mut answer) {
        read = Err(error.to_string());
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return Err(format!("no answer: {read:?}"));
    };
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or("no status")?;
    Ok((status, head.to_owned(), body.to_owned()))
}

fn plain(port: u16, path: &str, headers: &str) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(SOON)).unwrap();
    exchange(&mut stream, "GET", path, headers, "")
}

fn basic(name: &str, password: &str) -> String {
    format!(
        "Authorization: Basic {}\r\n",
        STANDARD.encode(format!("{name}:{password}"))
    )
}

/// One host: an authority, a server's certificate, and the two programs.
struct World {
    dir: tempfile::TempDir,
    authority: Authority,
    exporter: u16,
    remediator: u16,
    processes: Vec<Process>,
    patience: Patience,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["sessions/bot", "state", "web"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        let world = Self {
            dir,
            authority: Authority::new("the test's authority"),
            exporter: net::free_port(None).unwrap(),
            remediator: net::free_port(None).unwrap(),
            processes: Vec::new(),
            patience: Patience::new(4 * SOON),
        };
        world.write("token", TOKEN, 0o600);
        world.write("web/ca.crt", &world.authority.pem, 0o644);
        world.server(&world.authority.server());
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Replaces a file, as one ought to.
    fn write(&self, name: &str, text: &str, mode: u32) {
        let (path, new) = (self.path(name), self.path(&format!("{name}.new")));
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, PermissionsExt::from_mode(mode)).unwrap();
        fs::rename(new, path).unwrap();
    }

    fn server(&self, identity: &Identity) {
        self.write("web/server.crt", &identity.cert, 0o644);
        self.write("web/server.key", &identity.key, 0o600);
    }

    fn config(&self, yaml: &str) {
        self.write("web/web.yml", yaml, 0o600);
    }

    fn exporter_args(&self) -> Vec<String> {
        vec![
            format!("--sessions.path={}", self.path("sessions").display()),
            format!("--web.listen-address=127.0.0.1:{}", self.exporter),
            format!("--web.config.file={}", self.path("web/web.yml").display()),
        ]
    }

    fn remediator_args(&self) -> Vec<String> {
        vec![
            "serve".to_owned(),
            format!("--sessions.path={}", self.path("sessions").display()),
            format!("--state.path={}", self.path("state").display()),
            format!("--webhook.token-file={}", self.path("token").display()),
            format!("--web.listen-address=127.0.0.1:{}", self.remediator),
            format!("--web.config.file={}", self.path("web/web.yml").display()),
        ]
    }

    fn start(&mut self, name: &str, program: &str, args: Vec<String>, port: u16) {
        let log = self.path(&format!("{name}.log"));
        self.processes
            .push(Process::start(name, Path::new(program), args, &log).unwrap());
        self.wait(name, || {
            TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())
        });
    }

    fn start_exporter(&mut self) {
        self.start("exporter", EXPORTER, self.exporter_args(), self.exporter);
    }

    fn start_both(&mut self) {
        self.start_exporter();
        self.start(
            "remediator",
            REMEDIATOR,
            self.remediator_args(),
            self.remediator,
        );
    }

    fn wait<T>(&self, what: &str, attempt: impl FnMut() -> testkit::Result<T>) -> T {
        let seen = self.patience.wait_until(SOON, what, attempt);
        seen.unwrap_or_else(|failure| panic!("{failure}\n{}", self.logs()))
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }

    fn logs(&self) -> String {
        self.processes
            .iter()
            .map(|process| process.log_tail(15))
            .collect()
    }

    fn client(&self) -> Client {
        Client::new(&self.authority)
    }

    /// Starts a program, which must refuse with these words and not with those.
    fn refused(&self, says: &[&str], never: &str) {
        for (program, args) in [
            (EXPORTER, self.exporter_args()),
            (REMEDIATOR, self.remediator_args()),
        ] {
            let (status, _, err) = process::run(Path::new(program), args, SOON).unwrap();
            assert_eq!(status.code(), Some(2), "{err}");
            for word in says {
                assert!(err.contains(word), "{word}: {err}");
            }
            assert!(err.contains("--web.config.file "), "{err}");
            assert!(never.is_empty() || !err.contains(never), "{err}");
        }
    }
}

const TLS: &str = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";
const MUTUAL: &str = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n";

fn user(name: &str, password: &str, cost: u32) -> String {
    format!(
        "basic_auth_users:\n  {name}: {}\n",
        bcrypt::hash(password, cost).unwrap()
    )
}

#[test]
fn prometheus_scrapes_and_alertmanager_delivers() {
    let prometheus = process::find(&["prometheus"]).unwrap_or_else(|| panic!("{INSTALL}"));
    let alertmanager = process::find(&["prometheus-alertmanager", "alertmanager"]);
    let alertmanager = alertmanager.unwrap_or_else(|| panic!("{INSTALL}"));
    let mut world = World::new();
    let client = world.authority.client("monitoring.example.org");
    world.write("client.crt", &client.cert, 0o644);
    world.write("client.key", &client.key, 0o600);
    world.write("password", "pass:word", 0o600);
    let sans = "  client_allowed_sans: [monitoring.example.org]\n";
    world.config(&format!(
        "{TLS}{MUTUAL}{sans}{}",
        user("prometheus", "pass:word", 6)
    ));
    world.start_both();

    let at = |name: &str| world.path(name).display().to_string();
    let tls = json!({
        "ca_file": at("web/ca.crt"), "cert_file": at("client.crt"), "key_file": at("client.key"),
    });
    let targets = [world.exporter, world.remediator].map(|port| format!("127.0.0.1:{port}"));
    let scrape = |name: &str, more: Value| {
        let mut job = json!({
            "job_name": name, "scheme": "https", "scrape_interval": "1s", "scrape_timeout": "1s",
            "static_configs": [{"targets": targets}],
        });
        job.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        job
    };
    let password = |file: &str| json!({"username": "prometheus", "password_file": at(file)});
    let no_certificate = json!({"ca_file": at("web/ca.crt")});
    let config = json!({"scrape_configs": [
        scrape("right", json!({"tls_config": tls, "basic_auth": password("password")})),
        scrape("wrong_password", json!({"tls_config": tls, "basic_auth": password("token")})),
        scrape("no_password", json!({"tls_config": tls})),
        scrape("no_certificate", json!({"tls_config": no_certificate, "basic_auth": password("password")})),
        scrape("no_authority", json!({"basic_auth": password("password")})),
    ]});
    world.write("prometheus.yml", &config.to_string(), 0o644);
    let [prometheus_port, alertmanager_port] = [(); 2].map(|()| net::free_port(None).unwrap());
    let args = vec![
        format!("--config.file={}", at("prometheus.yml")),
        format!("--storage.tsdb.path={}", at("prometheus")),
        format!("--web.listen-address=127.0.0.1:{prometheus_port}"),
    ];
    world.start(
        "prometheus",
        prometheus.to_str().unwrap(),
        args,
        prometheus_port,
    );
    let up = || -> testkit::Result<Vec<(String, String)>> {
        let url = format!("http://127.0.0.1:{prometheus_port}/api/v1/targets");
        let answer: Value =
            serde_json::from_str(&net::get(&url)?.ok()?).map_err(|e| e.to_string())?;
        let targets = answer["data"]["activeTargets"]
            .as_array()
            .ok_or("no targets")?;
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(targets
            .iter()
            .map(|target| (word(&target["labels"]["job"]), word(&target["health"])))
            .collect())
    };
    let found = world.wait("every target was scraped", || {
        let found = up()?;
        match found.len() == 10 && found.iter().all(|(_, health)| health != "unknown") {
            true => Ok(found),
            false => Err(format!("{found:?}")),
        }
    });
    for (job, health) in found {
        assert_eq!(
            health == "up",
            job == "right",
            "{job} is {health}\n{}",
            world.logs()
        );
    }

    let at = |name: &str| world.path(name).display().to_string();
    let credentials = json!({"type": "Bearer", "credentials_file": at("token")});
    let config = json!({
        "route": {"receiver": "remediator", "group_wait": "0s", "group_interval": "1s"},
        "receivers": [{"name": "remediator", "webhook_configs": [{
            "url": format!("https://127.0.0.1:{}/webhook", world.remediator),
            "http_config": {"authorization": credentials, "tls_config": tls},
        }]}],
    });
    world.write("alertmanager.yml", &config.to_string(), 0o644);
    let args = vec![
        format!("--config.file={}", at("alertmanager.yml")),
        format!("--storage.path={}", at("alertmanager")),
        "--cluster.listen-address=".to_owned(),
        format!("--web.listen-address=127.0.0.1:{alertmanager_port}"),
    ];
    world.start(
        "alertmanager",
        alertmanager.to_str().unwrap(),
        args,
        alertmanager_port,
    );
    let alert = json!([{"labels": {"alertname": "BaileysAuthFilesCleanup", "session": "nobody"}}]);
    world.wait("Alertmanager takes an alert", || {
        let url = format!("http://127.0.0.1:{alertmanager_port}/api/v2/alerts");
        let kind = [("Content-Type".to_owned(), "application/json".to_owned())];
        net::post(&url, &kind, alert.to_string().as_bytes())?.ok()
    });
    let asks = world.client().with(&client);
    world.wait("the webhook is delivered", || {
        let login = basic("prometheus", "pass:word");
        let metrics = asks.get(world.remediator, "/metrics", &login)?.2;
        let line = "baileys_remediator_webhook_requests_total{code=\"202\"} ";
        let count = metrics
            .lines()
            .find_map(|l| l.strip_prefix(line))
            .ok_or("no such line")?;
        if count == "0" {
            Err(count.to_owned())
        } else {
            Ok(())
        }
    });
}

#[test]
fn every_path_wants_the_password_and_the_webhook_its_token() {
    let mut world = World::new();
    let headers = "http_server_config:\n  headers:\n    Strict-Transport-Security: max-age=60\n    X-Frame-Options: deny\n    X-XSS-Protection: ''\n";
    world.config(&format!(
        "{TLS}{headers}{}",
        user("alice", "open sesame", 4)
    ));
    world.start_both();
    let client = world.client();
    let (good, wrong) = (basic("alice", "open sesame"), basic("alice", "open"));
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    for port in [world.exporter, world.remediator] {
        for path in [
            "/metrics",
            "/",
            "/-/healthy",
            "/-/ready",
            "/-/reload",
            "/nothing",
            "/webhook/",
            "//webhook",
            "/webhook%2f",
            "/Webhook",
        ] {
            // There it wants the token, see below.
            if path == "/-/reload" && port == world.remediator {
                continue;
            }
            for login in [
                "",
                &wrong,
                &basic("eve", "open sesame"),
                &bearer,
                &format!("{good}{good}"),
            ] {
                let (status, head, body) = client.get(port, path, login).unwrap();
                assert_eq!(
                    (status, body.as_str()),
                    (401, "Unauthorized\n"),
                    "{path} {login}"
                );
                assert!(head.contains("\r\nwww-authenticate: Basic "), "{head}");
                assert!(
                    head.contains("\r\nstrict-transport-security: max-age=60\r\n"),
                    "{head}"
                );
            }
            assert_ne!(client.status(port, path, &good), 401, "{path}");
        }
        let (status, head, body) = client.get(port, "/metrics", &good).unwrap();
        assert!(
            status == 200 && body.contains("# EOF") | body.contains("# TYPE"),
            "{body}"
        );
        assert!(head.contains("\r\nx-frame-options: deny\r\n"), "{head}");
        assert!(!head.contains("x-xss-protection"), "{head}");
    }
    // The token alone, because Alertmanager cannot send both; and nothing instead of it.
    let deliver = |headers: &str| {
        client
            .ask(
                world.remediator,
                "POST",
                "/webhook",
                headers,
                "{\"version\":\"4\",\"alerts\":[]}",
            )
            .unwrap()
    };
    assert_eq!(deliver(&bearer).0, 202);
    for headers in [
        "",
        good.as_str(),
        &bearer.replace("c2", "C2"),
        &format!("{good}{bearer}"),
    ] {
        let (status, head, _) = deliver(headers);
        assert_eq!(status, 401, "{headers}");
        assert!(head.contains("\r\nwww-authenticate: Bearer\r\n"), "{head}");
    }
    let reload = |headers: &str| client.ask(world.remediator, "POST", "/-/reload", headers, "");
    for headers in ["", good.as_str(), &format!("{good}{bearer}")] {
        let (status, head, _) = reload(headers).unwrap();
        assert_eq!(status, 401, "{headers}");
        assert!(head.contains("\r\nwww-authenticate: Bearer\r\n"), "{head}");
    }
    let (status, _, body) = reload(&bearer).unwrap();
    assert_eq!((status, body.as_str()), (200, "configuration loaded\n"));
    // In the exporter that path has no meaning.
    assert_eq!(client.status(world.exporter, "/webhook", &bearer), 401);
    // HTTP to an HTTPS server gets an error that says so.
    let (status, _, body) = plain(world.exporter, "/metrics", &good).unwrap();
    assert!(
        status == 400 && body.contains("https://"),
        "{status} {body}"
    );
}

#[test]
fn clients_without_the_right_certificate_stay_out() {
    let mut world = World::new();
    let others = Authority::new("another authority");
    let (own, other) = (
        world.authority.client("a.example.org"),
        others.client("a.example.org"),
    );
    let named = world.authority.client("b.example.org");
    let as_server = world
        .authority
        .issue(&["a.example.org"], ExtendedKeyUsagePurpose::ServerAuth);
    let by_uri = world.authority.client("spiffe://example.org/prometheus");
    let by_ip = world.authority.client("127.0.0.7");
    let by_mail = world.authority.client("ops@example.org");
    let client = world.client();
    let ca = "  client_ca_file: ca.crt\n";
    let sans = "  client_allowed_sans: [a.example.org, 'spiffe://example.org/prometheus', 127.0.0.7, ops@example.org]\n";
    let (own, other, named, as_server, by_uri, by_ip, by_mail) = (
        client.with(&own),
        client.with(&other),
        client.with(&named),
        client.with(&as_server),
        client.with(&by_uri),
        client.with(&by_ip),
        client.with(&by_mail),
    );
    // Which certificates pass: none, own, another authority's, another name, for servers only,
    // named by URI, by IP address, by mail address.
    for (policy, more, may) in [
        (
            "NoClientCert",
            "",
            [true, true, true, true, true, true, true, true],
        ),
        (
            "RequestClientCert",
            "",
            [true, true, true, true, true, true, true, true],
        ),
        (
            "RequireAnyClientCert",
            "",
            [false, true, true, true, true, true, true, true],
        ),
        (
            "RequireClientCert",
            "",
            [false, true, true, true, true, true, true, true],
        ),
        (
            "VerifyClientCertIfGiven",
            ca,
            [true, true, false, true, false, true, true, true],
        ),
        (
            "RequireAndVerifyClientCert",
            ca,
            [false, true, false, true, false, true, true, true],
        ),
        (
            "RequireAndVerifyClientCert",
            &format!("{ca}{sans}"),
            [false, true, false, false, false, true, true, true],
        ),
    ] {
        world.config(&format!("{TLS}  client_auth_type: {policy}\n{more}"));
        world.start_exporter();
        let clients = [
            &client, &own, &other, &named, &as_server, &by_uri, &by_ip, &by_mail,
        ];
        for (n, (client, may)) in clients.into_iter().zip(may).enumerate() {
            for version in [&version::TLS12, &version::TLS13] {
                let answer = client.only(version).get(world.exporter, "/-/healthy", "");
                assert_eq!(
                    answer.is_ok(),
                    may,
                    "{policy} {more}, client {n}: {answer:?}"
                );
            }
        }
        world.processes.clear();
    }
}

#[test]
fn versions_suites_and_curves() {
    let mut world = World::new();
    let client = world.client();
    let (old, new) = (client.only(&version::TLS12), client.only(&version::TLS13));
    for (more, may) in [
        ("", [true, true]),
        (
            "  min_version: TLS12\n  max_version: TLS12\n",
            [true, false],
        ),
        ("  min_version: TLS13\n", [false, true]),
        // The authority's keys are for ECDSA.
        (
            "  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n",
            [false, true],
        ),
        ("  cipher_suites: [TLS_AES_128_GCM_SHA256]\n", [false, true]),
        (
            "  cipher_suites: [TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]\n  prefer_server_cipher_suites: false\n",
            [true, true],
        ),
        ("  curve_preferences: [CurveP384]\n", [true, true]),
    ] {
        world.config(&format!("{TLS}{more}"));
        world.start_exporter();
        for (client, may) in [&old, &new].into_iter().zip(may) {
            let answer = client.get(world.exporter, "/-/healthy", "");
            assert_eq!(answer.is_ok(), may, "{more}: {answer:?}");
        }
        if more.contains("TLS_ECDHE_ECDSA_WITH_CHACHA20") {
            // The client's order counts: it would rather have AES.
            let mut stream = old.connect(world.exporter).unwrap();
            exchange(&mut stream, "GET", "/-/healthy", "", "").unwrap();
            let suite = stream.conn.negotiated_cipher_suite().unwrap().suite();
            assert_eq!(
                format!("{suite:?}"),
                "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
            );
        }
        if more.contains("CurveP384") {
            let mut stream = new.connect(world.exporter).unwrap();
            exchange(&mut stream, "GET", "/-/healthy", "", "").unwrap();
            let group = stream.conn.negotiated_key_exchange_group().unwrap().name();
            assert_eq!(format!("{group:?}"), "secp384r1");
        }
        if more.is_empty() {
            // A client of TLS 1.1 gets the alert for its version (70).
            let mut body = vec![3, 2];
            body.extend([7; 32]);
            body.extend([0, 0, 4, 0xc0, 0x09, 0xc0, 0x13, 1, 0]);
            // The signatures that it knows.
            body.extend([0, 8, 0, 13, 0, 4, 0, 2, 4, 3]);
            let mut hello = vec![22, 3, 1, 0, body.len() as u8 + 4, 1, 0, 0, body.len() as u8];
            hello.extend(body);
            let mut stream = TcpStream::connect(("127.0.0.1", world.exporter)).unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            stream.write_all(&hello).unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            assert_eq!(
                (answer.first(), answer.last()),
                (Some(&21), Some(&70)),
                "{answer:?}"
            );
        }
        world.processes.clear();
    }
}

#[test]
fn what_changes_counts_at_once_and_what_breaks_does_not() {
    let mut world = World::new();
    let (first, second) = ("first password", "second password");
    world.config(&format!("{TLS}{}", user("alice", first, 4)));
    world.start_both();
    let client = world.client();
    let both = [world.exporter, world.remediator];
    let is = |client: &Client, password: &str, wanted: u16| {
        for port in both {
            assert_eq!(
                client.status(port, "/metrics", &basic("alice", password)),
                wanted,
                "{port}"
            );
        }
    };
    let complaints = || {
        ["exporter", "remediator"].map(|name| {
            world
                .log(name)
                .lines()
                .filter(|line| line.contains("the former one stays in force"))
                .count()
        })
    };
    is(&client, first, 200);
    // Files that are young are read again in any case; from here on they are not.
    std::thread::sleep(Duration::from_secs(4));
    is(&client, first, 200);

    // Another certificate, of another authority.
    let authority = Authority::new("the next authority");
    let renewed = authority.server();
    world.server(&renewed);
    let next = Client::new(&authority);
    is(&next, first, 200);
    for port in both {
        assert!(
            client.get(port, "/metrics", "").is_err(),
            "the former certificate"
        );
    }
    // Between the two renames above, certificate and key may have been seen not to fit.
    let before = complaints();

    // Broken in many ways, and each is reported once.
    let stranger = authority.server();
    let breaks: [(&str, &dyn Fn()); 7] = [
        ("does not belong", &|| {
            world.write("web/server.key", &stranger.key, 0o600)
        }),
        ("chmod 0600", &|| {
            world.write("web/server.key", &renewed.key, 0o640)
        }),
        ("does not exist", &|| {
            fs::remove_file(world.path("web/server.key")).unwrap()
        }),
        ("no certificate", &|| {
            world.write("web/server.crt", "", 0o644)
        }),
        ("line 2", &|| {
            world.config("tls_server_config:\n  cert: [}\n")
        }),
        ("configures nothing", &|| world.config("")),
        ("restart", &|| world.config(TLS)),
    ];
    for (n, (says, breaks)) in breaks.iter().enumerate() {
        breaks();
        for _ in 0..3 {
            is(&next, first, 200);
            is(&next, second, 401);
        }
        let told = complaints();
        for (which, name) in ["exporter", "remediator"].iter().enumerate() {
            assert_eq!(
                told[which],
                before[which] + n + 1,
                "{says}: {}",
                world.log(name)
            );
            assert!(
                world.log(name).contains(says),
                "{says}: {}",
                world.log(name)
            );
        }
        if *says != "line 2" {
            world.server(&renewed);
            world.config(&format!("{TLS}{}", user("alice", first, 4)));
            is(&next, first, 200);
            assert_eq!(complaints(), told, "put right again");
        }
    }

    // Another password: the former does not work any more, however often it did.
    world.config(&format!("{TLS}{}", user("alice", second, 4)));
    is(&next, first, 401);
    is(&next, second, 200);
    // A certificate becomes necessary.
    world.write("web/ca.crt", &authority.pem, 0o644);
    let mut open = next.connect(world.exporter).unwrap();
    let request = format!(
        "GET /-/healthy HTTP/1.1\r\nHost: a\r\n{}\r\n",
        basic("alice", second)
    );
    let mut answer_on_open = || {
        open.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        let mut byte = [0];
        while !answer.ends_with("healthy.\n") {
            open.read_exact(&mut byte).unwrap();
            answer.push(char::from(byte[0]));
        }
        answer
    };
    assert!(!answer_on_open().contains("connection: close"));
    world.config(&format!("{TLS}{MUTUAL}{}", user("alice", second, 4)));
    for port in both {
        assert!(next.get(port, "/metrics", &basic("alice", second)).is_err());
    }
    is(&next.with(&authority.client("x.example.org")), second, 200);
    // What was open before is closed with its next answer.
    assert!(answer_on_open().contains("\r\nconnection: close\r\n"));
    // And cannot be given up by a file that is half written.
    world.config(&format!("{TLS}{}", user("alice", second, 4)));
    for port in both {
        assert!(next.get(port, "/metrics", &basic("alice", second)).is_err());
    }
    assert!(
        world
            .log("exporter")
            .contains("client_auth_type asks for less"),
        "{}",
        world.log("exporter")
    );
}

/// As many silent clients as there are places, and clients that send request after request
/// without reading: a scrape waits for one header timeout, not for two.
#[test]
fn silent_and_pipelining_clients_delay_a_scrape_by_one_header_timeout() {
    let mut world = World::new();
    world.config(TLS);
    world.start_both();
    let client = world.client();
    let places = exporter_toolkit::ServerLimits::default().max_connections;
    for port in [world.exporter, world.remediator] {
        let silent = |count: usize| -> Vec<TcpStream> {
            let connect = |n: usize| {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
                if n.is_multiple_of(2) {
                    stream.write_all(&[22, 3, 1, 2, 0, 1]).unwrap();
                }
                stream
            };
            (0..count).map(connect).collect()
        };
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let request = b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n";
                        let Ok(mut stream) = client.connect(port) else {
                            continue;
                        };
                        while stream.write_all(request).is_ok() {
                            if stop.load(Ordering::Relaxed) {
                                return;
                            }
                        }
                    }
                });
            }
            let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let mut first = silent(places);
                let mut scrape = client.connect(port).unwrap();
                // Behind the scrape: these are still waiting for their own timeout when the
                // scrape is answered.
                let mut second = silent(places / 2);
                let answer = exchange(&mut scrape, "GET", "/metrics", "", "").unwrap();
                assert_eq!(answer.0, 200);
                for stream in &mut second {
                    stream.set_nonblocking(true).unwrap();
                    let read = stream.read(&mut [0]).map_err(|error| error.kind());
                    assert_eq!(read, Err(std::io::ErrorKind::WouldBlock));
                }
                for stream in &mut first {
                    stream.set_read_timeout(Some(SOON)).unwrap();
                    let read = stream.read_to_end(&mut Vec::new());
                    let read = read.map_err(|error| error.kind());
                    assert_ne!(read, Err(std::io::ErrorKind::WouldBlock), "still open");
                }
            }));
            stop.store(true, Ordering::Relaxed);
            if let Err(panic) = seen {
                std::panic::resume_unwind(panic);
            }
        });
    }
}

/// Refused clients keep no place, and silent ones only for the header timeout; at the
/// webhook too.
#[test]
fn refused_clients_do_not_block_scrapes_and_webhooks() {
    let mut world = World::new();
    world.config(&user("alice", "right", 4));
    world.start_both();
    let right = basic("alice", "right");
    for (port, request) in [
        (world.exporter, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"),
        (world.remediator, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"),
        (
            world.remediator,
            "POST /webhook HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        ),
    ] {
        // Each keeps its end open, for longer than anybody waits here.
        let mut refused = Vec::new();
        for _ in 0..300 {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
            assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
            refused.push(stream);
        }
        // And these never say anything.
        for _ in 0..300 {
            refused.push(TcpStream::connect(("127.0.0.1", port)).unwrap());
        }
        assert_eq!(plain(port, "/metrics", &right).unwrap().0, 200);
        let mut stream = TcpStream::connect(("127.0.0.1", world.remediator)).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let token = format!("Authorization: Bearer {TOKEN}\r\n");
        let alerts = json!({"version": "4", "alerts": []}).to_string();
        let (status, _, body) = exchange(&mut stream, "POST", "/webhook", &token, &alerts).unwrap();
        assert_eq!(status, 202, "{body}");
    }
}

#[test]
fn a_flood_of_wrong_passwords_does_not_stop_scrapes() {
    let mut world = World::new();
    world.config(&format!("{TLS}{}", user("prometheus", "right", 11)));
    world.start_both();
    let client = world.client();
    for port in [world.exporter, world.remediator] {
        assert_eq!(
            client.status(port, "/metrics", &basic("prometheus", "right")),
            200
        );
        let (stop, busy, wrong) = (
            AtomicBool::new(false),
            AtomicUsize::new(0),
            AtomicUsize::new(0),
        );
        std::thread::scope(|scope| {
            for n in 0..24 {
                let (client, stop, busy, wrong) = (&client, &stop, &busy, &wrong);
                scope.spawn(move || {
                    let name = if n % 2 == 0 { "prometheus" } else { "eve" };
                    while !stop.load(Ordering::Relaxed) {
                        match client.get(port, "/metrics", &basic(name, "wrong")) {
                            Ok((401, ..)) => wrong.fetch_add(1, Ordering::Relaxed),
                            Ok((503, ..)) => busy.fetch_add(1, Ordering::Relaxed),
                            answer => panic!("{answer:?}"),
                        };
                    }
                });
            }
            let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                world.wait("the queue is full", || match busy.load(Ordering::Relaxed) {
                    0 => Err("no client was turned away".to_owned()),
                    _ => Ok(()),
                });
                for _ in 0..30 {
                    assert_eq!(
                        client.status(port, "/metrics", &basic("prometheus", "right")),
                        200
                    );
                }
            }));
            stop.store(true, Ordering::Relaxed);
            if let Err(panic) = seen {
                std::panic::resume_unwind(panic);
            }
        });
        assert!(wrong.load(Ordering::Relaxed) > 0);
    }
}

#[test]
fn files_that_cannot_be_used_are_refused() {
    let world = World::new();
    let refuses = |yaml: &str, says: &[&str]| {
        world.config(yaml);
        world.refused(says, "SECRET");
    };
    let tls = |more: &str| format!("{TLS}  {more}\n");
    let hash = bcrypt::hash("x", 4).unwrap();
    for (yaml, says) in [
        // Nothing at all.
        (
            String::new(),
            &["configures nothing", "leave the flag out"][..],
        ),
        // Unknown keys, with their line.
        (
            "tls_config:\n  cert_file: a".to_owned(),
            &["tls_config", "line 1"],
        ),
        (tls("certfile: a"), &["certfile", "line 4"]),
        (
            "http_server_config:\n  headers:\n    Server: me".to_owned(),
            &["Server", "line 3"],
        ),
        ("rate_limit:\n  bursts: 1".to_owned(), &["bursts", "line 2"]),
        (
            format!("basic_auth_users:\n  a: {hash}\n  a: {hash}"),
            &["line 3"],
        ),
        // Values, and never what they were.
        (
            "basic_auth_users:\n  a: SECRET".to_owned(),
            &["line 2", "htpasswd"],
        ),
        (
            format!("basic_auth_users:\n  a: {hash}\n  'c:d': {hash}"),
            &["line 3", "colon"],
        ),
        ("basic_auth_users: SECRET".to_owned(), &["line 1"]),
        (
            format!(
                "basic_auth_users:\n  a: {}",
                hash.replacen("$04$", "$20$", 1)
            ),
            &["line 2", "cost"],
        ),
        (
            "http_server_config:\n  headers:\n    X-Frame-Options: SECRET".to_owned(),
            &["deny or sameorigin"],
        ),
        (
            "rate_limit:\n  interval: SECRET".to_owned(),
            &["line 2", "1s"],
        ),
        (
            "rate_limit:\n  interval: 1s".to_owned(),
            &["rate_limit.burst"],
        ),
        // What rustls cannot do, or is insecure.
        (
            tls("min_version: TLS10"),
            &["min_version", "TLS12 and TLS13"],
        ),
        (
            tls("max_version: TLS11"),
            &["max_version", "TLS12 and TLS13"],
        ),
        (tls("min_version: TLS13\n  max_version: TLS12"), &["below"]),
        (
            tls("cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]"),
            &[
                "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            ],
        ),
        (
            tls("max_version: TLS12\n  cipher_suites: [TLS_AES_128_GCM_SHA256]"),
            &["cipher_suites"],
        ),
        (
            tls("curve_preferences: [CurveP521]"),
            &["CurveP521", "CurveP384"],
        ),
        (
            tls("client_auth_type: Anybody"),
            &["RequireAndVerifyClientCert"],
        ),
        (
            tls("client_auth_type: RequireAndVerifyClientCert"),
            &["client_ca_file is missing"],
        ),
        (tls("client_ca_file: ca.crt"), &["client_auth_type"]),
        (
            tls("client_auth_type: RequestClientCert\n  client_allowed_sans: [a]"),
            &["client_allowed_sans"],
        ),
        (
            tls("client_auth_type: RequireAnyClientCert\n  client_ca_file: ca.crt"),
            &["client_ca_file"],
        ),
        (
            tls("client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: server.key"),
            &["client_ca_file", "no certificate"],
        ),
        // Halves.
        (
            "tls_server_config:\n  min_version: TLS13".to_owned(),
            &["cert_file is missing"],
        ),
        (
            "tls_server_config:\n  cert_file: server.crt".to_owned(),
            &["key_file is missing"],
        ),
        (
            "tls_server_config:\n  cert_file: server.crt\n  key_file: nothing".to_owned(),
            &["nothing does not exist"],
        ),
        (
            "tls_server_config:\n  cert_file: server.crt\n  key_file: server.crt".to_owned(),
            &["chmod 0600 "],
        ),
        (tls("cert: x"), &["not both"]),
        (
            "tls_server_config:\n  cert_file: server.crt\n  key_file: 'credential:key'".to_owned(),
            &["LoadCredential="],
        ),
    ] {
        refuses(&yaml, says);
    }
    world.write("web/other.key", &world.authority.server().key, 0o600);
    refuses(
        "tls_server_config:\n  cert_file: server.crt\n  key_file: other.key",
        &["does not belong"],
    );
    world.write("web/other.key", "SECRET", 0o600);
    refuses(
        "tls_server_config:\n  cert_file: server.crt\n  key_file: other.key",
        &["no private key"],
    );

    // Who else may read or write it. A file without a secret may be read by everybody.
    let key = fs::read_to_string(world.path("web/server.key"))
        .unwrap()
        .replace('\n', "\n    ");
    for yaml in [
        format!("basic_auth_users:\n  a: {hash}\n"),
        format!("tls_server_config:\n  cert_file: server.crt\n  key: |\n    {key}\n"),
    ] {
        for (mode, says) in [
            (0o640, "can be read by its group"),
            (0o644, "can be read by everybody"),
            (0o620, "can be written by its group"),
            (0o602, "can be written by everybody"),
        ] {
            world.write("web/web.yml", &yaml, mode);
            let fix = format!(
                "fix it with: chmod 0600 {}",
                world.path("web/web.yml").display()
            );
            world.refused(&[says, &fix], &key[40..60]);
        }
    }
    fs::remove_file(world.path("web/web.yml")).unwrap();
    world.refused(&["does not exist"], "");
    let made = process::run(Path::new("mkfifo"), [world.path("web/web.yml")], SOON).unwrap();
    assert!(made.0.success());
    world.refused(&["not a file"], "");
}

#[test]
fn secrets_come_through_links_and_from_systemd() {
    let mut world = World::new();
    let identity = world.authority.server();
    // As Kubernetes mounts a secret: links to links.
    fs::create_dir(world.path("data")).unwrap();
    world.write("data/tls.key", &identity.key, 0o400);
    world.write("web/server.crt", &identity.cert, 0o644);
    fs::remove_file(world.path("web/server.key")).unwrap();
    symlink(world.path("data"), world.path("web/..data")).unwrap();
    symlink("..data/tls.key", world.path("web/server.key")).unwrap();
    world.write("web/web.yml", TLS, 0o644);
    world.start_exporter();
    let client = world.client();
    assert_eq!(client.status(world.exporter, "/-/healthy", ""), 200);
    // Kubernetes turns one link to renew.
    let next = Authority::new("the next authority");
    let renewed = next.server();
    fs::create_dir(world.path("data2")).unwrap();
    world.write("data2/tls.key", &renewed.key, 0o400);
    symlink(world.path("data2"), world.path("web/turn")).unwrap();
    fs::rename(world.path("web/turn"), world.path("web/..data")).unwrap();
    world.write("web/server.crt", &renewed.cert, 0o644);
    assert_eq!(
        Client::new(&next).status(world.exporter, "/-/healthy", ""),
        200
    );
    world.processes.clear();

    // As systemd passes credentials: readable by a group.
    fs::create_dir(world.path("credentials")).unwrap();
    let hash = user("alice", "a", 4);
    world.write("credentials/key", &identity.key, 0o440);
    world.write("credentials/webhook", TOKEN, 0o440);
    let crt = world.path("web/server.crt");
    world.write("web/server.crt", &identity.cert, 0o644);
    let yaml = format!(
        "tls_server_config:\n  cert_file: {}\n  key_file: credential:key\n{hash}",
        crt.display()
    );
    world.write("credentials/web.yml", &yaml, 0o440);
    let mut args = world.remediator_args();
    args.retain(|arg| {
        !arg.starts_with("--web.config.file") && !arg.starts_with("--webhook.token-file")
    });
    args.push("--web.config.file=credential:web.yml".to_owned());
    args.push("--webhook.token-file=credential:webhook".to_owned());
    // Outside of it the same file is refused.
    let elsewhere = world.path("web").display().to_string();
    for (dir, starts) in [
        (elsewhere, false),
        (world.path("credentials").display().to_string(), true),
    ] {
        let mut env = vec![
            format!("CREDENTIALS_DIRECTORY={dir}"),
            REMEDIATOR.to_owned(),
        ];
        env.extend(args.iter().cloned());
        if starts {
            world.start("remediator", "env", env, world.remediator);
            assert_eq!(
                client.status(world.remediator, "/metrics", &basic("alice", "a")),
                200
            );
            assert_eq!(client.status(world.remediator, "/metrics", ""), 401);
        } else {
            fs::remove_file(world.path("web/web.yml")).unwrap();
            for name in ["web.yml", "webhook", "key"] {
                symlink(
                    world.path("credentials").join(name),
                    world.path("web").join(name),
                )
                .unwrap();
            }
            let (status, _, err) = process::run(Path::new("env"), env, SOON).unwrap();
            assert_eq!(status.code(), Some(2), "{err}");
            assert!(
                err.contains("can be read by its group") && err.contains("chmod 0600 "),
                "{err}"
            );
        }
    }
}

/// The exporter's own HTTP probe, against the remediator as the server.
#[test]
fn a_probe_over_https_believes_only_who_is_certified() {
    let mut world = World::new();
    world.config(TLS);
    world.start(
        "remediator",
        REMEDIATOR,
        world.remediator_args(),
        world.remediator,
    );
    let stranger = Authority::new("another authority");
    world.write("stranger.crt", &stranger.pem, 0o644);
    fs::remove_dir(world.path("sessions/bot")).unwrap();
    fixture::unpack("normal", &world.path("sessions/bot"), SystemTime::now()).unwrap();
    for (host, ca, says) in [
        // The answer is no JSON, but it came.
        ("127.0.0.1", Some("web/ca.crt"), "did not answer JSON"),
        ("localhost", Some("web/ca.crt"), "did not answer JSON"),
        ("127.0.0.2", Some("web/ca.crt"), "connect"),
        (
            "127.0.0.1",
            Some("stranger.crt"),
            "connection.http.ca_file names who",
        ),
        ("127.0.0.1", Some("token"), "holds no certificate"),
        ("127.0.0.1", None, "certifi"),
    ] {
        let ca_file = ca.map_or(String::new(), |ca| {
            format!(", ca_file: {}", world.path(ca).display())
        });
        let yaml = format!(
            "connection:\n  http: {{url: 'https://{host}:{}/-/healthy', pointer: /a, connected: [1], disconnected: [2]{ca_file}}}\n",
            world.remediator
        );
        world.write("config.yml", &yaml, 0o600);
        let args = [
            "doctor".to_owned(),
            format!("--config.file={}", world.path("config.yml").display()),
            format!("--sessions.path={}", world.path("sessions").display()),
            format!("--state.path={}", world.path("state").display()),
        ];
        let (_, out, err) = process::run(Path::new(REMEDIATOR), args, SOON).unwrap();
        let shown = format!("{out}{err}")
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        assert!(shown.contains(says), "{host} {ca:?}: {shown}");
    }
}

#[test]
fn requests_are_counted_where_a_rate_is_set() {
    let mut world = World::new();
    world.config("rate_limit:\n  interval: 10m\n  burst: 3\n");
    world.start_both();
    for port in [world.exporter, world.remediator] {
        for wanted in [200, 200, 200, 429, 429] {
            assert_eq!(plain(port, "/-/healthy", "").unwrap().0, wanted);
        }
    }
    // An alert that gets 429 would be lost.
    let mut stream = TcpStream::connect(("127.0.0.1", world.remediator)).unwrap();
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    let body = "{\"version\":\"4\",\"alerts\":[]}";
    assert_eq!(
        exchange(&mut stream, "POST", "/webhook", &bearer, body)
            .unwrap()
            .0,
        202
    );
}

#[test]
fn the_example_is_what_the_toolkit_and_both_programs_accept() {
    let mut world = World::new();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/web-config.example.yml");
    let example = fs::read_to_string(example).unwrap();
    let hash = example
        .lines()
        .find_map(|line| line.strip_prefix("  prometheus: "))
        .unwrap();
    let example = example.replace(hash, &bcrypt::hash("right", 4).unwrap());
    world.config(&example);
    let promtool = process::find(&["promtool"]).unwrap_or_else(|| panic!("{INSTALL}"));
    let check = |world: &World| {
        let yml = world.path("web/web.yml");
        let args = ["check".as_ref(), "web-config".as_ref(), yml.as_os_str()];
        process::run(&promtool, args, SOON).unwrap()
    };
    let (status, out, err) = check(&world);
    assert!(status.success(), "{out}{err}");
    world.start_both();
    let client = world
        .client()
        .with(&world.authority.client("prometheus.example.org"));
    for port in [world.exporter, world.remediator] {
        assert_eq!(
            client.status(port, "/metrics", &basic("prometheus", "right")),
            200
        );
        assert_eq!(client.status(port, "/metrics", ""), 401);
        assert!(world.client().get(port, "/metrics", "").is_err());
    }
    // The check does check.
    world.config(&example.replace("client_auth_type:", "client_auth_types:"));
    assert!(!check(&world).0.success());
}

#[test]
fn a_port_that_is_taken_is_an_error_with_tls_as_well() {
    let world = World::new();
    world.config(TLS);
    let _held = TcpListener::bind(("127.0.0.1", world.exporter)).unwrap();
    let (status, _, err) = process::run(Path::new(EXPORTER), world.exporter_args(), SOON).unwrap();
    assert_eq!(status.code(), Some(2), "{err}");
    assert!(err.contains("already in use"), "{err}");
}

/// `health` knows what the web configuration demands, and has neither password nor certificate.
#[test]
fn health_asks_through_tls_passwords_and_client_certificates() {
    let users = user("prometheus", "secret", 4);
    for config in [
        TLS.to_owned(),
        users.clone(),
        format!("{TLS}{users}"),
        format!("{TLS}{MUTUAL}{users}"),
        format!("{TLS}  client_auth_type: RequireAnyClientCert\n  max_version: TLS12\n"),
        format!("{TLS}rate_limit: {{interval: 1h, burst: 1}}\n"),
    ] {
        let mut world = World::new();
        world.config(&config);
        let web = format!("--web.config.file={}", world.path("web/web.yml").display());
        let health = |program: &str, port: u16, web: &str| {
            let listen = format!("--web.listen-address=:{port}");
            let args = ["health", &listen, web];
            let run = process::run(Path::new(program), args, SOON).unwrap();
            (run.0.code(), run.1 + &run.2)
        };
        for (program, port) in [(EXPORTER, world.exporter), (REMEDIATOR, world.remediator)] {
            let (code, said) = health(program, port, &web);
            assert_eq!(code, Some(1), "nothing listens: {said}");
        }
        world.start_both();
        for (program, port) in [(EXPORTER, world.exporter), (REMEDIATOR, world.remediator)] {
            world.wait("health", || match health(program, port, &web) {
                (Some(0), _) => Ok(()),
                (code, said) => Err(format!("{config}: {code:?} {said}")),
            });
            // Without the web configuration it is another server than expected.
            let (code, said) = health(program, port, "--log.level=info");
            assert_eq!(code, Some(1), "{config}: {said}");
            assert!(!said.contains("secret"), "{said}");
        }
        if config.contains("cert_file") {
            // Another server's certificate.
            world.write(
                "web/other.yml",
                &config
                    .replace("server.crt", "other.crt")
                    .replace("server.key", "other.key"),
                0o600,
            );
            let other = world.authority.server();
            world.write("web/other.crt", &other.cert, 0o644);
            world.write("web/other.key", &other.key, 0o600);
            let other = format!(
                "--web.config.file={}",
                world.path("web/other.yml").display()
            );
            let (code, said) = health(EXPORTER, world.exporter, &other);
            assert_eq!(code, Some(1), "{config}: {said}");
        }
    }
    let args = ["health", "--web.config.file=/nowhere/web.yml"];
    let run = process::run(Path::new(EXPORTER), args, SOON).unwrap();
    assert_eq!(run.0.code(), Some(2), "{}", run.2);
}

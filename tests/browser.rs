//! The pages of both programs in headless Chromium: `tests/browser/check.mjs` looks at the
//! exporter's over folders that the real library wrote, `remediator.mjs` at those of the
//! remediator after real runs. The screenshots are in `target/screenshots`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use testkit::npm;
use testkit::process::{self, Process};
use testkit::{Patience, fixture, net};

const EXPORTER: &str = env!("CARGO_BIN_EXE_baileys_exporter");
const REMEDIATOR: &str = env!("CARGO_BIN_EXE_baileys_remediator");
const BOUND: Duration = Duration::from_secs(180);
/// A directory may have this name, and a bot's owner may be another user.
const HOSTILE: &str = "<img src=x onerror=alert(1)>";

#[test]
fn the_page_reads_well_on_a_desk_and_on_a_phone() {
    let chromium = process::find(&["chromium", "chromium-browser"]).expect(
        "no chromium on the PATH; this test needs it: apt-get install --no-install-recommends chromium",
    );
    let scripts = install();

    let dir = tempfile::tempdir().unwrap();
    let mut sessions = lay_out(dir.path());
    let config = dir.path().join("config.yml");
    let pages = "pages: {remediator: 'https://bots.example.org/remediator'}\n";
    fs::write(&config, pages).unwrap();
    sessions.push(format!("--config.file={}", config.display()));
    let port = net::free_port(None).unwrap();
    let log = dir.path().join("exporter.log");
    let listen = format!("--web.listen-address=127.0.0.1:{port}");
    let exporter = Path::new(EXPORTER);
    let args = sessions.iter().map(String::as_str).chain([listen.as_str()]);
    let mut running = Process::start("the exporter", exporter, args, &log).unwrap();
    let url = format!("http://127.0.0.1:{port}/");
    let ready = Patience::new(BOUND).wait_until(BOUND, "the exporter is ready", || {
        running.alive()?;
        net::get(&format!("{url}-/ready"))?.ok()
    });
    ready.unwrap();

    let args = ["status", "--output", "json"]
        .into_iter()
        .chain(sessions.iter().map(String::as_str));
    let (code, status, errors) = process::run(exporter, args, BOUND).unwrap();
    assert_eq!(
        code.code(),
        Some(2),
        "one folder cannot be looked at: {errors}"
    );
    let status_file = dir.path().join("status.json");
    fs::write(&status_file, status).unwrap();

    let screenshots = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
    let check = scripts.join("check.mjs");
    let args: [&OsStr; 5] = [
        check.as_ref(),
        chromium.as_ref(),
        url.as_ref(),
        status_file.as_ref(),
        screenshots.as_ref(),
    ];
    let (code, out, errors) = process::run(Path::new("node"), args, BOUND).unwrap();
    assert!(code.success(), "{code}\n{out}{errors}");
}

/// The remediator's pages over runs that were done, refused and asked for in vain.
#[test]
fn the_remediators_pages_read_well_too() {
    let chromium = process::find(&["chromium", "chromium-browser"]).expect(
        "no chromium on the PATH; this test needs it: apt-get install --no-install-recommends chromium",
    );
    let scripts = install();
    let dir = tempfile::tempdir().unwrap();
    let mut flags = lay_out(dir.path());
    // A name of 200 digits and one with a path that is not there, as for the exporter.
    flags.retain(|flag| !flag.contains("no-such-directory") && !flag.contains("a-file"));
    flags.push(format!(
        "--state.path={}",
        dir.path().join("state").display()
    ));
    let token = dir.path().join("token");
    fs::write(&token, "c2VjcmV0LXRva2VuLW9mLXRoZS10ZXN0cw").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    // Something to warn of.
    let state = dir.path().join("state");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).unwrap();
    let port = net::free_port(None).unwrap();
    let log = dir.path().join("remediator.log");
    let program = Path::new(REMEDIATOR);
    let own = [
        "serve".to_owned(),
        format!("--web.listen-address=127.0.0.1:{port}"),
        format!("--webhook.token-file={}", token.display()),
    ];
    let mut running =
        Process::start("the remediator", program, own.iter().chain(&flags), &log).unwrap();
    let url = format!("http://127.0.0.1:{port}/");
    let patience = Patience::new(BOUND);
    let ready = patience.wait_until(BOUND, "the remediator is ready", || {
        running.alive()?;
        net::get(&format!("{url}-/ready"))?.ok()
    });
    ready.unwrap();

    let headers = [(
        "Authorization".to_owned(),
        "Bearer c2VjcmV0LXRva2VuLW9mLXRoZS10ZXN0cw".to_owned(),
    )];
    for session in [
        "company_962302",
        "company_normal",
        HOSTILE,
        "company_962302",
        "company_elsewhere",
    ] {
        let body = serde_json::json!({
            "version": "4", "receiver": "remediator", "groupKey": "{}:{}",
            "alerts": [{
                "status": "firing", "fingerprint": "deadbeef00c0ffee",
                "labels": {"ladder": "baileys_auth_files", "tier": "cleanup", "session": session},
            }],
        });
        let answer = net::post(
            &format!("{url}webhook"),
            &headers,
            body.to_string().as_bytes(),
        )
        .unwrap();
        assert_eq!(answer.status, 202, "{}", answer.body);
        let idle = patience.wait_until(BOUND, "the run ends", || {
            let waiting = net::Metrics::scrape(&format!("{url}metrics"))?
                .sum("baileys_remediator_queue_length", &[])?;
            if waiting == 0.0 {
                Ok(())
            } else {
                Err(format!("{waiting} wait"))
            }
        });
        idle.unwrap();
    }
    let args = ["runs", "--output", "json"]
        .into_iter()
        .chain(flags.iter().map(String::as_str));
    let (code, runs, errors) = process::run(program, args, BOUND).unwrap();
    assert!(code.success(), "{errors}");
    let runs_file = dir.path().join("runs.json");
    fs::write(&runs_file, runs).unwrap();
    let screenshots = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
    let check = scripts.join("remediator.mjs");
    let args: [&OsStr; 5] = [
        check.as_ref(),
        chromium.as_ref(),
        url.as_ref(),
        runs_file.as_ref(),
        screenshots.as_ref(),
    ];
    let (code, out, errors) = process::run(Path::new("node"), args, BOUND).unwrap();
    assert!(code.success(), "{code}\n{out}{errors}");
}

/// A pause, an open breaker and an armed run stand on the first page, and a resume takes
/// the first two away.
#[test]
fn what_holds_the_remediator_back_reads_well() {
    let chromium = process::find(&["chromium", "chromium-browser"]).expect(
        "no chromium on the PATH; this test needs it: apt-get install --no-install-recommends chromium",
    );
    let scripts = install();
    let dir = tempfile::tempdir().unwrap();
    let (root, state) = (dir.path().join("sessions"), dir.path().join("state"));
    fixture::unpack(
        "bloated-classic-387",
        &root.join("company_962302"),
        SystemTime::now(),
    )
    .unwrap();
    let token = dir.path().join("token");
    fs::write(&token, "c2VjcmV0LXRva2VuLW9mLXRoZS10ZXN0cw").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let flags = [
        format!("--sessions.path={}", root.display()),
        format!("--state.path={}", state.display()),
        "--connection.command=echo connected".to_owned(),
        "--connection.trust=*".to_owned(),
    ];
    let port = net::free_port(None).unwrap();
    let program = Path::new(REMEDIATOR);
    let own = [
        "serve".to_owned(),
        format!("--web.listen-address=127.0.0.1:{port}"),
        format!("--webhook.token-file={}", token.display()),
    ];
    let log = dir.path().join("remediator.log");
    let mut running =
        Process::start("the remediator", program, own.iter().chain(&flags), &log).unwrap();
    let url = format!("http://127.0.0.1:{port}/");
    let patience = Patience::new(BOUND);
    let ready = patience.wait_until(BOUND, "the remediator is ready", || {
        running.alive()?;
        net::get(&format!("{url}-/ready"))?.ok()
    });
    ready.unwrap();
    let headers = [(
        "Authorization".to_owned(),
        "Bearer c2VjcmV0LXRva2VuLW9mLXRoZS10ZXN0cw".to_owned(),
    )];
    let body = serde_json::json!({
        "version": "4",
        "alerts": [{
            "status": "firing", "fingerprint": "f",
            "labels": {"ladder": "baileys_auth_files", "tier": "cleanup", "session": "company_962302"},
        }],
    });
    let answer = net::post(
        &format!("{url}webhook"),
        &headers,
        body.to_string().as_bytes(),
    )
    .unwrap();
    assert_eq!(answer.status, 202, "{}", answer.body);
    let armed = patience.wait_until(BOUND, "the run is armed", || {
        match net::Metrics::scrape(&format!("{url}metrics"))?
            .sum("baileys_remediator_armed_runs", &[])?
        {
            1.0 => Ok(()),
            other => Err(format!("{other}")),
        }
    });
    armed.unwrap();
    // The breaker opens by emergencies; here by hand.
    let journal = baileys_exporter::remediator::store::Store::open(&state).unwrap();
    let now = baileys_exporter::remediator::store::clock::Moment::now();
    journal
        .pause()
        .open_breaker("more than 3 services in an emergency within 1h", now)
        .unwrap();
    let command = |args: &[&str]| {
        let args = args.iter().copied().chain(flags.iter().map(String::as_str));
        let (code, _, errors) = process::run(program, args, BOUND).unwrap();
        assert!(code.success(), "{errors}");
    };
    let screenshots = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
    let check = |expected: &str| {
        let check = scripts.join("held-back.mjs");
        let args: [&OsStr; 5] = [
            check.as_ref(),
            chromium.as_ref(),
            url.as_ref(),
            screenshots.as_ref(),
            expected.as_ref(),
        ];
        let (code, out, errors) = process::run(Path::new("node"), args, BOUND).unwrap();
        assert!(code.success(), "{code}\n{out}{errors}");
    };
    command(&["pause", "--reason", "a new <b>release</b>"]);
    check("paused");
    command(&["resume"]);
    check("acting");
}

/// Folders in every state a page can show; returns the flags that name them.
fn lay_out(dir: &Path) -> Vec<String> {
    let root = dir.join("sessions");
    let now = SystemTime::now();
    let quiet = now - Duration::from_secs(20 * 60);
    let long = "company_".to_owned() + &"0123456789".repeat(20);
    for (session, fixture, written) in [
        ("company_normal", "normal", now),
        ("company_warning", "warning-130", now),
        ("company_962302", "bloated-classic-387", quiet),
        ("company_modern", "modern-816", now),
        ("company_modern_busy", "modern-1003", now),
        (HOSTILE, "normal", now),
        (&long, "normal", now),
    ] {
        fixture::unpack(fixture, &root.join(session), written).unwrap();
    }
    fs::create_dir(root.join("company_empty_creds")).unwrap();
    fs::write(root.join("company_empty_creds/creds.json"), "").unwrap();
    // Not readable for root either.
    let unreadable = dir.join("a-file");
    fs::write(&unreadable, "").unwrap();

    let probe = dir.join("probe");
    let says = "case $1 in
        company_962302) echo disconnected ;;
        company_normal | company_modern*) echo connected ;;
        *) exit 1 ;;
        esac";
    fs::write(&probe, says).unwrap();
    vec![
        format!("--sessions.path={}", root.display()),
        format!(
            "--sessions.path=company_unreadable={}",
            unreadable.display()
        ),
        // Shown as a note above the table.
        format!(
            "--sessions.path={}",
            dir.join("no-such-directory").display()
        ),
        format!("--connection.command=sh {} {{session}}", probe.display()),
        "--connection.trust=*".to_owned(),
    ]
}

/// Installs what `tests/browser` needs, unless the same lockfile has been installed before.
fn install() -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    npm::install(&dir, &[]).unwrap_or_else(|failure| panic!("{failure}"));
    dir
}

//! The same host where systemd runs the bot and both programs. It is the systemd of one test, with
//! a journal of its own: `testkit::systemd::inside`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use testkit::stack::Programs;
use testkit::{Patience, fixture, net, process, systemd};

use super::host::{SESSION, SUDO, executable};
use super::shell::Shell;

/// Each wait.
const BOUND: Duration = Duration::from_secs(60);
const JOURNALD: [&str; 2] = [
    "/usr/lib/systemd/systemd-journald",
    "/lib/systemd/systemd-journald",
];

/// What a bot prints: it has a key in it, as libsignal prints it.
const BOT: &str = "echo \"privKey: 'not a key'\"; exec sleep infinity";

/// A host under systemd.
#[derive(Debug)]
pub struct Units {
    ports: [u16; 2],
    dir: TempDir,
    patience: Patience,
}

impl Units {
    /// Starts the journal, the bot and both programs.
    pub fn new(programs: &Programs) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["bin", "sessions", "state", "exporter"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let units = Self {
            ports: [0; 2].map(|_| net::free_port(None).unwrap()),
            dir,
            patience: Patience::new(3 * BOUND),
        };
        let folder = units.dir.path().join("sessions").join(SESSION);
        let newest = SystemTime::now() - Duration::from_secs(25 * 60);
        fixture::unpack("normal", &folder, newest).unwrap();
        executable(&units.dir.path().join("bin/sudo"), SUDO);
        for (name, target) in [
            ("baileys_exporter", &programs.exporter),
            ("baileys_remediator", &programs.remediator),
        ] {
            symlink(target, units.dir.path().join("bin").join(name)).unwrap();
        }
        units.configure("");
        units.lay_units(programs);
        let mut shell = units.shell();
        // What the journal of this machine holds is not touched.
        units.ok(&mut shell, "mount -t tmpfs tmpfs /var/log");
        units.ok(&mut shell, "systemctl start systemd-journald.service");
        units.wait("the journal takes lines", || {
            match Path::new("/run/systemd/journal/stdout").exists() {
                true => Ok(()),
                false => Err("no socket".to_owned()),
            }
        });
        let all = "systemctl start bot@company_962302 baileys_exporter@bots baileys_remediator@bots prometheus prometheus-alertmanager";
        units.ok(&mut shell, all);
        for port in units.ports {
            let url = format!("http://127.0.0.1:{port}/-/ready");
            units.wait("it is ready", || net::get(&url)?.ok());
        }
        units
    }

    /// The configuration of both programs, with these lines below it.
    pub fn configure(&self, more: &str) {
        let dir = self.dir.path().display();
        let text = format!(
            "sessions: {{paths: ['{dir}/sessions']}}
processes: [{{systemd: {{unit: 'bot@{{session}}.service'}}}}]
logs: {{state_path: '{dir}/exporter'}}
state: {{path: '{dir}/state'}}
trigger: local
{more}"
        );
        fs::write(self.dir.path().join("config.yml"), text).unwrap();
    }

    fn lay_units(&self, programs: &Programs) {
        let journald = JOURNALD.iter().find(|path| Path::new(path).is_file());
        let journald = journald.expect("no systemd-journald").to_string();
        let config = format!("--config.file={}/config.yml", self.dir.path().display());
        let program = |path: &Path, what: &str, port: u16| {
            let path = path.display();
            format!("{path} {what}{config} --web.listen-address=127.0.0.1:{port}")
        };
        let idle = "sleep infinity".to_owned();
        fs::write(self.dir.path().join("bot.sh"), BOT).unwrap();
        let bot = format!("sh {}/bot.sh", self.dir.path().display());
        for (unit, starts) in [
            ("systemd-journald", journald),
            ("bot@", bot),
            (
                "baileys_exporter@",
                program(&programs.exporter, "", self.ports[0]),
            ),
            (
                "baileys_remediator@",
                program(&programs.remediator, "serve ", self.ports[1]),
            ),
            ("prometheus", idle.clone()),
            ("prometheus-alertmanager", idle),
        ] {
            let reload = match unit.starts_with("prometheus") {
                true => "true",
                false => "kill -HUP ${MAINPID}",
            };
            let text = format!(
                "[Unit]\nDefaultDependencies=no\n[Service]\nExecStart={starts}\nExecReload=/bin/sh -c '{reload}'\n"
            );
            let path = Path::new(systemd::UNITS).join(format!("{unit}.service"));
            fs::write(path, text).unwrap();
        }
    }

    /// A terminal of an administrator.
    pub fn shell(&self) -> Shell {
        let dir = self.dir.path();
        let path = std::env::var("PATH").unwrap();
        let variables = [
            ("PATH", format!("{}:{path}", dir.join("bin").display())),
            (
                "BAILEYS_CONFIG",
                dir.join("config.yml").display().to_string(),
            ),
            ("KEYS", "privKey".to_owned()),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value));
        let number = fs::read_dir(dir).unwrap().count();
        Shell::start(&dir.join(format!("shell-{number}")), dir, &variables)
    }

    /// Below the directory of this host.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a command, which must succeed.
    pub fn ok(&self, shell: &mut Shell, command: &str) {
        let ended = shell.run(command);
        assert_eq!(ended.code, 0, "{command}: {ended:#?}");
    }

    /// Waits until the journal holds a text of both programs or the bot.
    pub fn wait_for_line(&self, text: &str) {
        self.wait(text, || {
            let args = ["--no-pager", "-o", "cat", "-u", "bot@*", "-u", "baileys_*"];
            let (_, out, err) = process::run(Path::new("journalctl"), args, BOUND)?;
            match out.contains(text) {
                true => Ok(()),
                false => Err(format!("{out}{err}")),
            }
        });
    }

    fn wait<T>(&self, what: &str, attempt: impl FnMut() -> Result<T, String>) -> T {
        let seen = self.patience.wait_until(BOUND, what, attempt);
        seen.unwrap_or_else(|failure| panic!("{failure}"))
    }
}

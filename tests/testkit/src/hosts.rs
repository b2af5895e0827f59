//! Hosts for one test, each with a network and a host name of its own: Linux namespaces, joined
//! by two bridges that lead nowhere else. Where these are not permitted, each host is a loopback
//! address.
//!
//! ```text
//!  host-a      host-b      prometheus      am-a          the test
//!  | |         | |         | |             | |           | |
//!  | +-alerts--|-+---------|-+-------------|-+-----------|-+   10.77.2.0/24
//!  +-metrics---+-----------+---------------+-------------+     10.77.1.0/24
//! ```

use std::fmt::Write;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::process::{self, Process};
use crate::{Doing, Patience, Result, net, not_run};

/// Set for the test that runs inside.
const INSIDE: &str = "TESTKIT_INSIDE_NAMESPACES";
/// The test inside has ended by then.
const ENDED_WITHIN: Duration = Duration::from_secs(300);
/// A host is made by then.
const MADE_WITHIN: Duration = Duration::from_secs(30);
/// All that runs inside ends with the first process of the PID namespace, the test.
const UNSHARE: [&str; 8] = [
    "unshare",
    "--net",
    "--uts",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child=KILL",
    "--mount-proc",
];

/// Fails where anything is not permitted that [`Hosts`] needs.
const TRY: &str = "set -e
ip link set lo up
ip link add bridge type bridge
ip link add veth type veth peer name peer
ip link set veth master bridge
ip link set veth type bridge_slave isolated on
mount --bind /etc/hosts /etc/hosts
unshare --net --uts --mount hostname a-host
";

/// Makes a host: its name `$1`, and its directory `$2`, which is to be seen at `$3`.
const MAKE: &str = r#"set -e
hostname "$1"
ip link set lo up
[ -z "$2" ] || mount --bind "$2" "$3"
echo made
exec sleep infinity
"#;

/// How hosts are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Each has network, host name and mounts of its own.
    Namespaces,
    /// Each has an address in 127.0.0.0/8, and no network that can be cut.
    Loopback,
}

/// Runs the body of the test `test` in namespaces of its own: the test program runs this one
/// test again. Where they are not permitted, says `NOT RUN` and runs it on loopback addresses.
///
/// # Panics
///
/// If the test fails inside.
pub fn inside(test: &str, body: impl FnOnce(Isolation)) {
    if std::env::var_os(INSIDE).is_some() {
        return body(Isolation::Namespaces);
    }
    match permitted() {
        Ok(()) => run_inside(test).unwrap_or_else(|failure| panic!("{failure}")),
        Err(why) => {
            not_run(format_args!(
                "{test}: partitions and host names, because network namespaces are not permitted here: {why}"
            ));
            body(Isolation::Loopback);
        }
    }
}

fn permitted() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Err("it needs root".into());
    }
    for program in ["unshare", "nsenter", "mount", "ip", "hostname"] {
        process::find(&[program]).ok_or_else(|| format!("there is no {program}"))?;
    }
    let args = UNSHARE[1..].iter().chain(&["sh", "-c", TRY]);
    let (status, _, err) = process::run(Path::new(UNSHARE[0]), args, MADE_WITHIN)?;
    match status.success() {
        true => Ok(()),
        false => Err(err.trim().replace('\n', "; ")),
    }
}

fn run_inside(test: &str) -> Result<()> {
    let dir = tempfile::tempdir().doing("a directory")?;
    let log = dir.path().join("log");
    let program = std::env::current_exe().doing("the test program")?;
    let (inside, tmp) = (
        format!("{INSIDE}=1"),
        format!("TMPDIR={}", dir.path().display()),
    );
    let mut wrapper = UNSHARE.to_vec();
    wrapper.extend(["env", &inside, &tmp]);
    let args = ["--exact", test, "--nocapture", "--test-threads=1"];
    let mut inside = Process::start_in(&wrapper, &program, args, &log)?;
    let said = || String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
    let ended =
        Patience::new(ENDED_WITHIN).wait_until(ENDED_WITHIN, "the test inside ends", || {
            inside.ended()?.ok_or_else(|| "it runs".to_owned())
        });
    // It does not end on SIGTERM.
    inside.kill();
    match ended {
        // One test that passed, and not a name that no test has.
        Ok(status) if status.success() && said().contains("1 passed") => Ok(()),
        Ok(status) => Err(format!("the test inside: {status}\n{}", said())),
        Err(failure) => Err(format!("{failure}\n{}", said())),
    }
}

/// The two networks of [`Hosts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// On which hosts are scraped.
    Metrics,
    /// Of the Alertmanagers.
    Alerts,
}

impl Network {
    /// Of its bridge, and of the interface of each host.
    fn name(self) -> &'static str {
        match self {
            Network::Metrics => "metrics",
            Network::Alerts => "alerts",
        }
    }

    fn address(self, number: u8) -> Ipv4Addr {
        match self {
            Network::Metrics => Ipv4Addr::new(10, 77, 1, number),
            Network::Alerts => Ipv4Addr::new(10, 77, 2, number),
        }
    }
}

const NETWORKS: [Network; 2] = [Network::Metrics, Network::Alerts];

/// What a host is to be.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// Its name, which all hosts can resolve.
    pub name: &'a str,
    /// The network of the address that its name has.
    pub network: Network,
    /// What it sees as [`Hosts::own_dir`].
    pub own: Option<PathBuf>,
}

/// Hosts that reach each other and nothing else. Dropping it ends them.
#[derive(Debug)]
pub struct Hosts {
    isolation: Isolation,
    nodes: Vec<Node>,
    own_dir: PathBuf,
}

/// One host.
#[derive(Debug)]
struct Node {
    name: String,
    number: u8,
    network: Network,
    own: Option<PathBuf>,
    /// Holds its namespaces.
    holder: Option<Process>,
}

impl Hosts {
    /// Makes these hosts, 200 at most. Their files go to `dir`.
    ///
    /// # Errors
    /// A command fails.
    pub fn new(isolation: Isolation, dir: &Path, wanted: Vec<Wanted<'_>>) -> Result<Self> {
        let nodes = wanted
            .into_iter()
            .zip(1..=200)
            .map(|(wanted, number)| Node {
                name: wanted.name.to_owned(),
                number,
                network: wanted.network,
                own: wanted.own,
                holder: None,
            });
        let mut made = Self {
            isolation,
            nodes: nodes.collect(),
            own_dir: dir.join("own"),
        };
        if isolation == Isolation::Namespaces {
            made.wire(dir)?;
        }
        Ok(made)
    }

    fn wire(&mut self, dir: &Path) -> Result<()> {
        fs::create_dir(&self.own_dir).doing(self.own_dir.display())?;
        let mut names = "127.0.0.1 localhost\n".to_owned();
        for host in &self.nodes {
            let address = host.network.address(host.number);
            writeln!(names, "{address} {}", host.name).doing("hosts")?;
        }
        let file = dir.join("hosts");
        fs::write(&file, names).doing(file.display())?;
        let file = file.display().to_string();
        command(&["mount", "--bind", &file, "/etc/hosts"])?;
        command(&["ip", "link", "set", "lo", "up"])?;
        for network in NETWORKS {
            let (name, own) = (network.name(), format!("{}/24", network.address(254)));
            command(&["ip", "link", "add", name, "type", "bridge"])?;
            command(&["ip", "address", "add", &own, "dev", name])?;
            command(&["ip", "link", "set", name, "up"])?;
        }
        for host in &mut self.nodes {
            let log = dir.join(format!("{}.made", host.name));
            let text = |path: &Path| path.display().to_string();
            let own = host.own.as_deref().map(text).unwrap_or_default();
            let args = ["-c", MAKE, "sh", &host.name, &own, &text(&self.own_dir)];
            let unshare = ["unshare", "--net", "--uts", "--mount"];
            let mut holder = Process::start_in(&unshare, Path::new("sh"), args, &log)?;
            Patience::new(MADE_WITHIN).wait_until(MADE_WITHIN, &host.name, || {
                match fs::read_to_string(&log).doing("its log")?.contains("made") {
                    true => Ok(Ok(())),
                    false => holder.alive().map_or_else(
                        |ended| Ok(Err(ended)),
                        |()| Err("it is not made yet".to_owned()),
                    ),
                }
            })??;
            let pid = holder.pid().to_string();
            for network in NETWORKS {
                let (bridge, port) = (network.name(), port(network, host.number));
                let own = format!("{}/24", network.address(host.number));
                command(&[
                    "ip", "link", "add", &port, "type", "veth", "peer", "name", bridge, "netns",
                    &pid,
                ])?;
                command(&["ip", "link", "set", &port, "master", bridge, "up"])?;
                let inside = ["nsenter", "--target", &pid, "--net", "ip"];
                command(&[&inside[..], &["address", "add", &own, "dev", bridge]].concat())?;
                command(&[&inside[..], &["link", "set", bridge, "up"]].concat())?;
            }
            host.holder = Some(holder);
        }
        Ok(())
    }

    /// Whether networks can be cut, and each host has its name.
    pub fn are_wired(&self) -> bool {
        self.isolation == Isolation::Namespaces
    }

    /// The address on which others, and the test, reach the host.
    ///
    /// # Errors
    /// There is no such host.
    pub fn address(&self, name: &str) -> Result<Ipv4Addr> {
        let host = self.find(name)?;
        Ok(match self.isolation {
            Isolation::Namespaces => host.network.address(host.number),
            Isolation::Loopback => Ipv4Addr::new(127, 0, 77, host.number),
        })
    }

    /// A port for a server on a host: this one where hosts have their own.
    ///
    /// # Errors
    /// None is free.
    pub fn port(&self, usual: u16) -> Result<u16> {
        match self.isolation {
            Isolation::Namespaces => Ok(usual),
            Isolation::Loopback => net::free_port(None),
        }
    }

    /// Where the host sees the directory that is its own.
    ///
    /// # Errors
    /// There is no such host, or it has none.
    pub fn own_dir(&self, name: &str) -> Result<PathBuf> {
        let own = self.find(name)?.own.clone();
        let own = own.ok_or_else(|| format!("{name} has no directory"))?;
        Ok(match self.isolation {
            Isolation::Namespaces => self.own_dir.clone(),
            Isolation::Loopback => own,
        })
    }

    /// The words that go before a program that runs on the host. It finds the host's name in
    /// `$HOST`.
    ///
    /// # Errors
    /// There is no such host.
    pub fn wrapper(&self, name: &str) -> Result<Vec<String>> {
        let host = self.find(name)?;
        let mut words = Vec::new();
        if let Some(holder) = &host.holder {
            let pid = format!("--target={}", holder.pid());
            words.extend(["nsenter", &pid, "--net", "--uts", "--mount", "--"].map(str::to_owned));
        }
        words.extend(["env".to_owned(), format!("HOST={}", host.name)]);
        Ok(words)
    }

    /// Unplugs the host from a network, or plugs it in again.
    ///
    /// # Errors
    /// The hosts are not wired.
    pub fn plug(&self, name: &str, network: Network, is_in: bool) -> Result<()> {
        let port = port(network, self.find(name)?.number);
        let state = if is_in { "up" } else { "down" };
        self.change(&["ip", "link", "set", &port, state])
    }

    /// Cuts a network between these hosts, each of which still reaches all others; or joins it
    /// again.
    ///
    /// # Errors
    /// The hosts are not wired.
    pub fn part(&self, names: &[&str], network: Network, are_apart: bool) -> Result<()> {
        let state = if are_apart { "on" } else { "off" };
        names.iter().try_for_each(|name| {
            let port = port(network, self.find(name)?.number);
            let set = ["ip", "link", "set", &port, "type", "bridge_slave"];
            self.change(&[&set[..], &["isolated", state]].concat())
        })
    }

    fn change(&self, words: &[&str]) -> Result<()> {
        match self.isolation {
            Isolation::Namespaces => command(words),
            Isolation::Loopback => Err("loopback addresses cannot be cut off".into()),
        }
    }

    fn find(&self, name: &str) -> Result<&Node> {
        let host = self.nodes.iter().find(|host| host.name == name);
        host.ok_or_else(|| format!("there is no host {name}"))
    }
}

/// The end of a host's cable at the bridge.
fn port(network: Network, number: u8) -> String {
    format!("{}-{number}", network.name())
}

fn command(words: &[&str]) -> Result<()> {
    let ran = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .output()
        .doing(words[0])?;
    match ran.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{}: {}",
            words.join(" "),
            String::from_utf8_lossy(&ran.stderr).trim()
        )),
    }
}

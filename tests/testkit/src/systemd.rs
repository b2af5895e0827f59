//! A real systemd of its own for one test, in new PID, mount, control group and UTS
//! namespaces. It knows no unit of this machine. The network and `/tmp` are shared.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::{self, Process};
use crate::stack::quote;
use crate::{Doing, Patience, Result, not_run};

/// Where a unit's file belongs, inside.
pub const UNITS: &str = "/run/systemd/system";
/// Set for the test that runs inside.
const INSIDE: &str = "TESTKIT_INSIDE_SYSTEMD";
/// systemd has started the test by then, or it cannot be booted here.
const BOOTED_WITHIN: Duration = Duration::from_secs(60);
/// The test inside has ended by then.
const ENDED_WITHIN: Duration = Duration::from_secs(240);

/// The first process of the namespaces becomes systemd. `$1` is the directory of the test.
/// It writes to no file of this machine outside `/tmp`: `/etc` and `/proc/sys` are read-only,
/// and what systemd would read or write elsewhere is covered.
const BOOT: &str = r#"set -e
mount --make-rprivate /
mount --rbind /etc /etc
mount -o remount,bind,ro /etc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
for dir in /run /etc/systemd /usr/lib/systemd/system /usr/lib/systemd/system-generators; do
    [ ! -d $dir ] || mount -t tmpfs tmpfs $dir
done
for device in /dev/console /dev/kmsg; do
    [ ! -e $device ] || mount --bind /dev/null $device
done
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /run/systemd/system /run/lock
cd /run/systemd/system
for unit in basic.target sysinit.target shutdown.target; do
    printf '[Unit]\nDefaultDependencies=no\n' >$unit
done
printf '[Unit]\nDefaultDependencies=no\nWants=test.service\n' >test.target
printf '[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/bin/sh /run/test.sh\nStandardOutput=null\n' >test.service
cp "$1/test.sh" /run/test.sh
cd /
for systemd in /usr/lib/systemd/systemd /lib/systemd/systemd; do
    [ ! -x $systemd ] || exec env -i container=test PATH="$PATH" $systemd --system --unit=test.target --log-target=null --show-status=no
done
exit 1
"#;

/// Runs the body of the test `test` inside a systemd of its own: the test program runs this
/// one test again as a service. Where no systemd can be booted, says `NOT RUN`.
///
/// # Panics
///
/// If the test fails inside.
pub fn inside(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    match boot(test) {
        Err(why) => not_run(format_args!("{test}: no systemd can be booted here: {why}")),
        Ok(ended) => ended.unwrap_or_else(|failure| panic!("{failure}")),
    }
}

/// Outer error: no systemd. Inner error: the test failed.
fn boot(test: &str) -> Result<Result<()>> {
    if !rustix::process::geteuid().is_root() {
        return Err("it needs root".into());
    }
    for program in ["systemctl", "unshare", "mount"] {
        process::find(&[program]).ok_or_else(|| format!("there is no {program}"))?;
    }
    let dir = tempfile::tempdir().doing("a directory")?;
    let group = Group::new(dir.path())?;
    fs::write(dir.path().join("boot.sh"), BOOT).doing("boot.sh")?;
    fs::write(dir.path().join("test.sh"), test_script(test, dir.path())?).doing("test.sh")?;
    let enter = r#"echo $$ >"$1/cgroup.procs" && exec unshare --pid --mount --cgroup --uts --fork --kill-child=KILL --mount-proc sh "$2/boot.sh" "$2""#;
    let args = [Path::new("-c"), Path::new(enter), Path::new("sh")];
    let args = args.into_iter().chain([group.0.as_path(), dir.path()]);
    let log = dir.path().join("boot.log");
    let mut systemd = Process::start("systemd", Path::new("sh"), args, &log)?;
    let ended = wait(&mut systemd, dir.path());
    // It does not end on SIGTERM.
    systemd.kill();
    let left = group.remove();
    Ok(ended?.and(left))
}

fn wait(systemd: &mut Process, dir: &Path) -> Result<Result<()>> {
    let patience = Patience::new(BOOTED_WITHIN + ENDED_WITHIN);
    let (out, result) = (dir.join("out"), dir.join("result"));
    let booted = patience.wait_until(BOOTED_WITHIN, "systemd starts the test", || {
        match (out.exists(), systemd.alive()) {
            (true, _) => Ok(Ok(())),
            (false, Ok(())) => Err("not yet".to_owned()),
            (false, Err(failure)) => Ok(Err(failure)),
        }
    });
    booted??;
    let code = patience.wait_until(ENDED_WITHIN, "the test inside systemd ends", || {
        if !result.exists() {
            systemd.alive()?;
        }
        fs::read_to_string(&result).doing("its exit code")
    });
    let said = || String::from_utf8_lossy(&fs::read(&out).unwrap_or_default()).into_owned();
    Ok(match code {
        // One test that passed, and not a name that no test has.
        Ok(code) if code.trim() == "0" && said().contains("1 passed") => Ok(()),
        Ok(code) => Err(format!("it exited with {}\n{}", code.trim(), said())),
        Err(failure) => Err(format!("{failure}\n{}", said())),
    })
}

/// Runs the test inside, and leaves its output in `out` and its exit code in `result`.
fn test_script(test: &str, dir: &Path) -> Result<String> {
    let mut script = String::new();
    for key in ["PATH", "HOME", "TMPDIR", "RUST_BACKTRACE"] {
        if let Ok(value) = std::env::var(key) {
            script += &format!("export {key}={}\n", quote(&value));
        }
    }
    let program = std::env::current_exe().doing("the test program")?;
    let cwd = std::env::current_dir().doing("the working directory")?;
    let quoted = |path: PathBuf| quote(&path.display().to_string());
    Ok(script
        + &format!(
            "export {INSIDE}=1\ncd {}\n{} --exact {} --nocapture --test-threads=1 >{} 2>&1 </dev/null\necho $? >{}\nmv {} {}\n",
            quoted(cwd),
            quoted(program),
            quote(test),
            quoted(dir.join("out")),
            quoted(dir.join("code")),
            quoted(dir.join("code")),
            quoted(dir.join("result")),
        ))
}

/// A control group of the second version for all that runs inside.
#[derive(Debug)]
struct Group(PathBuf);

impl Group {
    fn new(dir: &Path) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").doing("/proc/self/mounts")?;
        let root = mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(1);
            let at = words.next()?;
            (words.next() == Some("cgroup2")).then_some(at)
        });
        let root = root.ok_or("no cgroup2 is mounted")?;
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("baileys-test-{}", name.trim_start_matches('.'));
        let path = Path::new(root).join(name);
        fs::create_dir(&path).doing(path.display())?;
        Ok(Self(path))
    }

    /// Waits until all processes in it have ended.
    fn remove(self) -> Result<()> {
        let bound = Duration::from_secs(30);
        Patience::new(bound).wait_until(bound, "all that ran inside ends", || {
            let events = fs::read_to_string(self.0.join("cgroup.events")).doing("cgroup.events")?;
            match events.contains("populated 0") {
                true => Ok(()),
                false => Err(events),
            }
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // From the leaves up; only directories are removed.
        let _ = Command::new("find")
            .arg(&self.0)
            .args(["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"])
            .stderr(std::process::Stdio::null())
            .status();
    }
}

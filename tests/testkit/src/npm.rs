//! What tests need from the npm registry.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::{Doing, Result, process};

const BOUND: Duration = Duration::from_secs(300);
const LOOKS_WITHIN: Duration = Duration::from_secs(60);
const NEEDS: &str = "this test needs Node.js 20 or newer with npm: apt-get install nodejs npm (Debian 13 has it), or https://nodejs.org";

/// Installs what the lockfile of `dir` says, unless the same one has been installed before.
/// Tests run side by side: the lockfile is locked meanwhile.
///
/// Errors: no Node.js, an old one, or no registry.
pub fn install(dir: &Path, flags: &[&str]) -> Result<()> {
    let lockfile = dir.join("package-lock.json");
    let file = File::open(&lockfile).doing(lockfile.display())?;
    flock(&file, FlockOperation::LockExclusive).doing(lockfile.display())?;
    let wanted = fs::read(&lockfile).doing(lockfile.display())?;
    // npm empties node_modules first, and with it goes the stamp.
    let stamp = dir.join("node_modules/.installed-from-lockfile");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    for program in ["node", "npm"] {
        process::find(&[program]).ok_or_else(|| format!("no {program} on the PATH; {NEEDS}"))?;
    }
    let (_, version, _) = process::run(Path::new("node"), ["--version"], LOOKS_WITHIN)?;
    let major = version
        .trim()
        .trim_start_matches('v')
        .split('.')
        .next()
        .and_then(|n| n.parse().ok());
    if major.is_none_or(|major: u32| major < 20) {
        return Err(format!("node is {}; {NEEDS}", version.trim()));
    }
    let dir_name = dir.display().to_string();
    let args = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
    let args = args
        .iter()
        .chain(flags)
        .chain(&["--prefix", dir_name.as_str()])
        .copied()
        .collect::<Vec<_>>();
    let (status, _, errors) = process::run(Path::new("npm"), args, BOUND)?;
    if !status.success() {
        return Err(format!(
            "npm ci in {dir_name} ({status}); it needs the npm registry:\n{errors}"
        ));
    }
    fs::write(&stamp, &wanted).doing(stamp.display())
}

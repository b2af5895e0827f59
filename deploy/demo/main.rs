//! `make demo`: from a bloated folder to its clean-up, with both programs, Prometheus and
//! Alertmanager on this machine.
//!
//! ```text
//! demo [--check] [--bin-dir DIR]
//! ```

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use testkit::stack::{Programs, Setup, Stack, quote};
use testkit::story::{self, BLOATED, BOTS, Cleaned};
use testkit::{Doing, Patience, Result};

const USAGE: &str = "\
Lays out five sample bots, starts exporter, remediator, Prometheus and Alertmanager on
127.0.0.1, and shows how the bloated folder is found, alerted, cleaned and resolved.

usage: demo [--check] [--bin-dir DIR]

  --check        the same unattended: exit 0 only when every step was seen, else 1
  --bin-dir DIR  where baileys_exporter and baileys_remediator are [default: beside demo]
";

/// Everything up to the resolved alert takes about half a minute.
const BOUND: Duration = Duration::from_secs(150);
/// Long enough to open the status page before the alert fires.
const ALERT_FOR: Duration = Duration::from_secs(15);

struct Options {
    check: bool,
    bin_dir: PathBuf,
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(mistake) => {
            eprintln!("demo: {mistake}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGHUP,
    ] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&stop)) {
            eprintln!("demo: signal {signal}: {error}");
            return ExitCode::FAILURE;
        }
    }
    let patience = Patience::with_stop(BOUND, stop);
    match demo(&options, &patience) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if patience.stopped() => {
            eprintln!("\ndemo: stopped, everything it started is gone");
            ExitCode::from(130)
        }
        Err(failure) => {
            eprintln!("\ndemo: FAILED: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Options>> {
    let mut options = Options {
        check: false,
        bin_dir: PathBuf::new(),
    };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--check" => options.check = true,
            "--bin-dir" => {
                options.bin_dir = args.next().ok_or("--bin-dir needs a directory")?.into()
            }
            "-h" | "--help" => return Ok(None),
            other => return Err(format!("unknown argument {other:?}")),
        }
    }
    if options.bin_dir.as_os_str().is_empty() {
        let demo = std::env::current_exe().doing("where this program is")?;
        options.bin_dir = demo.parent().unwrap_or(Path::new(".")).to_owned();
    }
    Ok(Some(options))
}

fn demo(options: &Options, patience: &Patience) -> Result<()> {
    let show = Show::new(patience.clone());
    let programs = Programs {
        exporter: options.bin_dir.join("baileys_exporter"),
        remediator: options.bin_dir.join("baileys_remediator"),
    };
    let setup = Setup {
        usual_ports: true,
        alert_for: ALERT_FOR,
        ..Setup::new(programs.clone())
    };
    let mut stack = Stack::new(setup)?;
    story::lay_out(stack.host())?;
    show.line("Five bots, their auth folders written by the real Baileys library:");
    show.line("");
    for bot in &BOTS {
        show.line(&format!(
            "  {:<20} {:>4} files   {}",
            bot.session, bot.files, bot.about
        ));
    }
    show.line("");
    if let Err(failure) = story::start(&mut stack, patience) {
        return Err(format!("start: {failure}"));
    }
    urls(&show, &stack);
    show.line(
        "The connection probe of this demo is a script: it has seen all bots connected, and says now that",
    );
    show.line(&format!(
        "{BLOATED} is not. The rules wait {} seconds here instead of two minutes.",
        ALERT_FOR.as_secs()
    ));
    show.line("");

    let outcome = story::follow(&mut stack, patience, &mut |title, sentence| {
        show.step(title, sentence)
    });
    let cleaned = match outcome {
        Ok(cleaned) => cleaned,
        Err(failure) if patience.stopped() => return Err(failure),
        Err(failure) => {
            return Err(format!(
                "{failure}\n\nThe ends of the logs:\n{}",
                stack.logs()
            ));
        }
    };
    if options.check {
        show.step("done", "every step was seen");
        return Ok(());
    }
    show.step("done", "");
    look_further(&show, &stack, &programs, &cleaned);
    while !patience.stopped() {
        stack.alive()?;
        std::thread::sleep(Duration::from_millis(200));
    }
    show.line("\nStopping what was started, removing the sample folders.");
    Ok(())
}

fn urls(show: &Show, stack: &Stack) {
    let host = stack.host();
    show.line("Open, or curl:");
    show.line("");
    for (what, port, path) in [
        ("status page", host.exporter_port, ""),
        ("exporter metrics", host.exporter_port, "metrics"),
        ("remediator metrics", host.remediator_port, "metrics"),
        ("Prometheus alerts", stack.prometheus_port, "alerts"),
        ("Alertmanager", stack.alertmanager_port, ""),
    ] {
        show.line(&format!("  {what:<20} http://127.0.0.1:{port}/{path}"));
    }
    show.line("");
}

/// The next commands, ready to be pasted.
fn look_further(show: &Show, stack: &Stack, programs: &Programs, cleaned: &Cleaned) {
    let host = stack.host();
    let command = |program: &Path, words: &str, flags: &[String]| {
        let here = std::env::current_dir().unwrap_or_default();
        let program = program
            .strip_prefix(&here)
            .unwrap_or(program)
            .display()
            .to_string();
        let flags: Vec<String> = flags.iter().map(|flag| quote(flag)).collect();
        format!("  {program} {words} \\\n    {}\n", flags.join(" \\\n    "))
    };
    let moved: u32 = cleaned.moved.values().sum();
    show.line("");
    show.line("Look further, in another terminal, while this runs.");
    show.line("");
    show.line("How the bots are (the exit code is 1: one of them is at the warning tier):");
    show.line(&command(
        &programs.exporter,
        "status",
        &host.session_flags(),
    ));
    show.line("What the remediator did:");
    show.line(&command(&programs.remediator, "runs", &[host.state_flag()]));
    show.line(&format!("Bring the {moved} files back:"));
    let undo = format!("undo {}", cleaned.run);
    show.line(&command(
        &programs.remediator,
        &undo,
        &host.remediator_flags(),
    ));
    show.line(&format!(
        "The folders, logs and configurations are in {}",
        stack.dir().display()
    ));
    show.line("Ctrl-C stops everything and removes them.");
}

/// Prints; bold only on a terminal.
struct Show {
    patience: Patience,
    bold: bool,
}

impl Show {
    fn new(patience: Patience) -> Self {
        let bold = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { patience, bold }
    }

    /// Prints one line. A closed output is no reason to stop.
    fn line(&self, text: &str) {
        let mut out = std::io::stdout();
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }

    /// One step, with the seconds since the start; no title continues the step before.
    fn step(&self, title: &str, sentence: &str) {
        let (on, off) = if self.bold {
            ("\x1b[1m", "\x1b[0m")
        } else {
            ("", "")
        };
        if title.is_empty() {
            self.line(&format!("{:21}{sentence}", ""));
        } else {
            let seconds = self.patience.elapsed().as_secs_f64();
            self.line(format!("{seconds:6.1} s  {on}{title:<9}{off}  {sentence}").trim_end());
        }
    }
}

//! Why a process is not stopped: it could not be started again, or would not stay stopped, or the
//! stop and the start would not be of it alone.

use std::fmt;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use rustix::io::Errno;

/// What certainly stands in the way of a stop and a start afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartObstacle {
    /// The unit was made by `systemd-run`.
    TransientUnit,
    /// The unit's file was removed, or never was.
    NoUnitFile,
    /// The unit is masked.
    MaskedUnit,
    /// systemd cannot load the unit's file.
    UnloadableUnit,
    /// systemd starts the unit for other units only.
    NoManualStart,
    /// The script that pm2 starts was removed.
    NoScript,
    /// The directory in which pm2 starts it was removed.
    NoDirectory,
    /// The program that runs the script of pm2 was removed.
    NoInterpreter,
    /// The container was made with `--rm`.
    AutoRemove,
    /// The program of the start command does not exist.
    NoProgram,
    /// This user may not execute the program of the start command.
    NotExecutable,
    /// A timer, socket or path unit can start the unit.
    TriggeredUnit,
    /// Another unit keeps the unit running.
    UpheldUnit,
    /// The stop of the unit stops another unit.
    StopsOthers,
    /// pm2 starts it by the clock, or when a file changes.
    StartedByPm2,
    /// Of the processes of this name in pm2 some run and others have ended.
    EndedInPart,
    /// The container is a task of a swarm.
    SwarmTask,
}

impl RestartObstacle {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::TransientUnit,
        Self::NoUnitFile,
        Self::MaskedUnit,
        Self::UnloadableUnit,
        Self::NoManualStart,
        Self::NoScript,
        Self::NoDirectory,
        Self::NoInterpreter,
        Self::AutoRemove,
        Self::NoProgram,
        Self::NotExecutable,
        Self::TriggeredUnit,
        Self::UpheldUnit,
        Self::StopsOthers,
        Self::StartedByPm2,
        Self::EndedInPart,
        Self::SwarmTask,
    ];

    /// What follows from it, as a clause.
    pub const fn consequence(self) -> &'static str {
        match self {
            Self::TriggeredUnit | Self::UpheldUnit | Self::StartedByPm2 | Self::SwarmTask => {
                "it would not stay stopped during the clean-up"
            }
            Self::StopsOthers => "another unit would be stopped with it",
            Self::EndedInPart => "processes that are stopped now would be started with it",
            _ => "it could not be started again",
        }
    }

    /// What an operator can do about it.
    pub const fn fix(self) -> &'static str {
        match self {
            Self::TransientUnit => "run the bot as a unit with a file in /etc/systemd/system",
            Self::NoUnitFile => {
                "put the file of the unit back and run systemctl daemon-reload, or correct the unit's name"
            }
            Self::MaskedUnit => "systemctl unmask the unit",
            Self::UnloadableUnit => {
                "see systemctl status of the unit, correct its file, and run systemctl daemon-reload"
            }
            Self::NoManualStart => {
                "remove RefuseManualStart=yes from the file of the unit, and run systemctl daemon-reload"
            }
            Self::NoScript | Self::NoDirectory => {
                "delete the process from pm2, start it from its present directory, and run pm2 save"
            }
            Self::NoInterpreter => {
                "put that program back, or run pm2 update with the present one, delete the process from pm2, start it anew, and run pm2 save"
            }
            Self::AutoRemove => "create the container without --rm",
            Self::NoProgram => "correct `command.start` of its entry in `processes`",
            Self::NotExecutable => {
                "make the program executable for this user, or correct `command.start` of its entry in `processes`"
            }
            Self::TriggeredUnit => "let no timer, socket or path unit start the unit",
            Self::UpheldUnit => {
                "replace Upholds= in the other unit by Wants=, and Restart=always in this one"
            }
            Self::StopsOthers => {
                "let the other unit only want this one (Wants=, After=), or stop it"
            }
            Self::StartedByPm2 => "turn off cron_restart and watch, and run pm2 save",
            Self::EndedInPart => {
                "start the others, delete them from pm2, or give them another name"
            }
            Self::SwarmTask => "use `command` with a script that scales the service",
        }
    }
}

impl fmt::Display for RestartObstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TransientUnit => "the unit is transient (systemd-run): a stop removes it",
            Self::NoUnitFile => "systemd knows no such unit: its file was removed, or never was",
            Self::MaskedUnit => "the unit is masked",
            Self::UnloadableUnit => "systemd cannot load the file of the unit",
            Self::NoManualStart => "systemd refuses to start the unit (RefuseManualStart=yes)",
            Self::NoScript => "the script that pm2 starts (pm_exec_path) does not exist any more",
            Self::NoDirectory => {
                "the directory in which pm2 starts it (pm_cwd) does not exist any more"
            }
            Self::NoInterpreter => {
                "the program with which pm2 runs the script (exec_interpreter, by the PATH of the process; in cluster mode that of pm2 itself) does not exist any more, as after an upgrade of Node.js"
            }
            Self::AutoRemove => "the container is removed when it stops (--rm)",
            Self::NoProgram => "the program of the start command does not exist",
            Self::NotExecutable => "this user may not execute the program of the start command",
            Self::TriggeredUnit => "a timer, socket or path unit (TriggeredBy) could start the unit",
            Self::UpheldUnit => {
                "another unit (UpheldBy) keeps the unit running, and systemd would start it again"
            }
            Self::StopsOthers => {
                "another active unit would be stopped along with the unit and not be started again (RequiredBy, RequisiteOf, BoundBy, ConsistsOf or PropagatesStopTo, its own or through a target or another unit; see `systemctl show`)"
            }
            Self::StartedByPm2 => {
                "pm2 starts the process by itself, by the clock (cron_restart) or when a file changes (watch)"
            }
            Self::EndedInPart => {
                "of the processes of this name in pm2 some run and others are stopped or errored"
            }
            Self::SwarmTask => "the container is a task of a swarm, which would replace it",
        })
    }
}

/// What a unit's file is, as far as this program can see. Blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnitFile {
    /// It does not exist.
    Missing,
    /// It is empty or /dev/null, which masks the unit.
    Masks,
    /// It exists, or it is unknown whether it does.
    Other,
}

impl UnitFile {
    pub(crate) fn at(path: &Path) -> Self {
        match fs::metadata(path) {
            Ok(file) if file.file_type().is_char_device() => Self::Masks,
            Ok(file) if file.is_file() && file.len() == 0 => Self::Masks,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::Missing,
            _ => Self::Other,
        }
    }
}

/// Whether a process with this root directory certainly finds nothing at an absolute path. What
/// this program finds there itself may be another file: its /tmp can be private. Blocks.
pub(crate) fn is_missing_under(root: &Path, path: &Path) -> bool {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let Ok(root) = open(root, flags | OFlags::DIRECTORY, Mode::empty()) else {
        return false;
    };
    let found = openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT);
    matches!(found, Err(Errno::NOENT | Errno::NOTDIR))
}

#[cfg(test)]
mod tests;

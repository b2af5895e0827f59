//! Groups of the exporter's metrics that can be switched on and off. Outside of the code they are
//! called collectors, as in node_exporter.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

macro_rules! metric_groups {
    ($($variant:ident $name:literal $default:literal $help:literal;)*) => {
        /// A group of metrics.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum MetricGroup {
            $(#[doc = $help] $variant,)*
        }

        impl MetricGroup {
            /// All of them, sorted by name.
            pub const ALL: &[MetricGroup] = &[$(MetricGroup::$variant,)*];

            /// Its name, as in `--collector.NAME`.
            pub const fn name(self) -> &'static str {
                match self { $(MetricGroup::$variant => $name,)* }
            }

            /// Whether it is shown unless configured otherwise.
            pub const fn is_default(self) -> bool {
                match self { $(MetricGroup::$variant => $default,)* }
            }

            /// What it shows.
            pub const fn help(self) -> &'static str {
                match self { $(MetricGroup::$variant => $help,)* }
            }

            const fn flags(self) -> [(&'static str, bool); 2] {
                match self {
                    $(MetricGroup::$variant => [
                        (concat!("collector.", $name), true),
                        (concat!("no-collector.", $name), false),
                    ],)*
                }
            }
        }
    };
}

metric_groups! {
    Connection "connection" true "the verdict on the bot's connection, and restarts of its process.";
    EmptyKinds "empty_kinds" false "in `files`, the kinds of which a folder holds no file, at 0.";
    FileTimes "file_times" false "times of the oldest and the newest file of each kind.";
    Files "files" true "files by kind.";
    Logs "logs" true "what the logs of a session say.";
    PreKeys "pre_keys" true "pre-keys and their batch.";
    Removable "removable" true "files that a clean-up could move, by kind and action.";
    Size "size" false "bytes in a folder.";
}

/// The groups that are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricGroups(BTreeSet<MetricGroup>);

impl Default for MetricGroups {
    fn default() -> Self {
        let all = MetricGroup::ALL.iter().copied();
        Self(all.filter(|group| group.is_default()).collect())
    }
}

impl MetricGroups {
    /// All groups.
    pub fn all() -> Self {
        Self(MetricGroup::ALL.iter().copied().collect())
    }

    /// No group.
    pub const fn none() -> Self {
        Self(BTreeSet::new())
    }

    /// The section `collectors`: names, and whether they are shown.
    ///
    /// Errors: an unknown name.
    pub(super) fn build(section: BTreeMap<String, bool>) -> Result<Self, String> {
        let mut groups = Self::default();
        for (name, is_shown) in section {
            let known = MetricGroup::ALL.iter().find(|group| group.name() == name);
            let Some(group) = known else {
                let names: Vec<&str> = MetricGroup::ALL.iter().map(|group| group.name()).collect();
                let names = names.join(", ");
                return Err(format!(
                    "collectors.{name}: there is no such collector, only: {names}"
                ));
            };
            groups.set(*group, is_shown);
        }
        Ok(groups)
    }

    /// Shows a group, or leaves it out.
    pub fn set(&mut self, group: MetricGroup, is_shown: bool) {
        match is_shown {
            true => self.0.insert(group),
            false => self.0.remove(&group),
        };
    }

    /// Lays the flags over it.
    pub(super) fn apply(&mut self, flags: &CollectorFlags) {
        for (group, is_shown) in &flags.0 {
            self.set(*group, *is_shown);
        }
    }

    /// Whether a group is shown.
    pub fn has(&self, group: MetricGroup) -> bool {
        self.0.contains(&group)
    }

    /// Whether the group of this name is shown.
    pub fn has_named(&self, name: &str) -> bool {
        self.0.iter().any(|group| group.name() == name)
    }
}

/// `--collector.NAME` and `--no-collector.NAME` of each group; the last one counts.
#[derive(Clone, Debug, Default)]
pub struct CollectorFlags(BTreeMap<MetricGroup, bool>);

impl Args for CollectorFlags {
    fn augment_args(command: Command) -> Command {
        let flags = MetricGroup::ALL.iter().flat_map(|group| {
            let [on, off] = group.flags();
            [(*group, on, off), (*group, off, on)]
        });
        let args = flags.map(|(group, (flag, is_shown), (opposite, _))| {
            let help = match is_shown {
                true => format!("Show the collector {}: {}", group.name(), group.help()),
                false => format!("Leave out the collector {}: {}", group.name(), group.help()),
            };
            Arg::new(flag)
                .long(flag)
                .action(ArgAction::SetTrue)
                .overrides_with_all([flag, opposite])
                .help(help)
                .help_heading("Collectors")
                // The help lists the flag that changes something.
                .hide(is_shown == group.is_default())
        });
        command.args(args)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for CollectorFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let flags = MetricGroup::ALL.iter().flat_map(|group| {
            let set = group.flags().into_iter();
            set.filter(|(flag, _)| matches.get_flag(flag))
                .map(|(_, is_shown)| (*group, is_shown))
        });
        Ok(Self(flags.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;

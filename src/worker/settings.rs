//! The settings of a child process that both builders offer.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::process::captured_output::Captures;
use crate::process::host_snapshot::ProcessAttributes;
use crate::sys::{process, sched};
use crate::worker::logs::level::LogLevel;

/// The settings of a caller. The child receives them unchanged, and applies its part.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) env: BTreeMap<String, String>,
    /// Variables of the host that the child does not take over.
    pub(crate) env_removed: BTreeSet<String>,
    pub(crate) nice: Option<i32>,
    /// Processors to run on, by number.
    pub(crate) affinity: Option<Vec<usize>>,
    /// The limit on its data memory, in bytes.
    pub(crate) memory_hard_bytes: Option<u64>,
    /// Its standard streams that are captured.
    pub(crate) captures: Captures,
    pub(crate) inherits_stdin: bool,
    /// The log records that it sends.
    pub(crate) logs: LogLevel,
}

impl Settings {
    /// Checks that each setting is in its range.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for the first setting that is not.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(nice) = self.nice.filter(|nice| !(-20..=19).contains(nice)) {
            return Err(Error::invalid("the niceness", nice, "-20 to 19"));
        }
        if self.affinity.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::invalid("the affinity", "no processor", "at least one"));
        }
        let is_name = |name: &str| !name.is_empty() && !name.contains(['=', '\0']);
        let is_bad = |(name, value): &(&String, &String)| !is_name(name) || value.contains('\0');
        if let Some((name, _)) = self.env.iter().find(is_bad) {
            let expected = "a name without '=' and a value, both without zero bytes";
            return Err(Error::invalid("an environment variable", name.escape_debug(), expected));
        }
        if let Some(name) = self.env_removed.iter().find(|name| !is_name(name)) {
            let (what, expected) = ("an environment variable to remove", "a name without '='");
            return Err(Error::invalid(what, name.escape_debug(), expected));
        }
        Ok(())
    }

    /// The host's attributes, without those that a setting replaces.
    pub(crate) fn inherited(&self, host: &ProcessAttributes) -> ProcessAttributes {
        let mut attributes = host.without_variables(&self.env_removed);
        attributes.priority = attributes.priority.filter(|_| self.nice.is_none());
        attributes.cpus = attributes.cpus.filter(|_| self.affinity.is_none());
        attributes
    }

    /// Applies niceness, processors and memory limit to this process. With `is_strict`, unavailable
    /// niceness and processors are errors; otherwise they stay unchanged.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if the system refuses one.
    pub(crate) fn apply(&self, is_strict: bool) -> Result<()> {
        let ends = |result: Result<()>| if is_strict { result } else { Ok(()) };
        ends(self.nice.map_or(Ok(()), sched::set_nice))?;
        ends(self.affinity.as_ref().map_or(Ok(()), |cpus| sched::set_affinity(cpus)))?;
        self.memory_hard_bytes.map_or(Ok(()), sched::set_data_bytes_max)
    }

    /// Sets the environment variables of this process.
    ///
    /// # Safety
    ///
    /// - The process has exactly one thread.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn apply_env(&self) {
        for (name, value) in &self.env {
            // SAFETY: one thread, by this function's contract.
            unsafe { process::set_env(name, value) };
        }
    }
}

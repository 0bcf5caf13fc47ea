//! The state that a child takes over from its host.
//!
//! The fork server has the same attributes, but as they were when it started.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::process::fork_server::SpawnAttributes;
use crate::process::handshake::{self, Names};
use crate::sys::sched::{self, Priority, ResourceLimit};
use crate::sys::{process, signal};

/// The state that a child takes over from its host.
#[derive(Debug)]
pub(crate) struct HostSnapshot {
    /// `None` if the host itself may not enter it; then the server's is used.
    directory: Option<OwnedFd>,
    /// Standard input, output and error; `None` where the server's can be used.
    standard: [Option<OwnedFd>; 3],
    pub(crate) attributes: ProcessAttributes,
}

/// The attributes that a child sets for itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct ProcessAttributes {
    variables: BTreeMap<Vec<u8>, Vec<u8>>,
    umask: Option<u32>,
    limits: Vec<ResourceLimit>,
    /// `None` if the builder sets another.
    pub(crate) priority: Option<Priority>,
    /// `None` if the builder sets others.
    pub(crate) cpus: Option<Vec<usize>>,
}

impl HostSnapshot {
    /// The attributes of this process now. Priority and processors are those of its first thread,
    /// because the thread that starts workers may have others for its own purposes.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if no descriptor is free, or the working directory cannot be opened.
    pub(crate) fn of_host(inherits_stdin: bool) -> Result<HostSnapshot> {
        let directory =
            process::directory().map_err(|e| Error::os("open", "the working directory", e))?;
        let os = |e| Error::os("fcntl", "a standard descriptor", e);
        let stdin = match inherits_stdin {
            true => process::duplicate(io::stdin()).map_err(os)?,
            false => None,
        };
        let stdout = process::duplicate(io::stdout()).map_err(os)?;
        let stderr = process::duplicate(io::stderr()).map_err(os)?;
        let attributes = ProcessAttributes {
            variables: variables(),
            umask: process::umask(),
            limits: sched::limits(),
            priority: sched::priority_of_process(),
            cpus: sched::affinity_of_process().ok(),
        };
        Ok(HostSnapshot { directory, standard: [stdin, stdout, stderr], attributes })
    }

    /// The attributes that the fork server gets for a worker of a pool. An interrupt of the whole
    /// process group does not end such a worker, because the host decides about its work.
    pub(crate) fn of_worker(&self) -> SpawnAttributes<'_> {
        let mut attributes = self.attributes();
        let interrupt = signal::Signal::SIGINT as i32;
        if !attributes.dispositions.ignored.has(interrupt) {
            attributes.dispositions.held.add(interrupt);
        }
        attributes
    }

    /// The same, for a one-off process: SIGTERM ends it if its host sends that to it alone.
    pub(crate) fn of_process(&self) -> SpawnAttributes<'_> {
        let mut attributes = self.attributes();
        let terminate = signal::Signal::SIGTERM as i32;
        if attributes.dispositions.ignored.has(terminate) {
            attributes.dispositions.ignored.remove(terminate);
            attributes.dispositions.held.add(terminate);
        }
        attributes
    }

    fn attributes(&self) -> SpawnAttributes<'_> {
        let [stdin, stdout, stderr] =
            self.standard.each_ref().map(|fd| fd.as_ref().map(AsFd::as_fd));
        SpawnAttributes {
            stderr,
            stdout,
            stdin,
            directory: self.directory.as_ref().map(AsFd::as_fd),
            dispositions: signal::dispositions(),
        }
    }
}

/// The environment of this process, without the fork server's own variables, and without names that
/// cannot be set.
fn variables() -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut found = BTreeMap::new();
    for (name, value) in std::env::vars_os() {
        let is_own = name.to_str().is_some_and(handshake::is_own_variable);
        if !is_own && !name.as_bytes().contains(&b'=') {
            // Of several variables with one name, `getenv` finds the first.
            found.entry(name.into_vec()).or_insert_with(|| value.into_vec());
        }
    }
    found
}

impl ProcessAttributes {
    /// These attributes without some environment variables.
    pub(crate) fn without_variables(&self, names: &Names) -> ProcessAttributes {
        let mut attributes = self.clone();
        for name in names {
            attributes.variables.remove(name.as_bytes());
        }
        attributes
    }

    /// Applies the attributes to this process. Those that it may not set stay as in the server.
    ///
    /// # Safety
    ///
    /// - The process has exactly one thread.
    pub(crate) unsafe fn apply(&self) {
        let own = variables();
        for name in own.keys().filter(|&name| !self.variables.contains_key(name)) {
            // SAFETY: one thread, by this function's contract.
            unsafe { process::remove_env(OsStr::from_bytes(name)) };
        }
        for (name, value) in &self.variables {
            if own.get(name) != Some(value) {
                // SAFETY: as above.
                unsafe { process::set_env(OsStr::from_bytes(name), OsStr::from_bytes(value)) };
            }
        }
        if let Some(mask) = self.umask {
            process::set_umask(mask);
        }
        sched::set_limits(&self.limits);
        if let Some(priority) = self.priority {
            sched::set_priority(priority);
        }
        if let Some(cpus) = &self.cpus
            && sched::affinity().ok().as_ref() != Some(cpus)
        {
            // The processors may have been taken away meanwhile.
            let _ = sched::set_affinity(cpus);
        }
    }
}

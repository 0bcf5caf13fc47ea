//! The command line: named regions, and running pools.
#![cfg(not(loom))]

mod arguments;
mod json;
mod show;
mod top;

use std::io::{self, Write};
use std::process::ExitCode;

use arguments::{Command, Output, Request};
use brigade::{Error, RegionInfo, RegionState};
use json::Json;

const USAGE: &str = "\
brigade: the named regions of this machine, under /dev/shm, and the running pools

usage:
  brigade ls [--json]                list regions: state, kind, size, owner, holders;
                                     as text, the pools of this user too
  brigade top [--once] [--json]      show what the pools of this user do, once a second:
                                     on a terminal a view, else a block of text each time;
                                     with --json a line; with --once, once
  brigade inspect NAME [--json]      show all that is known of one
  brigade rm NAME [--force] [--json] remove a name that no process holds; with --force, any name
  brigade gc [--dry-run] [--json]    remove what dead programs left; with --dry-run, list it
  brigade --help | --version

states of a region:
  live     a process holds brigade's lock on it, or has it mapped
  kept     no process has it; it stays until it is removed
  dead     no process has it: programs that died left it; gc removes it
  foreign  no process has it; another user's, or not made by brigade (a copy); gc keeps it

exit code: 0 success, 1 failure, 2 invalid command line";

/// Why a command ends early.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// The command line is invalid: exit code 2.
    Usage(String),
    /// The command failed: exit code 1.
    Failure(String),
    /// The reader of standard output has closed it.
    Unread,
}

impl From<Error> for CommandError {
    fn from(error: Error) -> CommandError {
        let text = error.to_string();
        match error {
            Error::BadName { .. } => CommandError::Usage(text),
            _ => CommandError::Failure(text),
        }
    }
}

impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> CommandError {
        match error.kind() {
            io::ErrorKind::BrokenPipe => CommandError::Unread,
            _ => CommandError::Failure(format!("cannot write to standard output: {error}")),
        }
    }
}

fn main() -> ExitCode {
    let mut out = io::stdout().lock();
    let done = arguments::parse(std::env::args_os().skip(1))
        .and_then(|request| run(&request, &mut out))
        .and_then(|()| Ok(out.flush()?));
    let (text, code) = match done {
        Ok(()) | Err(CommandError::Unread) => return ExitCode::SUCCESS,
        Err(CommandError::Failure(text)) => (text, 1),
        Err(CommandError::Usage(text)) => (text, 2),
    };
    // Standard error may be closed; the exit code is the same.
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let _ = writeln!(io::stderr(), "brigade: {text}");
    ExitCode::from(code)
}

fn run(request: &Request, out: &mut impl Write) -> Result<(), CommandError> {
    match &request.command {
        Command::Help => writeln!(out, "{USAGE}")?,
        Command::Version => writeln!(out, "brigade {}", env!("CARGO_PKG_VERSION"))?,
        Command::List => {
            let regions = brigade::regions()?;
            match request.output {
                Output::Text => {
                    show::table(&regions, out)?;
                    let pools = brigade::pools()?;
                    if !pools.is_empty() {
                        write!(out, "\n{}", top::table(&pools))?;
                    }
                }
                Output::Json => {
                    let all = Json::List(regions.iter().map(show::in_json).collect());
                    writeln!(out, "{all}")?;
                }
            }
        }
        &Command::Top { once } => top::run(request.output, once, out)?,
        Command::Inspect(name) => {
            let region = RegionInfo::of(name)?;
            match request.output {
                Output::Text => show::in_full(&region, out)?,
                Output::Json => writeln!(out, "{}", show::in_json(&region))?,
            }
        }
        Command::Remove { name, force } => {
            remove(name, *force)?;
            removed(std::slice::from_ref(name), "removed", request.output, out)?;
        }
        Command::Collect { dry_run: false } => {
            removed(&brigade::reclaim()?, "removed", request.output, out)?;
        }
        Command::Collect { dry_run: true } => {
            let mut regions = brigade::regions()?;
            regions.retain(|region| region.state() == RegionState::Dead && region.is_own());
            let names: Vec<_> = regions.iter().map(|region| region.name().to_owned()).collect();
            removed(&names, "would_remove", request.output, out)?;
        }
    }
    Ok(())
}

/// Removes one name, if no process uses it or `force` is set.
fn remove(name: &str, force: bool) -> Result<(), CommandError> {
    let region = RegionInfo::of(name)?;
    let refused = |why: String| Err(CommandError::Failure(format!("{name} {why}")));
    if force {
        return Ok(region.remove()?);
    }
    if !region.is_own() {
        let owner = show::user(region.uid());
        return refused(format!("belongs to {owner}; --force removes it if the system lets you"));
    }
    let is_held = region.state() == RegionState::Live;
    if region.state() == RegionState::Foreign {
        return refused("is not a region of brigade; --force removes it anyway".to_owned());
    }
    if is_held || !region.remove_unheld()? {
        let holders = show::holders(&region);
        return refused(format!("is in use by {holders}; end that first, or use --force"));
    }
    Ok(())
}

/// Prints the names that were removed, or would be.
fn removed(
    names: &[String],
    what: &'static str,
    output: Output,
    out: &mut impl Write,
) -> io::Result<()> {
    match output {
        Output::Json => {
            let names = names.iter().cloned().map(Json::Text).collect();
            writeln!(out, "{}", Json::Object(vec![(what, Json::List(names))]))
        }
        Output::Text => {
            let what = what.replace('_', " ");
            names.iter().try_for_each(|name| writeln!(out, "{what} {name}"))
        }
    }
}

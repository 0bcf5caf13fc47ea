//! The commands on regions: list, inspect, remove, collect.

use std::fs;
use std::io::{self, Write};

use brigade::{LockState, Participant, RegionInfo, RegionKind, RegionState};

use crate::error::CommandError;
use crate::json::Json;
use crate::table::{columns, printable, size};
use crate::top;

/// The most processes that a row of the table names.
const HOLDERS_SHOWN_MAX: usize = 3;

/// Prints all regions, and as text the pools too.
pub(crate) fn list(json: bool, out: &mut impl Write) -> Result<(), CommandError> {
    let regions = brigade::regions()?;
    if json {
        let all = Json::List(regions.iter().map(in_json).collect());
        return Ok(writeln!(out, "{all}")?);
    }
    table(&regions, out)?;
    let pools = brigade::pools()?;
    if !pools.is_empty() {
        write!(out, "\n{}", top::table(&pools))?;
    }
    Ok(())
}

/// Prints one region.
pub(crate) fn inspect(name: &str, json: bool, out: &mut impl Write) -> Result<(), CommandError> {
    let region = RegionInfo::of(name)?;
    match json {
        true => writeln!(out, "{}", in_json(&region))?,
        false => in_full(&region, out)?,
    }
    Ok(())
}

/// Removes one name, if no process uses it or `force` is set.
pub(crate) fn remove(
    name: &str,
    force: bool,
    json: bool,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let region = RegionInfo::of(name)?;
    if force {
        region.remove()?;
    } else {
        remove_unheld(&region)?;
    }
    Ok(removed(&[name.to_owned()], "removed", json, out)?)
}

fn remove_unheld(region: &RegionInfo) -> Result<(), CommandError> {
    let refused = |why: String| Err(CommandError::Failure(format!("{} {why}", region.name())));
    if !region.is_own() {
        let owner = user(region.uid());
        return refused(format!("belongs to {owner}; --force removes it if the system lets you"));
    }
    if region.state() == RegionState::Foreign {
        return refused("is not a region of brigade; --force removes it anyway".to_owned());
    }
    if region.state() == RegionState::Live || !region.remove_unheld()? {
        let holders = holders(region);
        return refused(format!("is in use by {holders}; end that first, or use --force"));
    }
    Ok(())
}

/// Removes what dead programs have left, or lists it.
pub(crate) fn collect(dry_run: bool, json: bool, out: &mut impl Write) -> Result<(), CommandError> {
    if !dry_run {
        return Ok(removed(&brigade::reclaim()?, "removed", json, out)?);
    }
    let mut regions = brigade::regions()?;
    regions.retain(|region| region.state() == RegionState::Dead && region.is_own());
    let names: Vec<_> = regions.iter().map(|region| region.name().to_owned()).collect();
    Ok(removed(&names, "would_remove", json, out)?)
}

/// Prints the names that were removed, or would be.
fn removed(
    names: &[String],
    what: &'static str,
    json: bool,
    out: &mut impl Write,
) -> io::Result<()> {
    if json {
        let names = names.iter().cloned().map(Json::Text).collect();
        return writeln!(out, "{}", Json::Object(vec![(what, Json::List(names))]));
    }
    let what = what.replace('_', " ");
    names.iter().try_for_each(|name| writeln!(out, "{what} {name}"))
}

/// Prints a table with a row for each region.
fn table(regions: &[RegionInfo], out: &mut impl Write) -> io::Result<()> {
    let heading = ["NAME", "STATE", "KIND", "SIZE", "OWNER", "HELD BY"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(heading).chain(regions.iter().map(row)).collect();
    write!(out, "{}", columns(&rows))
}

fn row(region: &RegionInfo) -> [String; 6] {
    [
        printable(region.name()),
        state(region).to_owned(),
        kind(region.kind()),
        size(region.size_bytes()),
        printable(&user(region.uid())),
        holders(region),
    ]
}

/// Prints a region, a line for each property.
fn in_full(region: &RegionInfo, out: &mut impl Write) -> io::Result<()> {
    let mut line = |what: &str, value: &str| writeln!(out, "{what:<8} {value}");
    line("name", region.name())?;
    line("path", &region.path().display().to_string())?;
    line("state", state(region))?;
    line("kind", &kind(region.kind()))?;
    line("size", &format!("{} bytes, {} in memory", region.size_bytes(), region.used_bytes()))?;
    line("owner", &format!("{}, mode {:04o}", user(region.uid()), region.mode()))?;
    for user in region.participants() {
        line("used by", &format!("{} ({})", user.pid, alive(user.lives)))?;
    }
    for lock in region.locks() {
        line("locked", &lock_state(*lock))?;
    }
    for holder in region.holders() {
        line("held by", &format!("{} ({})", holder.pid, command(holder.command.as_deref())))?;
    }
    Ok(())
}

fn in_json(region: &RegionInfo) -> Json {
    let (kind, dtype, shape) = match region.kind() {
        RegionKind::Array { dtype, shape } => {
            let extent = |&extent: &usize| Json::Number(extent as u64);
            let shape = Json::List(shape.dims().iter().map(extent).collect());
            ("array", Json::text(dtype), shape)
        }
        RegionKind::Primitive { name, .. } => (*name, Json::Null, Json::Null),
        RegionKind::Raw => ("raw", Json::Null, Json::Null),
        _ => ("unreadable", Json::Null, Json::Null),
    };
    let messages = match region.kind() {
        RegionKind::Primitive { messages: Some(count), .. } => Json::Number(*count),
        _ => Json::Null,
    };
    let holder = |holder: &brigade::Holder| {
        let command = holder.command.as_ref().map_or(Json::Null, Json::text);
        Json::Object(vec![("pid", Json::Number(u64::from(holder.pid))), ("command", command)])
    };
    Json::Object(vec![
        ("name", Json::text(region.name())),
        ("path", Json::text(region.path().display())),
        ("state", Json::text(state(region))),
        ("kind", Json::text(kind)),
        ("dtype", dtype),
        ("shape", shape),
        ("messages", messages),
        ("size_bytes", Json::Number(region.size_bytes())),
        ("used_bytes", Json::Number(region.used_bytes())),
        ("uid", Json::Number(u64::from(region.uid()))),
        ("owner", Json::Text(user(region.uid()))),
        ("mode", Json::Text(format!("{:04o}", region.mode()))),
        ("holders", Json::List(region.holders().iter().map(holder).collect())),
        ("used_by", Json::List(region.participants().iter().map(participant).collect())),
        ("locks", Json::List(region.locks().iter().map(lock).collect())),
    ])
}

fn participant(user: &Participant) -> Json {
    let state = ("state", Json::text(alive(user.lives)));
    Json::Object(vec![("pid", Json::Number(u64::from(user.pid))), state])
}

fn lock(lock: &LockState) -> Json {
    let (state, pid) = match *lock {
        LockState::Held { pid } => ("held", Some(pid)),
        LockState::Orphaned { pid } => ("orphaned", pid),
        _ => ("unknown", None),
    };
    let pid = pid.map_or(Json::Null, |pid| Json::Number(u64::from(pid)));
    Json::Object(vec![("state", Json::text(state)), ("pid", pid)])
}

fn lock_state(lock: LockState) -> String {
    match lock {
        LockState::Held { pid } => format!("by {pid} (alive)"),
        LockState::Orphaned { pid: Some(pid) } => {
            format!("by {pid} (dead); the next locker gets it")
        }
        _ => "by a process that died; the next locker gets it".to_owned(),
    }
}

fn alive(lives: bool) -> &'static str {
    if lives { "alive" } else { "dead" }
}

/// The processes that hold a region, as many as fit into a row.
fn holders(region: &RegionInfo) -> String {
    let all = region.holders();
    let shown = all.iter().take(HOLDERS_SHOWN_MAX);
    let shown = shown.map(|h| format!("{} ({})", h.pid, command(h.command.as_deref())));
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if all.len() > HOLDERS_SHOWN_MAX {
        text += &format!(" and {} more", all.len() - HOLDERS_SHOWN_MAX);
    }
    match (text.is_empty(), region.state()) {
        (true, RegionState::Live) => "a process that cannot be seen from here".to_owned(),
        (true, _) => "-".to_owned(),
        _ => text,
    }
}

/// The name of a user, or the number if there is none.
fn user(uid: u32) -> String {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let number = uid.to_string();
    let found = users.lines().find(|line| line.split(':').nth(2) == Some(&number));
    found.and_then(|line| line.split(':').next()).map_or(number.clone(), str::to_owned)
}

fn state(region: &RegionInfo) -> &'static str {
    match region.state() {
        RegionState::Live => "live",
        RegionState::Kept => "kept",
        RegionState::Dead => "dead",
        _ => "foreign",
    }
}

fn kind(kind: &RegionKind) -> String {
    match kind {
        RegionKind::Array { dtype, shape } => format!("array {dtype} {shape}"),
        RegionKind::Primitive { name, messages: Some(count), .. } => {
            format!("{name} of {count} messages")
        }
        RegionKind::Primitive { name, .. } => (*name).to_owned(),
        RegionKind::Raw => "raw".to_owned(),
        _ => "unreadable".to_owned(),
    }
}

fn command(command: Option<&str>) -> String {
    command.map_or_else(|| "gone".to_owned(), printable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_names_or_numbers() {
        assert_eq!(user(0), "root");
        assert_eq!(user(4_000_000_001), "4000000001");
    }
}

//! Privileges that a program has from its file.

use std::os::unix::fs::MetadataExt;

use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{getegid, geteuid, getgid, getuid};

use crate::sys::process;

const EXE: &str = "/proc/self/exe";
const SET_USER: u32 = 0o4000;
/// Without the right to execute, the set-gid bit means something else.
const SET_GROUP: u32 = 0o2010;

/// The privileges that this process has beyond those of its caller (`AT_SECURE`), or that it would
/// have if it executed its own file once more. `None`: there are none.
pub(crate) fn of_own_file() -> Option<String> {
    let (user, group) = (getuid().as_raw(), getgid().as_raw());
    let file = std::fs::metadata(EXE).ok();
    let from_file = file.and_then(|file| {
        if file.mode() & SET_USER == SET_USER && file.uid() != user {
            Some(format!("its file is set-uid, user {}", file.uid()))
        } else if file.mode() & SET_GROUP == SET_GROUP && file.gid() != group {
            Some(format!("its file is set-gid, group {}", file.gid()))
        } else if rustix::fs::getxattr(EXE, "security.capability", &mut [0u8; 64]).is_ok() {
            (user != 0).then(|| "its file has capabilities".to_owned())
        } else {
            None
        }
    });
    if let Some(found) = from_file.filter(|_| takes_effect()) {
        return Some(found);
    }
    let ids = [("user", user, geteuid().as_raw()), ("group", group, getegid().as_raw())];
    if let Some((what, real, effective)) = ids.into_iter().find(|(_, real, eff)| real != eff) {
        return Some(format!("its {what} is {real}, its effective {what} {effective}"));
    }
    process::is_privileged_exec().then(|| "it was started set-uid, or with capabilities".to_owned())
}

/// Whether the kernel takes privileges from this program's file on an exec.
fn takes_effect() -> bool {
    let is_ignored = statvfs(EXE).is_ok_and(|found| found.flags().contains(FsFlags::ST_NOSUID));
    !is_ignored && !nix::sys::prctl::get_no_new_privs().unwrap_or(false)
}

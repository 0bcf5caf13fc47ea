//! Named regions: when a name becomes visible and is removed.

#![allow(unsafe_code)]

use crate::common::alone::alone_in_turn;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Child, Command, Stdio};

use brigade::{Error, Limit, SharedArray};
use nix::sys::resource::{Resource, setrlimit};

use crate::common::names::{Removed, path_of};
use crate::common::{skipped, unique};

#[test]
fn two_handles_see_each_others_writes() {
    alone_in_turn(|| {
        let name = unique("shared");
        let mut ours = SharedArray::<u32>::named(&name, [2, 3]).unwrap();
        assert_eq!(ours.copy_to_vec(), [0; 6]);
        let mut theirs = SharedArray::<u32>::open(&name).unwrap();
        ours.set([1, 2], 7).unwrap();
        theirs.set([0, 0], 9).unwrap();
        assert_eq!((theirs.get([1, 2]), ours.get([0, 0])), (Some(7), Some(9)));
        assert_eq!(ours.copy_to_array().unwrap().as_slice(), [9, 0, 0, 0, 0, 7]);
        assert_eq!((theirs.shape().dims(), theirs.name()), (&[2, 3][..], name.as_str()));
        assert!(ours.set([2, 0], 1).is_err() && ours.get([0, 3]).is_none());
        assert!(matches!(ours.copy_from_slice(&[1, 2]), Err(Error::ShapeMismatch { .. })));
    });
}

#[test]
fn a_name_is_private_and_goes_with_its_creator() {
    alone_in_turn(|| {
        let name = unique("private");
        let ours = SharedArray::<u8>::named(&name, [10]).unwrap();
        let metadata = fs::metadata(path_of(&name)).unwrap();
        assert_eq!((metadata.permissions().mode() & 0o7777, metadata.len()), (0o600, 4096 + 10));
        drop(SharedArray::<u8>::open(&name).unwrap());
        assert!(path_of(&name).exists(), "an attacher does not remove the name");
        drop(ours);
        assert!(!path_of(&name).exists());
    });
}

#[test]
fn an_array_outlives_its_name() {
    alone_in_turn(|| {
        let name = unique("outlives");
        let mut ours = SharedArray::<u8>::named(&name, [4]).unwrap();
        let theirs = SharedArray::<u8>::open(&name).unwrap();
        ours.unlink().unwrap();
        assert!(matches!(ours.unlink(), Err(Error::NotFound { .. })));
        assert!(matches!(SharedArray::<u8>::open(&name), Err(Error::NotFound { .. })));
        ours.copy_from_slice(&[1, 2, 3, 4]).unwrap();
        drop(ours);
        assert_eq!(theirs.copy_to_vec(), [1, 2, 3, 4]);
    });
}

#[test]
fn a_taken_name_is_an_error_and_stays() {
    alone_in_turn(|| {
        let name = unique("taken");
        let first = SharedArray::<u8>::named(&name, [4]).unwrap();
        assert!(matches!(SharedArray::<u8>::named(&name, [4]), Err(Error::NameTaken { .. })));
        assert!(SharedArray::<u8>::open(&name).is_ok());
        drop(first);
    });
}

#[test]
fn a_replaced_name_is_not_removed_by_the_first_creator() {
    alone_in_turn(|| {
        let name = unique("replaced");
        let first = SharedArray::<u8>::named(&name, [4]).unwrap();
        fs::remove_file(path_of(&name)).unwrap();
        let second = SharedArray::<u8>::named(&name, [5]).unwrap();
        drop(first);
        assert_eq!(SharedArray::<u8>::open(&name).unwrap().len(), 5);
        drop(second);
    });
}

#[test]
fn attaching_checks_what_it_finds() {
    alone_in_turn(|| {
        let name = unique("checked");
        let held = SharedArray::<f64>::named(&name, [4]).unwrap();
        assert!(matches!(SharedArray::<i64>::open(&name), Err(Error::Layout { .. })), "dtype");
        drop(held);
        let path = path_of(&name);
        let _removed = Removed(name.clone());
        let refused = |what: &str| {
            let found = SharedArray::<f64>::open(&name);
            assert!(matches!(found, Err(Error::Layout { .. })), "{what}: {found:?}");
        };
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        SharedArray::<f64>::named(&name, [4]).unwrap().keep().unwrap();
        mode(0o640);
        refused("open to others");
        mode(0o600);
        assert!(SharedArray::<f64>::open(&name).is_ok());
        fs::write(&path, b"no array").unwrap();
        refused("no .npy");
        fs::remove_file(&path).unwrap();
        symlink("/etc/passwd", &path).unwrap();
        refused("a symbolic link");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        refused("a directory");
        fs::remove_dir(&path).unwrap();
        assert!(matches!(SharedArray::<f64>::open(&name), Err(Error::NotFound { .. })));
        for bad in ["", "..", "a/b", ".hidden", "nul\0"] {
            assert!(matches!(SharedArray::<f64>::open(bad), Err(Error::BadName { .. })));
            assert!(matches!(SharedArray::<f64>::named(bad, [1]), Err(Error::BadName { .. })));
        }
    });
}

#[test]
fn a_region_larger_than_memory_is_no_space_and_leaves_no_name() {
    alone_in_turn(|| {
        let name = unique("huge");
        for len in [1usize << 60, 1 << 50, 1 << 44] {
            let refused = SharedArray::<u8>::named(&name, [len]);
            assert!(matches!(refused, Err(Error::NoSpace { .. })), "{refused:?}");
        }
        assert!(!path_of(&name).exists());
    });
}

#[test]
fn a_region_without_elements_is_a_header() {
    alone_in_turn(|| {
        let name = unique("empty");
        let mut ours = SharedArray::<f64>::named(&name, [0, 3]).unwrap();
        ours.copy_from_slice(&[]).unwrap();
        assert_eq!(SharedArray::<f64>::open(&name).unwrap().shape().dims(), [0, 3]);
    });
}

#[test]
fn reclaim_leaves_what_is_held_kept_or_foreign() {
    alone_in_turn(|| {
        let (held, kept, foreign) = (unique("held"), unique("kept"), unique("foreign"));
        let _array = SharedArray::<u8>::named(&held, [4]).unwrap();
        SharedArray::<u8>::named(&kept, [4]).unwrap().keep().unwrap();
        let _removed = (Removed(kept.clone()), Removed(foreign.clone()));
        fs::write(path_of(&foreign), b"not ours").unwrap();
        fs::set_permissions(path_of(&foreign), fs::Permissions::from_mode(0o600)).unwrap();
        let removed = brigade::reclaim().unwrap();
        for name in [&held, &kept, &foreign] {
            assert!(!removed.contains(name) && path_of(name).exists(), "{name}");
        }
        assert_eq!(SharedArray::<u8>::open(&kept).unwrap().len(), 4);
    });
}

/// The part that a child process runs, and the name of its region.
const PART: &str = "BRIGADE_TEST_PART";

/// Runs `a_child_plays_its_part` of this binary in a new process, started by `launcher`.
fn child(launcher: &[&str], part: &str) -> Child {
    let exe = std::env::current_exe().unwrap();
    let mut command = match launcher {
        [] => Command::new(&exe),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(&exe);
            command
        }
    };
    command.args(["--exact", "regions::a_child_plays_its_part", "--nocapture"]).env(PART, part);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

/// Waits until a child prints `line`; false if it ended first.
fn says(child: &mut Child, line: &str) -> bool {
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut heard = String::new();
    while output.read_line(&mut heard).unwrap() > 0 {
        if heard.contains(line) {
            return true;
        }
        heard.clear();
    }
    false
}

/// Waits until the part of a child succeeds.
fn succeeds(child: Child) {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("as it should be"), "{text}");
}

/// A child forked from the creator drops its handles, which has no effect.
fn drop_handles_in_a_fork(name: &str) {
    // So large that freeing it would punch a hole at its end; only a page is used.
    let available = fs::read_to_string("/proc/meminfo").unwrap();
    let available = available.lines().find_map(|l| l.strip_prefix("MemAvailable:"));
    let kib: usize = available.unwrap().trim().trim_end_matches(" kB").parse().unwrap();
    let mut array = SharedArray::<u8>::for_overwrite([kib * 1024 / 2]).unwrap();
    *array.as_mut_slice().last_mut().unwrap() = 7;
    let named = SharedArray::<u8>::named(name, [4]).unwrap();
    // SAFETY: the child drops two handles, which locks nothing that another thread of this process
    // could hold, and ends without running anything else.
    match unsafe { nix::unistd::fork() }.unwrap() {
        nix::unistd::ForkResult::Child => {
            drop((array, named));
            // SAFETY: ends the process and does not return.
            unsafe { nix::libc::_exit(0) }
        }
        nix::unistd::ForkResult::Parent { child } => {
            let status = nix::sys::wait::waitpid(child, None).unwrap();
            assert_eq!(status, nix::sys::wait::WaitStatus::Exited(child, 0));
        }
    }
    assert!(path_of(name).exists());
    assert_eq!((array.as_slice().last(), named.len()), (Some(&7), 4));
    println!("as it should be");
}

/// Makes a file that has no room in the address space.
fn create_without_room_to_map(name: &str) {
    let path = std::env::temp_dir().join(name);
    let used = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = used.split(' ').next().unwrap().parse().unwrap();
    let limit = pages * 4096 + (64 << 20);
    setrlimit(Resource::RLIMIT_AS, limit, limit).unwrap();
    // SAFETY: nothing is mapped.
    let refused = unsafe { SharedArray::<u8>::create_npy(&path, [256 << 20]) };
    assert!(matches!(refused, Err(Error::Os { call: "mmap", .. })), "{refused:?}");
    assert!(!path.exists());
    println!("as it should be");
}

#[test]
fn a_child_plays_its_part() {
    let Ok(part) = std::env::var(PART) else { return };
    let mut words = part.split(' ');
    match (words.next().unwrap(), words.next().unwrap_or_default()) {
        ("hold", name) => {
            let _array = SharedArray::<u8>::named(name, [4]).unwrap();
            println!("holding");
            // The parent kills this process here; if the parent has ended, so does the read.
            let _ = std::io::stdin().read_line(&mut String::new());
        }
        ("little-disk", name) => {
            let refused = SharedArray::<u8>::named(name, [2 << 20]);
            let limited =
                matches!(refused, Err(Error::NoSpace { limited_by: Limit::FileSystem, .. }));
            assert!(limited, "{refused:?}");
            assert!(!path_of(name).exists());
            // SAFETY: nothing is mapped.
            let refused = unsafe { SharedArray::<u8>::create_npy(path_of(name), [2 << 20]) };
            let limited =
                matches!(refused, Err(Error::NoSpace { limited_by: Limit::FileSystem, .. }));
            assert!(limited, "{refused:?}");
            assert!(!path_of(name).exists());
            assert_eq!(SharedArray::<u8>::named(name, [1000]).unwrap().len(), 1000);
            println!("as it should be");
        }
        ("little-files", name) => {
            let refused = SharedArray::<u8>::zeroed([64 << 20]);
            let limited =
                matches!(refused, Err(Error::NoSpace { limited_by: Limit::FileSize, .. }));
            assert!(limited, "{refused:?}");
            assert!(SharedArray::<u8>::zeroed([1 << 20]).is_ok());
            let refused = SharedArray::<u8>::named(name, [64 << 20]);
            let limited =
                matches!(refused, Err(Error::NoSpace { limited_by: Limit::FileSize, .. }));
            assert!(limited, "{refused:?}");
            // SAFETY: nothing is mapped.
            let refused = unsafe { SharedArray::<u8>::create_npy(path_of(name), [64 << 20]) };
            let limited =
                matches!(refused, Err(Error::NoSpace { limited_by: Limit::FileSize, .. }));
            assert!(limited, "{refused:?}");
            assert!(!path_of(name).exists());
            println!("as it should be");
        }
        ("little-space", name) => create_without_room_to_map(name),
        ("locked", _) => {
            use nix::sys::mman::{MlockAllFlags, mlockall};
            // Small enough that a failure of this test does not exhaust the machine's memory.
            brigade::set_arena_size(512 << 20);
            mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE).unwrap();
            let mut array = SharedArray::<u8>::zeroed([3 << 20]).unwrap();
            array.as_mut_slice().fill(1);
            let status = fs::read_to_string("/proc/self/status").unwrap();
            for field in ["VmRSS:", "VmLck:"] {
                let value = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
                let kib: u64 = value.trim().trim_end_matches(" kB").parse().unwrap();
                assert!(kib < 256 << 10, "{field} {kib} KiB");
            }
            println!("as it should be");
        }
        ("fork", name) => drop_handles_in_a_fork(name),
        (other, _) => panic!("no such part: {other}"),
    }
}

#[test]
fn a_killed_creators_name_is_reclaimed_and_no_sooner() {
    alone_in_turn(|| {
        let name = unique("killed");
        let mut creator = child(&[], &format!("hold {name}"));
        assert!(says(&mut creator, "holding"));
        assert!(!brigade::reclaim().unwrap().contains(&name), "its creator lives");
        creator.kill().unwrap();
        creator.wait().unwrap();
        let attached = SharedArray::<u8>::open(&name).unwrap();
        assert!(!brigade::reclaim().unwrap().contains(&name), "an attacher lives");
        drop(attached);
        assert!(!path_of(&name).exists(), "the last to let go removes the name");
        let mut creator = child(&[], &format!("hold {name}"));
        assert!(says(&mut creator, "holding"));
        creator.kill().unwrap();
        creator.wait().unwrap();
        let removed = brigade::reclaim().unwrap();
        assert!(removed.contains(&name) || !path_of(&name).exists(), "someone reclaimed it");
        assert!(!path_of(&name).exists());
    });
}

#[test]
fn a_full_dev_shm_is_no_space_and_leaves_no_name() {
    alone_in_turn(|| {
        let mount = "mount -t tmpfs -o size=1m tmpfs /dev/shm && exec \"$0\" \"$@\"";
        let launcher = ["unshare", "-rm", "sh", "-c", mount];
        let probe = Command::new("unshare")
            .args(["-rm", "sh", "-c", "mount -t tmpfs tmpfs /dev/shm"])
            .output();
        if !probe.is_ok_and(|output| output.status.success()) {
            skipped("no private mounts here, so /dev/shm cannot be made small");
            return;
        }
        let child = child(&launcher, &format!("little-disk {}", unique("full")));
        succeeds(child);
    });
}

#[test]
fn a_limit_on_file_sizes_is_an_error_and_no_signal() {
    alone_in_turn(|| {
        // In POSIX blocks of 512 bytes, or in KiB with some shells: 8 or 16 MiB.
        let launcher = ["sh", "-c", "ulimit -f 16384 && exec \"$0\" \"$@\""];
        let child = child(&launcher, &format!("little-files {}", unique("limited")));
        succeeds(child);
    });
}

#[test]
fn a_new_file_that_cannot_be_mapped_is_removed() {
    alone_in_turn(|| {
        let child = child(&[], &format!("little-space {}", unique("space")));
        succeeds(child);
    });
}

#[test]
fn memory_that_is_to_be_locked_does_not_fill_the_arena() {
    alone_in_turn(|| {
        if !nix::unistd::geteuid().is_root() {
            skipped("only root may lock as much address space as an arena has");
            return;
        }
        let child = child(&[], "locked");
        succeeds(child);
    });
}

#[test]
fn a_forked_childs_handles_remove_nothing() {
    alone_in_turn(|| {
        succeeds(child(&[], &format!("fork {}", unique("forked"))));
    });
}

//! Full disks, limits, failing calls, and kills in the middle.

use crate::common::alone::alone_in_turn;
use crate::common::names::{Removed, path_of};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::process::Command;

use brigade::{Dtype, Error, Limit, SharedArray};
use proptest::prelude::*;

use super::parts::{Part, say};
use crate::common::{skipped, unique};

/// The calls by which a named array is made; nothing before it makes any of them.
const CALLS: [&str; 6] = ["flock", "fchmod", "fstatfs", "fallocate", "pwrite64", "linkat"];

/// Runs the part that `words` name, if it is one of these.
pub(crate) fn part(words: &[&str]) -> bool {
    match *words {
        ["create", name, expected] => {
            let before = descriptors();
            let outcome = match SharedArray::<u64>::create(name, [1000]) {
                Ok(array) => {
                    assert_eq!(array.copy_to_vec(), [0; 1000]);
                    "ok".to_owned()
                }
                Err(Error::NoSpace { limited_by, .. }) => format!("NoSpace:{limited_by:?}"),
                Err(Error::Os { call, .. }) => format!("Os:{}", call.replace(' ', "-")),
                Err(other) => format!("{other:?}"),
            };
            assert_eq!(outcome, expected);
            assert_eq!(descriptors(), before, "a descriptor was left open");
        }
        ["anonymous", expected] => {
            let outcome = match SharedArray::from_fn([3 << 18], |[i]| i as u64) {
                Ok(array) => {
                    assert!((0..).zip(array.as_slice()).all(|(i, &element)| element == i));
                    "ok".to_owned()
                }
                Err(Error::Os { call, .. }) => format!("Os:{call}"),
                Err(other) => format!("{other:?}"),
            };
            assert_eq!(outcome, expected);
        }
        ["killed", name] => drop(SharedArray::<u64>::create(name, [1000])),
        ["small-shm", name] => small_shm(name),
        ["little-address-space", name] => little_address_space(name),
        ["too-much", name] => too_much(name),
        ["reclaim"] => {
            say("reclaiming");
            while fs::read_dir("/dev/shm").is_ok() {
                brigade::reclaim().unwrap();
            }
        }
        ["timed-wait"] => timed_wait(),
        ["hold-fds", name] => {
            let listed = || Command::new("ls").arg("/proc/self/fd").output().unwrap().stdout;
            let before = listed();
            let _created = SharedArray::<u64>::create(name, [4]).unwrap();
            let _opened = SharedArray::<u64>::open(name).unwrap();
            let _raw = SharedArray::<u64>::attach_raw(name, Dtype::U64, [4], 4096).unwrap();
            assert_eq!(listed(), before);
        }
        _ => return false,
    }
    true
}

/// The open descriptors of this process.
fn descriptors() -> BTreeSet<String> {
    let entries = fs::read_dir("/proc/self/fd").unwrap();
    let targets = entries.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    targets.map(|target| target.display().to_string()).filter(|t| !t.contains("/proc/")).collect()
}

/// In a /dev/shm of 1 MiB, which limits named memory, but not anonymous memory.
fn small_shm(name: &str) {
    let refused = SharedArray::<u8>::create(name, [1 << 30]);
    assert!(matches!(refused, Err(Error::NoSpace { .. })), "{refused:?}");
    let refused = SharedArray::<u8>::create_or_open(name, [2 << 20]);
    let by_disk = matches!(refused, Err(Error::NoSpace { limited_by: Limit::FileSystem, .. }));
    assert!(by_disk, "{refused:?}");
    assert!(!path_of(name).exists());
    let mut anonymous = SharedArray::<u8>::zeroed([16 << 20]).unwrap();
    anonymous.as_mut_slice().fill(1);
    let mut held = Vec::new();
    for at in 0.. {
        match SharedArray::<u8>::create(&format!("{name}-{at}"), [100 << 10]) {
            Ok(mut array) => {
                // The memory is reserved, so no write ends in SIGBUS.
                array.copy_from_slice(&[7; 100 << 10]).unwrap();
                held.push(array);
            }
            Err(Error::NoSpace { .. }) => break,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(held.len() >= 5, "{}", held.len());
}

/// Under RLIMIT_AS: an error, nothing left open or named; a smaller arena.
fn little_address_space(name: &str) {
    use nix::sys::resource::{Resource, setrlimit};
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    let kib: u64 = kib.trim().trim_end_matches(" kB").parse().unwrap();
    let room = 256 << 20;
    setrlimit(Resource::RLIMIT_AS, (kib << 10) + room, (kib << 10) + room).unwrap();
    let before = descriptors();
    let refused = SharedArray::<u8>::create(name, [300 << 20]);
    let is_clear = matches!(&refused, Err(Error::Os { .. } | Error::NoSpace { .. }));
    assert!(is_clear, "{refused:?}");
    assert!(!path_of(name).exists());
    assert_eq!(descriptors(), before);
    let refused = SharedArray::<u8>::zeroed([300 << 20]);
    assert!(matches!(refused, Err(Error::NoSpace { .. })), "{refused:?}");
    assert_eq!(SharedArray::<u8>::zeroed([1 << 20]).unwrap().len(), 1 << 20);
    assert_eq!(SharedArray::<u8>::create(name, [1 << 20]).unwrap().len(), 1 << 20);
}

/// More than there is: rejected by arithmetic alone.
fn too_much(name: &str) {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap();
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap();
    let kib: usize = total.trim().trim_end_matches(" kB").parse().unwrap();
    for len in [1usize << 62, 1 << 50, (kib << 10) + 1] {
        let named = SharedArray::<u8>::create(name, [len]);
        let anonymous = SharedArray::<u8>::zeroed([len]);
        assert!(matches!(named, Err(Error::NoSpace { .. })), "{named:?}");
        assert!(matches!(anonymous, Err(Error::NoSpace { .. })), "{anonymous:?}");
    }
}

/// A wait that only its timeout ends.
fn timed_wait() {
    use brigade::sync::{EventWord, RawEvent, Timeout, Watch};
    let mut memory = SharedArray::<u64>::create(&unique("wait"), [1]).unwrap();
    // SAFETY: no slice of it is kept; only the pointer is used.
    let place = std::ptr::NonNull::from(unsafe { memory.as_mut_slice() }).cast::<EventWord>();
    // SAFETY: zero bytes are an event that is not set; the array outlives it.
    let event = unsafe { RawEvent::new(place, Watch::Waiters) };
    assert!(!event.wait(Timeout::after(std::time::Duration::from_millis(120))));
}

/// Whether there is strace; if not, reports why a test is skipped.
fn has_strace() -> bool {
    let has = Command::new("strace").arg("-V").output().is_ok_and(|o| o.status.success());
    if !has {
        skipped("there is no strace, which makes system calls fail");
    }
    has
}

/// Runs a part under strace with these arguments.
fn traced(arguments: &[&str], part: &str, words: &[&str]) -> Part {
    let launcher = [&["strace", "-f", "-qq", "-o", "/dev/null"], arguments, &["--"]].concat();
    Part::start_by(&launcher, part, words)
}

fn injected(inject: &str, part: &str, words: &[&str]) -> Part {
    traced(&["-e", &format!("inject={inject}")], part, words)
}

#[test]
fn a_small_dev_shm_limits_named_memory_and_no_other() {
    alone_in_turn(|| {
        let mount = "mount -t tmpfs -o size=1m tmpfs /dev/shm";
        let probe = Command::new("unshare").args(["-rm", "sh", "-c", mount]).output();
        if !probe.is_ok_and(|output| output.status.success()) {
            skipped("no private mounts here, so /dev/shm cannot be made small");
            return;
        }
        let script = format!("{mount} && exec \"$0\" \"$@\"");
        let launcher = ["unshare", "-rm", "sh", "-c", &script];
        Part::start_by(&launcher, "small-shm", &[&unique("small")]).succeeds();
    });
}

#[test]
fn a_limit_on_address_space_is_an_error_that_leaves_nothing() {
    alone_in_turn(|| {
        Part::start("little-address-space", &[&unique("little")]).succeeds();
    });
}

#[test]
fn a_reservation_that_fails_is_an_error_and_one_that_is_interrupted_is_made_again() {
    alone_in_turn(|| {
        if !has_strace() {
            return;
        }
        for (inject, expected) in [
            ("fallocate:error=ENOSPC:when=1", "NoSpace:FileSystem"),
            ("fallocate:error=EINTR:when=1..5", "ok"),
            ("fallocate:error=EOPNOTSUPP", "Os:fallocate"),
            ("fallocate:error=ENOSYS", "Os:fallocate"),
        ] {
            let name = unique("reserve");
            injected(inject, "create", &[&name, expected]).succeeds();
            assert!(!path_of(&name).exists(), "{inject}");
        }
    });
}

#[test]
fn any_call_that_fails_is_an_error_that_leaves_nothing() {
    alone_in_turn(|| {
        if !has_strace() {
            return;
        }
        for (call, said) in [
            ("flock", "Os:flock"),
            ("fchmod", "Os:fchmod"),
            ("fstatfs", "Os:fstatvfs"),
            ("pwrite64", "Os:pwrite"),
            ("linkat", "Os:linkat"),
        ] {
            for errno in ["EIO", "ENOSYS", "EPERM"] {
                let name = unique("fails");
                let inject = format!("{call}:error={errno}");
                injected(&inject, "create", &[&name, said]).succeeds();
                assert!(!path_of(&name).exists(), "{call} {errno}");
            }
        }
    });
}

#[test]
fn a_kernel_without_what_arrays_are_made_of_is_done_without_or_named() {
    alone_in_turn(|| {
        if !has_strace() {
            return;
        }
        for (inject, expected) in [
            // The first call sets the page by which forks are detected, which is optional. The next
            // two exclude the mapping from core dumps and forked children. Then come huge pages and
            // populating, which are for speed.
            ("madvise:error=EINVAL", "Os:madvise"),
            ("madvise:error=EINVAL:when=4+", "ok"),
            ("madvise:error=ENOMEM:when=4+", "Os:madvise"),
            ("memfd_create:error=ENOSYS", "Os:memfd_create"),
            ("memfd_create:error=EPERM", "Os:memfd_create"),
        ] {
            injected(inject, "anonymous", &[expected]).succeeds();
        }
    });
}

#[test]
fn a_creator_killed_at_any_call_leaves_nothing_or_a_whole_region() {
    alone_in_turn(|| {
        if !has_strace() {
            return;
        }
        for call in CALLS.into_iter().chain(["mmap", "unlink"]) {
            // Most mappings of a process are made before its `main`.
            let times = if call == "mmap" { 40 } else { 2 };
            for when in (1..=times).rev() {
                let name = unique("killed");
                let inject = format!("{call}:signal=SIGKILL:when={when}");
                injected(&inject, "killed", &[&name]).ends();
                match SharedArray::<u64>::open(&name) {
                    Ok(array) => assert_eq!(array.copy_to_vec(), [0; 1000], "{inject}"),
                    Err(error) => assert!(matches!(error, Error::NotFound { .. }), "{error}"),
                }
                assert!(SharedArray::<u8>::create(&name, [1]).is_ok(), "{inject}");
            }
        }
    });
}

#[test]
fn too_much_is_refused_before_the_kernel_is_asked() {
    alone_in_turn(|| {
        if !has_strace() {
            return;
        }
        let trace = std::env::temp_dir().join(unique("trace"));
        let launcher = ["strace", "-f", "-qq", "-e", "trace=fallocate", "-o"];
        let launcher = [&launcher[..], &[trace.to_str().unwrap(), "--"]].concat();
        Part::start_by(&launcher, "too-much", &[&unique("much")]).succeeds();
        let calls = fs::read_to_string(&trace).unwrap();
        fs::remove_file(&trace).unwrap();
        assert!(!calls.contains("fallocate("), "{calls}");
    });
}

#[test]
fn a_wait_with_a_timeout_follows_the_clock_that_cannot_be_set() {
    alone_in_turn(|| {
        if !has_strace() {
            return;
        }
        let trace = std::env::temp_dir().join(unique("clock"));
        let launcher = ["strace", "-f", "-qq", "-e", "trace=futex,clock_nanosleep", "-o"];
        let launcher = [&launcher[..], &[trace.to_str().unwrap(), "--"]].concat();
        Part::start_by(&launcher, "timed-wait", &[]).succeeds();
        let calls = fs::read_to_string(&trace).unwrap();
        fs::remove_file(&trace).unwrap();
        // FUTEX_WAIT measures its timeout by CLOCK_MONOTONIC by default.
        let waits = calls.lines().filter(|line| line.contains("tv_nsec=")).collect::<Vec<_>>();
        assert!(!waits.is_empty(), "{calls}");
        assert!(waits.iter().all(|line| !line.contains("REALTIME")), "{waits:#?}");
    });
}

#[test]
fn a_reclaim_beside_a_creator_never_removes_what_lives() {
    alone_in_turn(|| {
        let mut reclaimer = Part::start("reclaim", &[]);
        reclaimer.expect("reclaiming");
        for round in 0..2000u32 {
            let name = unique("alive");
            let array = SharedArray::<u32>::create(&name, [2]).unwrap();
            let opened = SharedArray::<u32>::open(&name).unwrap();
            assert!(path_of(&name).exists(), "round {round}");
            drop(array);
            assert_eq!(SharedArray::<u32>::open(&name).unwrap().len(), 2, "round {round}");
            drop(opened);
            assert!(!path_of(&name).exists(), "round {round}");
        }
        reclaimer.kill();
    });
}

#[test]
fn the_arena_cannot_be_resized_by_whoever_gets_hold_of_it_and_a_hole_reads_as_zeros() {
    alone_in_turn(|| {
        let mut array = SharedArray::<u64>::zeroed([1 << 18]).unwrap();
        array.as_mut_slice().fill(7);
        let entries = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
        let arena = entries.into_iter().find(|path| {
            fs::read_link(path)
                .is_ok_and(|target| target.to_string_lossy().contains("brigade-arena"))
        });
        let file = fs::OpenOptions::new().read(true).write(true).open(arena.unwrap()).unwrap();
        let size = file.metadata().unwrap().len();
        for other in [0, size - 1, size + 4096] {
            let refused = file.set_len(other).unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(nix::libc::EPERM), "{other} of {size}");
        }
        let hole = nix::fcntl::FallocateFlags::FALLOC_FL_PUNCH_HOLE
            | nix::fcntl::FallocateFlags::FALLOC_FL_KEEP_SIZE;
        nix::fcntl::fallocate(&file, hole, 0, i64::try_from(size).unwrap()).unwrap();
        assert!(array.as_slice().iter().all(|&element| element == 0));
        array.as_mut_slice().fill(8);
        assert_eq!(array.as_slice().last(), Some(&8));
    });
}

#[test]
fn a_program_that_a_holder_starts_inherits_none_of_its_descriptors() {
    alone_in_turn(|| {
        Part::start("hold-fds", &[&unique("fds")]).succeeds();
    });
}

#[test]
fn a_link_a_fifo_and_a_directory_are_no_regions_and_keep_their_names() {
    alone_in_turn(|| {
        let name = unique("strange");
        let _removed = Removed(name.clone());
        let path = path_of(&name);
        let refused = || {
            let opened = SharedArray::<u8>::open(&name);
            assert!(matches!(opened, Err(Error::Layout { .. })), "{opened:?}");
            let raw = SharedArray::<u8>::attach_raw(&name, Dtype::U8, [1], 0);
            assert!(matches!(raw, Err(Error::Layout { .. })), "{raw:?}");
            assert!(matches!(SharedArray::<u8>::create(&name, [1]), Err(Error::NameTaken { .. })));
            let either = SharedArray::<u8>::create_or_open(&name, [1]);
            assert!(matches!(either, Err(Error::Layout { .. })), "{either:?}");
            assert!(!brigade::reclaim().unwrap().contains(&name));
            assert!(fs::symlink_metadata(&path).is_ok());
        };
        let target = std::env::temp_dir().join(&name);
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&target)
            .unwrap();
        symlink(&target, &path).unwrap();
        refused();
        fs::remove_file(&path).unwrap();
        symlink("/nowhere", &path).unwrap();
        refused();
        fs::remove_file(&path).unwrap();
        fs::remove_file(&target).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_retain(0o600)).unwrap();
        refused();
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        refused();
        fs::remove_dir(&path).unwrap();
    });
}

#[test]
fn a_holder_that_is_stopped_is_not_dead() {
    alone_in_turn(|| {
        let name = unique("stopped");
        let mut holder = Part::start("hold", &[&name]);
        holder.expect("holding");
        nix::sys::signal::kill(holder.nix_pid(), nix::sys::signal::Signal::SIGSTOP).unwrap();
        assert!(!brigade::reclaim().unwrap().contains(&name), "stopped is not dead");
        assert!(matches!(SharedArray::<u64>::create(&name, [1]), Err(Error::NameTaken { .. })));
        assert_eq!(SharedArray::<u64>::open(&name).unwrap().len(), 4);
        nix::sys::signal::kill(holder.nix_pid(), nix::sys::signal::Signal::SIGCONT).unwrap();
        holder.go_on();
        holder.succeeds();
    });
}

#[test]
fn any_shape_is_made_or_refused_with_a_reason() {
    alone_in_turn(|| {
        let config = ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() };
        proptest!(config, |(
        dims in prop::collection::vec(prop_oneof![0usize..4, any::<usize>()], 0..5)
        )| {
        let name = unique("shape");
        let bytes = dims.iter().try_fold(8usize, |bytes, &extent| bytes.checked_mul(extent));
        match SharedArray::<u64>::create(&name, dims.clone()) {
            Ok(array) => prop_assert_eq!(bytes, Some(array.len() * 8)),
            Err(Error::InvalidArgument { .. }) => {
                prop_assert!(bytes.is_none_or(|bytes| bytes > 1 << 40 || bytes == 0));
            }
            Err(Error::NoSpace { .. }) => prop_assert!(bytes.is_some_and(|b| b > 1 << 20)),
            Err(other) => prop_assert!(false, "{}", other),
        }
        prop_assert!(!path_of(&name).exists());
        });
    });
}

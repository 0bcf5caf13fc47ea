//! The targets of `to_npy`, and what happens to their old contents.

use crate::common::alone::alone;
use crate::common::time::wait_until;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use nix::sys::resource::Resource;

use brigade::{Error, SharedArray};

use crate::common::{Directory, skipped};

/// The target of a child process: `PATH LENGTH`.
const TARGET: &str = "BRIGADE_TEST_TARGET";

/// The number of the system call `poll`, if the kernel has it besides `ppoll`.
const POLL: &str = if cfg!(target_arch = "x86_64") { "7" } else { "none" };

/// An array of this length exceeds the file size limit of a child.
const LIMITED_LEN: usize = 40_000;

fn array(len: usize) -> SharedArray<u64> {
    SharedArray::from_fn([len], |[i]| i as u64).unwrap()
}

/// The bytes of a file that `to_npy` writes.
fn whole(len: usize) -> Vec<u8> {
    let directory = Directory::new();
    let path = directory.0.join("whole.npy");
    array(len).to_npy(&path).unwrap();
    fs::read(path).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// A file of another program, with these permissions.
fn old(path: &Path, mode: u32) -> u64 {
    fs::write(path, "what was there before").unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    fs::metadata(path).unwrap().ino()
}

fn names_in(path: &Path) -> usize {
    fs::read_dir(path).unwrap().count()
}

/// Lets another process write `len` elements to `path`; `launcher` starts it as user `uid`.
fn written_by(launcher: &[&str], uid: u32, path: &Path, len: usize) -> Output {
    let exe = std::env::current_exe().unwrap();
    let words = launcher.iter().map(Into::into).chain([exe.into_os_string()]);
    let words: Vec<std::ffi::OsString> = words.collect();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(["--exact", "npy::targets::a_child_writes", "--nocapture"]);
    command.env(TARGET, format!("{} {len}", path.display())).uid(uid).gid(uid);
    command.output().unwrap()
}

#[test]
fn a_child_writes() {
    let Ok(target) = std::env::var(TARGET) else { return };
    let (path, len) = target.rsplit_once(' ').unwrap();
    let array = array(len.parse().unwrap());
    if array.len() == LIMITED_LEN {
        // Only now, because the arena is a file too.
        let limit = 64 << 10;
        nix::sys::resource::setrlimit(Resource::RLIMIT_FSIZE, limit, limit).unwrap();
    }
    match array.to_npy(path) {
        Ok(()) => println!("well done"),
        Err(error) => println!("refused: {error:?}"),
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn is_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        skipped("only root can be several users and mount files");
    }
    is_root
}

// After `to_npy`, everybody could read a file that had been private.
#[test]
fn a_file_keeps_its_permissions_owner_and_group() {
    alone(|| {
        let directory = Directory::new();
        for permissions in [0o600, 0o640, 0o666, 0o755, 0o200] {
            let path = directory.0.join(format!("{permissions:o}.npy"));
            let inode = old(&path, permissions);
            array(3).to_npy(&path).unwrap();
            assert_eq!((mode(&path), fs::read(&path).unwrap() == whole(3)), (permissions, true));
            assert_ne!(fs::metadata(&path).unwrap().ino(), inode, "a new file took the place");
            if nix::unistd::geteuid().is_root() {
                chown(&path, Some(65534), Some(12)).unwrap();
                array(4).to_npy(&path).unwrap();
                let found = fs::metadata(&path).unwrap();
                assert_eq!(
                    (found.uid(), found.gid(), found.mode() & 0o7777),
                    (65534, 12, permissions)
                );
            }
        }
        let fresh = directory.0.join("fresh.npy");
        array(3).to_npy(&fresh).unwrap();
        let usual = directory.0.join("usual");
        File::create(&usual).unwrap();
        assert_eq!(mode(&fresh), mode(&usual), "a new file has what the umask leaves");
    });
}

#[test]
fn a_file_keeps_its_extended_attributes() {
    alone(|| {
        let directory = Directory::new();
        let path = directory.0.join("a.npy");
        old(&path, 0o600);
        // An access control list: the owner and user 65534 may write, others have no access.
        let mut list = 2u32.to_le_bytes().to_vec();
        for (tag, rights, id) in [
            (1u16, 6u16, u32::MAX),
            (2, 6, 65534),
            (4, 0, u32::MAX),
            (16, 6, u32::MAX),
            (32, 0, u32::MAX),
        ] {
            list.extend([tag.to_le_bytes(), rights.to_le_bytes()].concat());
            list.extend(id.to_le_bytes());
        }
        let (label, acl) = (c"user.label", c"system.posix_acl_access");
        if !set_attribute(&path, label, b"dear") || !set_attribute(&path, acl, &list) {
            skipped("this file system has no extended attributes");
            return;
        }
        array(3).to_npy(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), whole(3));
        assert_eq!(attribute(&path, label).unwrap(), b"dear");
        assert_eq!(attribute(&path, acl).unwrap(), list);
    });
}

fn set_attribute(path: &Path, name: &std::ffi::CStr, value: &[u8]) -> bool {
    let file = File::open(path).unwrap();
    let (at, len) = (value.as_ptr().cast(), value.len());
    // SAFETY: name and value live until the call returns, and the length is the value's.
    unsafe { nix::libc::fsetxattr(file.as_raw_fd(), name.as_ptr(), at, len, 0) == 0 }
}

fn attribute(path: &Path, name: &std::ffi::CStr) -> Option<Vec<u8>> {
    let file = File::open(path).unwrap();
    let mut value = vec![0u8; 1000];
    let (at, len) = (value.as_mut_ptr().cast(), value.len());
    // SAFETY: the buffer lives until the call returns, which writes no further than its length.
    let len = unsafe { nix::libc::fgetxattr(file.as_raw_fd(), name.as_ptr(), at, len) };
    value.truncate(usize::try_from(len).ok()?);
    Some(value)
}

#[test]
fn a_file_with_two_names_is_written_under_both() {
    alone(|| {
        let directory = Directory::new();
        let [path, second] = ["a.npy", "b.npy"].map(|name| directory.0.join(name));
        old(&path, 0o640);
        fs::hard_link(&path, &second).unwrap();
        array(5).to_npy(&path).unwrap();
        assert_eq!((fs::read(&second).unwrap(), mode(&second)), (whole(5), 0o640));
        assert_eq!(fs::metadata(&path).unwrap().nlink(), 2);
    });
}

#[test]
fn a_link_leads_to_the_new_file_whether_it_led_anywhere_or_not() {
    alone(|| {
        let directory = Directory::new();
        let [file, link, chain, new, nowhere] =
            ["a.npy", "link", "chain", "new.npy", "nowhere"].map(|name| directory.0.join(name));
        old(&file, 0o600);
        symlink("a.npy", &link).unwrap();
        symlink(&link, &chain).unwrap();
        array(3).to_npy(&chain).unwrap();
        assert_eq!((fs::read(&file).unwrap(), mode(&file)), (whole(3), 0o600));
        symlink("new.npy", &nowhere).unwrap();
        array(4).to_npy(&nowhere).unwrap();
        assert_eq!(fs::read(&new).unwrap(), whole(4));
        assert!([&link, &chain, &nowhere].into_iter().all(|path| path.is_symlink()));
        let round = directory.0.join("round");
        symlink("round", &round).unwrap();
        assert!(matches!(array(3).to_npy(&round), Err(Error::Os { .. })));
        assert_eq!((names_in(&directory.0), round.is_symlink()), (6, true));
    });
}

// As root, with its output in a file that was removed, `to_npy("/dev/stdout")` replaced the link
// /dev/stdout by a file, for all programs of the machine.
#[test]
fn a_descriptor_of_this_process_is_written_where_it_stands() {
    alone(|| {
        let directory = Directory::new();
        let path = directory.0.join("out");
        for (is_removed, is_taken) in [(false, false), (true, false), (true, true)] {
            let mut options = File::options();
            let mut file =
                options.create(true).truncate(true).read(true).write(true).open(&path).unwrap();
            let number = file.as_raw_fd();
            std::io::Write::write_all(&mut file, b"before").unwrap();
            if is_removed {
                fs::remove_file(&path).unwrap();
            }
            if is_taken {
                // The text of the descriptor's link is the name of another file.
                old(&directory.0.join("out (deleted)"), 0o600);
            }
            let link = directory.0.join("link");
            let _ = fs::remove_file(&link);
            symlink("/proc/self/fd/".to_owned() + &number.to_string(), &link).unwrap();
            let mut expected = b"before".to_vec();
            for name in [format!("/dev/fd/{number}"), format!("/proc/self/fd/{number}")] {
                array(3).to_npy(&name).unwrap();
                expected.extend(whole(3));
            }
            array(3).to_npy(&link).unwrap();
            expected.extend(whole(3));
            std::io::Write::write_all(&mut file, b"after").unwrap();
            expected.extend(b"after");
            file.seek(SeekFrom::Start(0)).unwrap();
            let mut found = Vec::new();
            file.read_to_end(&mut found).unwrap();
            assert!(found == expected, "removed: {is_removed}, taken: {is_taken}");
            assert!(link.is_symlink() && Path::new("/dev/fd").is_symlink());
        }
        let other = directory.0.join("out (deleted)");
        assert_eq!(fs::read(other).unwrap(), b"what was there before");
        assert!(matches!(
            array(3).to_npy("/dev/fd/9999"),
            Err(Error::Os { .. } | Error::NotFound { .. })
        ));
    });
}

#[test]
fn a_pipe_and_a_socket_and_a_descriptor_that_never_waits_get_all_bytes() {
    alone(|| {
        let directory = Directory::new();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let (mut near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        let numbers = [writer.as_raw_fd(), far.as_raw_fd()];
        let path = format!("/proc/self/task/{}/syscall", nix::unistd::gettid());
        let reading = std::thread::spawn(move || {
            let (mut first, mut second) = (Vec::new(), Vec::new());
            reader.read_to_end(&mut first).unwrap();
            // The pipe is full, and the writer waits for room.
            let polls = [libc::SYS_ppoll.to_string(), POLL.to_owned()];
            let is_waiting = || {
                let call = fs::read_to_string(&path).unwrap_or_default();
                polls.iter().any(|number| call.split(' ').next() == Some(number))
            };
            assert!(wait_until(Duration::from_secs(10), is_waiting));
            near.read_to_end(&mut second).unwrap();
            [first, second]
        });
        array(100_000).to_npy(format!("/dev/fd/{}", numbers[0])).unwrap();
        drop(writer);
        array(100_000).to_npy(format!("/dev/fd/{}", numbers[1])).unwrap();
        drop(far);
        let whole = whole(100_000);
        assert!(reading.join().unwrap().iter().all(|found| *found == whole));
        array(3).to_npy("/dev/null").unwrap();
        assert_eq!(names_in(&directory.0), 0);
    });
}

#[test]
fn what_another_user_may_write_to_is_written_in_place() {
    alone(|| {
        let directory = Directory::new();
        if !is_root() {
            return;
        }
        let [own, shared, read_only] =
            ["own.npy", "shared.npy", "read-only.npy"].map(|name| directory.0.join(name));
        let inode = old(&own, 0o600);
        chown(&own, Some(65534), Some(65534)).unwrap();
        fs::set_permissions(&directory.0, fs::Permissions::from_mode(0o755)).unwrap();
        let output = written_by(&[], 65534, &own, 7);
        assert!(text(&output).contains("well done"), "a folder without rights: {output:?}");
        let found = fs::metadata(&own).unwrap();
        assert_eq!((found.ino(), found.uid(), mode(&own)), (inode, 65534, 0o600));
        assert_eq!(fs::read(&own).unwrap(), whole(7));
        // Here another file could take its place, but would belong to another user.
        fs::set_permissions(&directory.0, fs::Permissions::from_mode(0o777)).unwrap();
        let inode = old(&shared, 0o666);
        let output = written_by(&[], 65534, &shared, 7);
        assert!(text(&output).contains("well done"), "a file of another owner: {output:?}");
        let found = fs::metadata(&shared).unwrap();
        assert_eq!((found.ino(), found.uid(), fs::read(&shared).unwrap()), (inode, 0, whole(7)));
        // A file that may not be written to is not replaced either.
        old(&read_only, 0o444);
        chown(&read_only, Some(65534), Some(65534)).unwrap();
        let output = written_by(&[], 65534, &read_only, 7);
        assert!(text(&output).contains("refused"), "{output:?}");
        assert_eq!(fs::read(&read_only).unwrap(), b"what was there before");
        assert_eq!(names_in(&directory.0), 3);
    });
}

#[test]
fn a_file_that_is_mounted_is_written_in_place() {
    alone(|| {
        let directory = Directory::new();
        if !is_root() {
            return;
        }
        let [mounted, behind] = ["mounted.npy", "behind.npy"].map(|name| directory.0.join(name));
        old(&mounted, 0o600);
        let inode = old(&behind, 0o640);
        let script = format!("mount --bind {} {}", behind.display(), mounted.display());
        let script = format!("{script} && exec \"$0\" \"$@\"");
        let output = written_by(&["unshare", "-m", "sh", "-c", &script], 0, &mounted, 7);
        if !text(&output).contains("running 1 test") {
            skipped("no private mounts here");
            return;
        }
        assert!(text(&output).contains("well done"), "{output:?}");
        assert_eq!((fs::metadata(&behind).unwrap().ino(), mode(&behind)), (inode, 0o640));
        assert_eq!(fs::read(&behind).unwrap(), whole(7));
        assert_eq!(fs::read(&mounted).unwrap(), b"what was there before");
        assert_eq!(names_in(&directory.0), 2);
    });
}

/// Uses strace to make a system call of the child fail, or to kill it there.
fn injected(inject: &str, path: &Path, len: usize) -> Option<Output> {
    let has = Command::new("strace").arg("-V").output().is_ok_and(|found| found.status.success());
    if !has {
        skipped("there is no strace, which makes system calls fail");
        return None;
    }
    let inject = format!("inject={inject}");
    let launcher = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &inject, "--"];
    Some(written_by(&launcher, nix::unistd::geteuid().as_raw(), path, len))
}

#[test]
fn where_no_file_can_take_the_place_of_another_it_is_written_in_place() {
    alone(|| {
        let directory = Directory::new();
        for (inject, is_replaced) in [
            ("rename:error=EBUSY", false),
            ("rename:error=ENOSYS", false),
            ("rename:error=EXDEV", false),
            ("linkat:error=EPERM", false),
            ("fchmod:error=EPERM", false),
            ("flistxattr:error=EACCES", false),
            ("flistxattr:error=EOPNOTSUPP", true),
            ("pwrite64:error=EINTR:when=1+2", true),
        ] {
            for is_there in [true, false] {
                let path = directory.0.join("a.npy");
                let _ = fs::remove_file(&path);
                let inode = is_there.then(|| old(&path, 0o600));
                let Some(output) = injected(inject, &path, 9) else { return };
                assert!(text(&output).contains("well done"), "{inject}: {output:?}");
                assert_eq!(fs::read(&path).unwrap(), whole(9), "{inject}");
                if let Some(inode) = inode {
                    let is_same = fs::metadata(&path).unwrap().ino() == inode;
                    assert_eq!((is_same, mode(&path)), (!is_replaced, 0o600), "{inject}");
                }
                assert_eq!(names_in(&directory.0), 1, "{inject}");
            }
        }
    });
}

#[test]
fn whoever_is_killed_while_writing_leaves_the_old_file_or_the_new_one() {
    alone(|| {
        let directory = Directory::new();
        let path = directory.0.join("a.npy");
        let whole = whole(9);
        let mut killed = 0;
        for call in ["fchmod", "flistxattr", "fstatfs", "pwrite64", "linkat", "rename"] {
            for count in 1..=3 {
                old(&path, 0o600);
                let inject = format!("{call}:signal=KILL:when={count}");
                let Some(output) = injected(&inject, &path, 9) else { return };
                let found = fs::read(&path).unwrap();
                assert!(found == whole || found == b"what was there before", "{inject}");
                killed += u32::from(!output.status.success());
            }
        }
        assert!(killed >= 6, "{killed}");
    });
}

#[test]
fn a_full_disk_and_a_limit_on_files_leave_the_old_file() {
    alone(|| {
        let directory = Directory::new();
        let path = directory.0.join("a.npy");
        old(&path, 0o600);
        for inject in ["pwrite64:error=ENOSPC:when=2", "pwrite64:error=EDQUOT:when=2"] {
            let Some(output) = injected(inject, &path, 9) else { return };
            assert!(text(&output).contains("NoSpace"), "{inject}: {output:?}");
            assert_eq!(fs::read(&path).unwrap(), b"what was there before", "{inject}");
        }
        let second = directory.0.join("b.npy");
        for is_linked in [false, true] {
            if is_linked {
                fs::hard_link(&path, &second).unwrap();
            }
            let uid = nix::unistd::geteuid().as_raw();
            let output = written_by(&[], uid, &path, LIMITED_LEN);
            assert!(text(&output).contains("NoSpace"), "{output:?}");
            assert_eq!(fs::read(&path).unwrap(), b"what was there before");
        }
        assert_eq!(names_in(&directory.0), 2);
    });
}

#[test]
fn a_synced_file_is_asked_for_on_the_disk_before_the_call_returns() {
    alone(|| {
        let directory = Directory::new();
        let path = directory.0.join("a.npy");
        array(5).to_npy_synced(&path).unwrap();
        array(6).to_npy_synced(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), whole(6));
        array(6).to_npy_synced("/dev/null").unwrap();
        let refused = SharedArray::<u8>::zeroed([1]).unwrap().to_npy_synced(&directory.0);
        assert!(matches!(refused, Err(Error::Os { .. })), "{refused:?}");
    });
}

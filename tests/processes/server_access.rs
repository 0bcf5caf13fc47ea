//! Who may use a fork server.
//!
//! Class of bug: a process relies on its environment, which any process may set, and on
//! descriptors, which any process may pass.
#![allow(unsafe_code)]

use crate::common::alone::alone;
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use brigade::{Error, Pool, Process, Start};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair,
};

use crate::common::{Directory, skipped};

const VARIABLE: &str = concat!("BRIGADE_FORK_SERVER_", env!("CARGO_PKG_VERSION"));
const NOBODY: u32 = 65534;

/// `program`, for one test of this file.
fn again(program: &Path, test: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["--exact", test, "--nocapture", "--include-ignored", "--test-threads=1"]);
    command.env_remove("RUST_BACKTRACE").stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The same, started as a fork server with `fd` as its descriptor 3.
fn server(program: &Path, fd: Option<RawFd>) -> Command {
    let mut command = again(program, "server_access::says_that_main_ran");
    command.env(VARIABLE, "7");
    let passes = move || {
        match fd {
            // SAFETY: a plain call on a descriptor of the child that was just forked.
            None => unsafe { libc::close(3) },
            // SAFETY: as above.
            Some(fd) => unsafe { libc::dup2(fd, 3) },
        };
        // SAFETY: as above. If its number was already 3, it would otherwise be closed on exec.
        unsafe { libc::fcntl(3, libc::F_SETFD, 0) };
        Ok(())
    };
    // SAFETY: system calls, which are async-signal-safe.
    unsafe { command.pre_exec(passes) };
    command
}

/// Run by tests of this file; does nothing by itself.
#[test]
#[ignore = "part of another test"]
fn says_that_main_ran() {
    println!("\n@main");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn own() -> PathBuf {
    std::env::current_exe().unwrap()
}

#[track_caller]
fn assert_refused(output: &Output, reason: &str) {
    let (said, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(!said.contains("@main"), "{said}");
    assert_eq!(output.status.code(), Some(125), "{stderr}");
    let is_told = stderr.contains(VARIABLE) && stderr.contains("Unset") && stderr.contains(reason);
    assert!(is_told, "{reason}: {stderr}");
}

// It ended with code 0 without having run `main`.
#[test]
fn the_environment_alone_makes_no_fork_server_and_what_is_wrong_is_said() {
    alone(|| {
        assert_refused(&server(&own(), None).output().unwrap(), "not open");
        let file = fs::File::open("/dev/null").unwrap();
        assert_refused(&server(&own(), Some(file.as_raw_fd())).output().unwrap(), "not a socket");
        // The other end of these is closed: a server that took it for its host's would end.
        let (stream, other) = std::os::unix::net::UnixStream::pair().unwrap();
        drop(other);
        let output = server(&own(), Some(stream.as_raw_fd())).output().unwrap();
        assert_refused(&output, "a socket of another kind");
        let (ours, theirs) = pair();
        drop(ours);
        for value in ["", "x", "-1"] {
            let output = server(&own(), Some(theirs.as_raw_fd())).env(VARIABLE, value).output();
            assert_refused(&output.unwrap(), "the variable is not a number");
        }
        let mut plain = again(&own(), "server_access::says_that_main_ran");
        let output = plain.env("BRIGADE_FORK_SERVER", "1").output().unwrap();
        assert!(text(&output.stdout).contains("@main"), "{output:?}");
    });
}

fn pair() -> (OwnedFd, OwnedFd) {
    let flags = SockFlag::SOCK_CLOEXEC;
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap()
}

/// A message as a host sends it: its kind, number and first word.
fn record(kind: u64, id: u64, word: u64) -> Vec<u8> {
    let mut words = [0u64; 14];
    words[..3].copy_from_slice(&[u64::from_le_bytes(*b"brigade1"), kind, id]);
    words[6] = word;
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

const HELLO: u64 = 1;
const SPAWN: u64 = 2;
const KILL: u64 = 3;

fn send(socket: &OwnedFd, bytes: &[u8], fds: &[RawFd]) {
    let rights = [ControlMessage::ScmRights(fds)];
    let control = if fds.is_empty() { &rights[..0] } else { &rights[..] };
    let slices = [std::io::IoSlice::new(bytes)];
    let none = MsgFlags::empty();
    sendmsg::<()>(socket.as_raw_fd(), &slices, control, none, None).unwrap();
}

fn pidfd(pid: u32) -> OwnedFd {
    // SAFETY: a plain call without pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the kernel has just created it.
    unsafe { OwnedFd::from_raw_fd(RawFd::try_from(fd).unwrap()) }
}

/// Starts `program` as a fork server and sends it `messages`, each with a pidfd of `host`.
fn order(program: &Path, messages: &[Vec<u8>], host: u32) -> Output {
    let (ours, theirs) = pair();
    let child = server(program, Some(theirs.as_raw_fd())).spawn().unwrap();
    drop(theirs);
    let host = pidfd(host);
    messages.iter().for_each(|message| send(&ours, message, &[host.as_raw_fd()]));
    // Otherwise it would wait for more messages, if it accepted these.
    nix::sys::socket::shutdown(ours.as_raw_fd(), nix::sys::socket::Shutdown::Write).unwrap();
    child.wait_with_output().unwrap()
}

/// Differs from an entry of the engine only in its mark.
#[repr(C)]
struct Decoy {
    mark: [usize; 2],
    run: fn(),
}

static DECOY: Decoy = Decoy { mark: [1, 2], run: decoy };

fn decoy() {
    eprintln!("the decoy was called: {:?}", DECOY.mark);
    let _ = DECOY.run;
}

/// The offset in the image of something in this program.
fn offset(address: *const ()) -> u64 {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let own = own().display().to_string();
    let first = maps.lines().find(|line| line.ends_with(&own)).unwrap();
    let base = u64::from_str_radix(first.split('-').next().unwrap(), 16).unwrap();
    address.addr() as u64 - base
}

// It called any offset of the program's code, for any sender.
#[test]
fn a_fork_server_takes_orders_from_its_own_host_alone_and_after_a_greeting() {
    alone(|| {
        let own_pid = std::process::id();
        let hello = record(HELLO, 7, 0);
        for kind in [SPAWN, KILL] {
            let output = order(&own(), &[record(kind, 1, 0x1000)], own_pid);
            assert_refused(&output, "a request came before the handshake");
        }
        let output = order(&own(), &[record(HELLO, 8, 0)], own_pid);
        assert_refused(&output, "another token");
        let output = order(&own(), &[hello.clone(), hello.clone()], own_pid);
        assert_refused(&output, "another token");
        let output = order(&own(), &[b"brigade?".to_vec()], own_pid);
        assert_refused(&output, "not a request");
        // A process that has got hold of the socket.
        let mut other = Command::new("cat");
        // It ends with this process at the latest, because its input ends then.
        let mut other = other.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let output = order(&own(), std::slice::from_ref(&hello), other.id());
        drop(other.stdin.take());
        other.wait().unwrap();
        assert_refused(&output, "made the socket");
        // Another program of the same user.
        let directory = Directory::new();
        let copy = copy(&directory.0, "copy");
        assert_refused(
            &order(&copy, std::slice::from_ref(&hello), own_pid),
            "runs another executable",
        );
        // Even the host may call registered functions only.
        let [function, decoy] = [decoy as *const (), (&raw const DECOY).cast()].map(offset);
        for entry in [0, 1, 0x1000, 0x1001, function, decoy, u64::MAX, u64::MAX - 23] {
            let output = order(&own(), &[hello.clone(), record(SPAWN, 1, entry)], own_pid);
            assert_refused(&output, "the entry of a process");
        }
    });
}

/// Whether this process may give programs privileges, and the kernel honours them.
fn may_give_privileges(directory: &Path) -> bool {
    use nix::sys::statvfs::{FsFlags, statvfs};
    let is_root = nix::unistd::geteuid().is_root();
    let is_heeded = !statvfs(directory).unwrap().flags().contains(FsFlags::ST_NOSUID);
    is_root && is_heeded && !nix::sys::prctl::get_no_new_privs().unwrap()
}

/// A copy of this program that others may execute.
fn copy(directory: &Path, name: &str) -> PathBuf {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    let copy = directory.join(name);
    // By another process: a child that a concurrent test forks would hold a descriptor of this
    // process for writing to the copy, and the kernel executes no file that is open for writing.
    assert!(Command::new("cp").arg(own()).arg(&copy).status().unwrap().success());
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    copy
}

/// Gives `path` the capability to send signals to all processes, as `setcap cap_kill=ep` does.
fn give_capability(path: &Path) {
    let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    let words = [0x0200_0001u32, 1 << 5, 0, 0, 0];
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let (name, value) = (c"security.capability".as_ptr(), bytes.as_ptr().cast());
    // SAFETY: C strings, and a buffer of the stated length.
    let done = unsafe { libc::setxattr(path.as_ptr(), name, value, bytes.len(), 0) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// Started by the test below; does nothing by itself.
#[test]
#[ignore = "part of another test"]
fn says_what_becomes_of_a_pool() {
    println!("\n@main");
    if nix::unistd::getuid().is_root() {
        return;
    }
    let pool = Pool::builder().workers(1).build().map(drop);
    let process = Process::spawn(|()| (), ()).map(drop);
    for outcome in [pool, process] {
        match outcome {
            Ok(()) => println!("\n@works"),
            Err(Error::Privileged { privileges }) => println!("\n@privileges: {privileges}"),
            Err(other) => println!("\n@other: {other}"),
        }
    }
    let inside = Pool::builder().start(Start::InProcess).build().unwrap();
    assert_eq!(inside.submit(|n: u8| n + 1, 1).unwrap().join().unwrap(), 2);
}

// The privileged server was not intercepted before `main`, which made another pool, and so on.
#[test]
fn a_program_with_privileges_of_its_own_runs_its_main_once_and_says_which_they_are() {
    alone(|| {
        let directory = Directory::new();
        if !may_give_privileges(&directory.0) {
            return skipped("nobody may give a program privileges here");
        }
        let programs =
            ["set_uid", "set_gid", "capable", "plain"].map(|name| copy(&directory.0, name));
        let [set_uid, set_gid, capable, _] = &programs;
        // With privileges of root, and of another user; and of the group of the file's creator.
        fs::set_permissions(set_uid, fs::Permissions::from_mode(0o4755)).unwrap();
        chown(set_gid, None, Some(1)).unwrap();
        fs::set_permissions(set_gid, fs::Permissions::from_mode(0o2755)).unwrap();
        give_capability(capable);
        let expected = ["set-uid, user 0", "set-gid, group 1", "capabilities", "works"];
        for (program, expected) in programs.iter().zip(expected) {
            let mut command = again(program, "server_access::says_what_becomes_of_a_pool");
            let output = command.uid(NOBODY).gid(NOBODY).current_dir("/").output().unwrap();
            let said = text(&output.stdout);
            assert!(output.status.success(), "{expected}: {output:?}");
            assert_eq!(said.matches("@main").count(), 1, "{expected}: {said}");
            assert_eq!(said.matches(expected).count(), 2, "{expected}: {said}");
            if expected == "works" {
                continue;
            }
            // It does not serve, or run `main`, when another user starts it as a fork server
            // either.
            let (ours, theirs) = pair();
            drop(ours);
            let mut command = server(program, Some(theirs.as_raw_fd()));
            let output = command.uid(NOBODY).gid(NOBODY).current_dir("/").output().unwrap();
            assert_refused(&output, "privileges");
        }
    });
}

// A set-uid program that becomes root and executes another passes on what its user gave it.
#[test]
fn a_fork_server_serves_no_other_user() {
    alone(|| {
        if !nix::unistd::geteuid().is_root() {
            return skipped("only root may become another user");
        }
        let directory = Directory::new();
        let program = copy(&directory.0, "program");
        // The socket belongs to root, the program runs as another user: only the kernel's answer
        // counts.
        let (ours, theirs) = pair();
        let mut command = server(&program, Some(theirs.as_raw_fd()));
        let child = command.uid(NOBODY).gid(NOBODY).current_dir("/").spawn().unwrap();
        send(&ours, &record(HELLO, 7, 0), &[pidfd(std::process::id()).as_raw_fd()]);
        assert_refused(&child.wait_with_output().unwrap(), "its peer is user 0");
    });
}

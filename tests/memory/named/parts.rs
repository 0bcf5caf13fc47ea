//! Child processes of these tests, each of which runs a part.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};

use super::{arrays, faults, hostile, locks, mutator, queues};
use crate::common::skipped;

/// The part that a child process runs, and its arguments.
const PART: &str = "BRIGADE_TEST_PART";

/// What a child prints when its part succeeded.
const WELL: &str = "as it should be";

/// A process that runs a part; it is killed if it still runs when the test ends.
pub(crate) struct Part {
    child: Child,
    output: BufReader<ChildStdout>,
    heard: String,
}

impl Part {
    /// Starts the part of this name, with arguments, in a new process.
    pub(crate) fn start(part: &str, arguments: &[&str]) -> Part {
        Part::launch(&[], part, arguments, None)
    }

    /// As [`Part::start`], as another user.
    pub(crate) fn start_as(uid: u32, part: &str, arguments: &[&str]) -> Part {
        Part::launch(&[], part, arguments, Some(uid))
    }

    /// As [`Part::start`], through a program that gets the command to run.
    pub(crate) fn start_by(launcher: &[&str], part: &str, arguments: &[&str]) -> Part {
        Part::launch(launcher, part, arguments, None)
    }

    fn launch(launcher: &[&str], part: &str, arguments: &[&str], uid: Option<u32>) -> Part {
        let exe = std::env::current_exe().unwrap();
        let words = launcher.iter().map(Into::into).chain([exe.into_os_string()]);
        let words: Vec<std::ffi::OsString> = words.collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["--exact", "named::parts::a_child_plays_its_part"]);
        command.args(["--nocapture", "--test-threads=1"]);
        command.env(PART, [&[part], arguments].concat().join(" "));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some(uid) = uid {
            command.uid(uid).gid(uid);
        }
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Part { child, output, heard: String::new() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn nix_pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(i32::try_from(self.pid()).unwrap())
    }

    /// Waits until it says `word`, as [`say`] does; fails if it ends first.
    pub(crate) fn expect(&mut self, word: &str) {
        let mut line = String::new();
        while self.output.read_line(&mut line).unwrap() > 0 {
            self.heard.push_str(&line);
            if line.trim_end() == word {
                return;
            }
            line.clear();
        }
        panic!("{word:?} was not said, but:\n{}", self.heard);
    }

    /// Lets a part that [`waits`](wait) continue.
    pub(crate) fn go_on(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it ends in any way.
    pub(crate) fn ends(mut self) {
        self.child.wait().unwrap();
    }

    /// Waits until its part succeeds.
    pub(crate) fn succeeds(mut self) {
        self.expect(WELL);
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}\n{}", self.heard);
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // After `kill` and `succeeds` the process is gone, and both calls have no effect.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says a word to the test, from a part.
pub(crate) fn say(word: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{word}").unwrap();
    out.flush().unwrap();
}

/// Waits, in a part, until the test lets it continue; if the test has ended, the part ends.
pub(crate) fn wait() {
    if std::io::stdin().read_line(&mut String::new()).unwrap() == 0 {
        std::process::exit(1);
    }
}

/// Whether these tests run as root; if not, reports why a test is skipped.
pub(crate) fn is_root(why: &str) -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        skipped(&format!("only root may {why}"));
    }
    is_root
}

#[test]
fn a_child_plays_its_part() {
    let Ok(part) = std::env::var(PART) else { return };
    let words: Vec<&str> = part.split(' ').collect();
    let is_known = arrays::part(&words)
        || mutator::part(&words)
        || faults::part(&words)
        || hostile::part(&words)
        || locks::part(&words)
        || queues::part(&words);
    assert!(is_known, "no such part: {part}");
    say(WELL);
}

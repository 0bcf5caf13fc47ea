//! Batches whose host or workers are killed or interrupted.
//!
//! Each host runs in a process of its own, on a folder that its environment names.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use crate::common::alone::{Runner, against_host_with, alone, say};
use crate::common::tasks::{count, counted, raise, with};
use crate::common::time::{spend_millis, wait_for};
use crate::common::{Directory, Random};
use brigade::batch::{Batch, Interrupt, Key, OutputFile};
use brigade::shared::Lock;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Names the folder of a test.
const FOLDER: &str = "BRIGADE_BATCH_FOLDER";

const KEYS: usize = 150;

fn keys() -> impl Iterator<Item = String> {
    (0..KEYS).map(|n| format!("key {n}\n"))
}

/// Runs a batch of [`keys`] in a host, and ends the host as a program should.
fn host(
    interrupt: &Interrupt,
    function: impl Fn(&PathBuf, &Key) -> Result<u64, String> + Copy + Send + 'static,
) -> ! {
    let folder = PathBuf::from(env::var_os(FOLDER).unwrap());
    let pool = with(2).build().unwrap();
    say("ready");
    let batch = Batch::new(&pool).journal(folder.join("journal")).interrupt(interrupt);
    let summary = batch.with(folder).run(keys(), function).unwrap();
    std::process::exit(summary.exit_code().into());
}

fn tally(folder: &Path, key: &str) -> String {
    folder.join(format!("tally {}", key.trim_end())).to_str().unwrap().to_owned()
}

fn output(folder: &Path, key: &str) -> PathBuf {
    folder.join(format!("output {}", key.trim_end()))
}

/// What the output of a key has to be.
fn expected(key: &str) -> Vec<u8> {
    key.repeat(20_000).into_bytes()
}

/// Writes the output of a key in several pieces.
fn works(folder: &Path, key: &Key) -> Result<u64, String> {
    let key = key.as_str().unwrap();
    count(&tally(folder, key));
    let mut out = OutputFile::create(output(folder, key)).map_err(|e| e.to_string())?;
    for piece in expected(key).chunks(50_000) {
        out.write_all(piece).map_err(|e| e.to_string())?;
        spend_millis(1);
    }
    out.commit().map_err(|e| e.to_string())
}

/// As [`works`], once there is a file `go`.
fn waits(folder: &Path, key: &Key) -> Result<u64, String> {
    count(folder.join("begun").to_str().unwrap());
    wait_for(|| folder.join("go").exists());
    works(folder, key)
}

/// How often each key has run, by the keys that the journal has as done.
fn done(folder: &Path) -> BTreeMap<String, usize> {
    let text = fs::read_to_string(folder.join("journal")).unwrap_or_default();
    let lines = text.lines().skip(1).map_while(|line| serde_json::from_str(line).ok());
    let keys = lines.map(|line: serde_json::Value| line["key"].as_str().unwrap().to_owned());
    keys.map(|key| (key.clone(), counted(&tally(folder, &key)))).collect()
}

/// Fails if an output is there that is not whole, or under a name that no key has.
fn assert_whole(folder: &Path) {
    let mut outputs = 0;
    for key in keys() {
        let path = output(folder, &key);
        if path.exists() {
            outputs += 1;
            assert!(fs::read(path).unwrap() == expected(&key), "{key}");
        }
    }
    let named = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.file_name());
    let named: Vec<_> = named.filter(|name| name.to_string_lossy().starts_with("output")).collect();
    assert_eq!(named.len(), outputs, "{named:?}");
}

/// The folder, made outside and known inside.
fn folder() -> (Option<Directory>, PathBuf) {
    if let Some(path) = env::var_os(FOLDER) {
        return (None, path.into());
    }
    let directory = Directory::new();
    let path = directory.0.clone();
    (Some(directory), path)
}

/// Runs a host to its end, or to the one that `outside` gives it.
fn against<F: FnOnce(), G: FnOnce(&mut Runner)>(path: &Path, host: F, outside: G) {
    against_host_with(&[(FOLDER, path.to_str().unwrap())], host, outside);
}

fn uninterruptible() {
    host(&Interrupt::new(), |folder: &PathBuf, key: &Key| works(folder, key));
}

#[test]
fn a_batch_that_is_killed_at_random_moments_is_finished_and_nothing_done_is_done_again() {
    let (_directory, path) = folder();
    let mut random = Random(0x9e37_79b9 + u64::from(std::process::id()));
    let mut before = BTreeMap::new();
    let mut kills = 0..8;
    let is_over = loop {
        let is_killed = kills.next().is_some();
        let mut status = None;
        against(&path, uninterruptible, |runner| {
            runner.expect("ready");
            if is_killed {
                spend_millis(random.below(60) as u64);
                runner.send(Signal::SIGKILL);
            }
            status = Some(runner.end());
            wait_for(|| runner.processes().is_empty());
        });
        let after = done(&path);
        for (key, runs) in &before {
            assert_eq!(after.get(key), Some(runs), "{key} ran again, or is not in the journal");
        }
        assert_whole(&path);
        before = after;
        let is_over = status.is_some_and(|status: ExitStatus| status.success());
        if is_over || !is_killed {
            break is_over;
        }
    };
    assert!(is_over);
    assert_eq!(before.len(), KEYS);
    assert!(keys().all(|key| output(&path, &key).exists()));
}

/// Whether a process has a handler of SIGINT.
fn catches_sigint(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() >> (Signal::SIGINT as i32 - 1) & 1 == 1
}

/// Interrupts a host of which two keys run, `times` times; how it ended.
fn interrupted(path: &Path, runner: &mut Runner, times: usize) -> ExitStatus {
    runner.expect("ready");
    let begun = path.join("begun").to_str().unwrap().to_owned();
    wait_for(|| counted(&begun) == 2);
    let group = Pid::from_raw(runner.pid().cast_signed());
    // As a terminal does: to the whole group, server and workers too.
    killpg(group, Signal::SIGINT).unwrap();
    // Two that come at once are one. The first that is delivered takes the handler away.
    wait_for(|| !catches_sigint(runner.pid()));
    if times == 2 {
        killpg(group, Signal::SIGINT).unwrap();
    }
    if times == 1 {
        fs::write(path.join("go"), "").unwrap();
    }
    runner.end()
}

fn interruptible() {
    let interrupt = Interrupt::on_sigint().unwrap();
    host(&interrupt, |folder: &PathBuf, key: &Key| waits(folder, key));
}

#[test]
fn an_interrupt_lets_the_running_keys_finish_and_the_exit_code_is_130() {
    let (_directory, path) = folder();
    let mut status = None;
    against(&path, interruptible, |runner| status = Some(interrupted(&path, runner, 1)));
    assert_eq!(status.and_then(|status| status.code()), Some(130));
    let first = done(&path);
    assert_eq!(first.len(), counted(path.join("begun").to_str().unwrap()));
    assert!(first.len() >= 2 && first.values().all(|&runs| runs == 1));
    against(&path, interruptible, |runner| assert!(runner.end().success()));
    let all = done(&path);
    assert!(all.len() == KEYS && all.values().all(|&runs| runs == 1));
    assert_whole(&path);
}

#[test]
fn a_second_interrupt_ends_the_program_at_once_and_a_rerun_does_all_that_is_left() {
    let (_directory, path) = folder();
    let mut status = None;
    against(&path, interruptible, |runner| status = Some(interrupted(&path, runner, 2)));
    assert_eq!(status.and_then(|status| status.signal()), Some(Signal::SIGINT as i32));
    assert!(done(&path).is_empty());
    fs::write(path.join("go"), "").unwrap();
    against(&path, interruptible, |runner| assert!(runner.end().success()));
    assert_eq!(done(&path).len(), KEYS);
    assert_whole(&path);
}

/// Kills its worker as often as its key says.
fn dies((folder, crowd): &(PathBuf, Lock<[u32; 2]>), key: &Key) -> Result<u64, String> {
    let key = key.as_str().unwrap();
    let path = tally(folder, key);
    count(&path);
    let runs = counted(&path);
    match key {
        "killed once" if runs == 1 => raise(Signal::SIGKILL),
        "killed" => raise(Signal::SIGKILL),
        "without memory once" if runs == 1 => {
            // Refused by the worker's limit, and never touched.
            drop(std::hint::black_box(Vec::<u8>::with_capacity(2 << 30)));
        }
        "without memory once" => return Ok(u64::from(crowd.lock().unwrap()[0])),
        _ => {}
    }
    crowd.lock().unwrap()[0] += 1;
    spend_millis(2);
    crowd.lock().unwrap()[0] -= 1;
    Ok(0)
}

#[test]
fn a_key_whose_worker_dies_once_runs_again_and_one_without_memory_runs_alone() {
    alone(|| {
        let directory = Directory::new();
        let journal = directory.0.join("journal");
        let pool = with(3).memory_hard_bytes(1 << 30).capture_stderr().build().unwrap();
        let named = ["without memory once", "killed once", "killed"].map(String::from);
        let keys = named.into_iter().chain((0..60).map(|n| n.to_string()));
        let value = (directory.0.clone(), Lock::new([0u32; 2]).unwrap());
        let summary = Batch::new(&pool).journal(&journal).with(value).run(keys, dies).unwrap();
        assert_eq!((summary.done, summary.failed.len()), (62, 1), "{summary}");
        assert_eq!(summary.bytes, 0, "others ran beside the one that runs alone");
        let text = fs::read_to_string(&journal).unwrap();
        let outcomes = |key: &str| {
            let lines = text.lines().skip(1).map(|line| serde_json::from_str(line).unwrap());
            let of_key = lines.filter(|line: &serde_json::Value| line["key"] == key);
            of_key.map(|line| line["outcome"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(outcomes("without memory once"), ["out_of_memory", "done"]);
        assert_eq!(outcomes("killed once"), ["died", "done"]);
        assert_eq!(outcomes("killed"), ["died", "quarantined"]);
        assert_eq!(counted(&tally(&directory.0, "killed")), 2);
        assert!(text.contains("memory allocation of"), "{text}");
    });
}

#[test]
fn a_key_that_hangs_is_ended_by_the_timeout_and_the_others_are_done() {
    alone(|| {
        let pool = with(2).build().unwrap();
        let hangs = |key: &Key| {
            wait_for(|| key.as_bytes() != b"7");
            Ok::<u64, String>(1)
        };
        let batch = Batch::new(&pool).timeout(Duration::from_secs(3));
        let summary = batch.run((0..30).map(|n| n.to_string()), hangs).unwrap();
        assert_eq!((summary.done, summary.failed.len()), (29, 1));
        assert_eq!(summary.failed[0].key, Key::from("7"));
    });
}

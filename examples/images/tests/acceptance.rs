//! Two hundred pictures, eight of them bad, and a kill.
//!
//! With `IMAGES_TEST_TALLY` set, this program is `images` with a function that counts its calls,
//! and that crashes, hangs or waits where a file says so.

mod support;

use std::collections::BTreeMap;
use std::env;
use std::fmt::Display;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::thread;

use brigade::batch::Key;
use image::ImageFormat;
use images::task::{Job, process};
use serde_json::Value;
use support::{Directory, declares, encoded, files, gradient};

/// Names the folder of the counts of calls.
const TALLY: &str = "IMAGES_TEST_TALLY";
/// Names a pipe into which the task of the file `GATE` writes. It and all behind it then wait until
/// they are killed.
const PIPE: &str = "IMAGES_TEST_PIPE";

const PICTURES: usize = 200;
const CUT: [usize; 5] = [3, 40, 77, 120, 199];
const HUGE: usize = 60;
const ABORTS: usize = 90;
const HANGS: usize = 150;
const GATE: usize = 100;

fn name(number: usize) -> String {
    format!("picture {number:03}.jpg")
}

fn is_good(number: usize) -> bool {
    !CUT.contains(&number) && ![HUGE, ABORTS, HANGS].contains(&number)
}

/// The work of the program, with what a decoder can do to it.
fn work(job: &Job, key: &Key) -> Result<u64, String> {
    let fail = |e: &dyn Display| e.to_string();
    let tally = PathBuf::from(env::var_os(TALLY).unwrap()).join(key.as_path());
    let mut calls = fs::File::options().create(true).append(true).open(tally).unwrap();
    calls.write_all(b".").unwrap();
    let mut begin = [0; 5];
    let mut file = fs::File::open(job.input().join(key.as_path())).map_err(|e| fail(&e))?;
    let _ = file.read(&mut begin).map_err(|e| fail(&e))?;
    match &begin {
        b"abort" => {
            eprintln!("decoder: assertion failed: 1 == 2");
            std::process::abort()
        }
        b"hangs" => loop {
            thread::park();
        },
        _ => {}
    }
    if let Some(pipe) = env::var_os(PIPE)
        && key.as_path() >= Path::new(&name(GATE))
    {
        let mut pipe = fs::File::options().write(true).open(pipe).unwrap();
        if key.as_path() == Path::new(&name(GATE)) {
            pipe.write_all(b"here").unwrap();
        }
        loop {
            thread::park();
        }
    }
    process(job, key).map_err(|e| fail(&e))
}

fn make(folder: &Path) {
    for number in 0..PICTURES {
        let seed = u8::try_from(number).unwrap();
        let jpeg = encoded(gradient(96, 64, seed), ImageFormat::Jpeg);
        let bytes = match number {
            HUGE => declares(jpeg, 60_000, 60_000),
            ABORTS => b"abort".to_vec(),
            HANGS => b"hangs".to_vec(),
            _ => jpeg,
        };
        let len = match CUT.iter().position(|&cut| cut == number) {
            // From the middle of the header to the middle of the pixels.
            Some(part) => bytes.len() * (part + 1) / 6,
            None => bytes.len(),
        };
        fs::write(folder.join(name(number)), &bytes[..len]).unwrap();
    }
}

/// A run of the program on the folders of `directory`.
fn command(directory: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["in", "out", "--size", "32", "--workers", "2", "--timeout", "10"])
        .args(["--journal", "journal", "--json"])
        .current_dir(directory)
        .env(TALLY, directory.join("tally"))
        .stderr(Stdio::inherit());
    command
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

/// How often the function has run for each key.
fn tally(directory: &Path) -> BTreeMap<String, usize> {
    let entries = fs::read_dir(directory.join("tally")).unwrap();
    let calls = entries.map(|entry| {
        let entry = entry.unwrap();
        (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap().len())
    });
    calls.collect()
}

/// The keys that the journal has as done.
fn done(directory: &Path) -> Vec<String> {
    let text = fs::read_to_string(directory.join("journal")).unwrap();
    // A kill may have torn the last line.
    let lines = text.lines().skip(1).filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let done = lines.filter(|line| line["outcome"] == "done");
    done.map(|line| line["key"].as_str().unwrap().to_owned()).collect()
}

fn assert_causes(found: &Value) {
    let failed: BTreeMap<&str, (&str, &str)> = found["failed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let text = |field: &str| one[field].as_str().unwrap();
            (text("key"), (text("outcome"), text("error")))
        })
        .collect();
    assert_eq!(failed.len(), 8, "{failed:#?}");
    for number in CUT {
        let (outcome, error) = failed[name(number).as_str()];
        assert!(outcome == "failed" && error.contains("cut short"), "{number}: {error}");
    }
    let (outcome, error) = failed[name(HUGE).as_str()];
    let expected = "60000 x 60000 are 3600 megapixels, at most 100 are allowed";
    assert!(outcome == "failed" && error.contains(expected), "{error}");
    let (outcome, error) = failed[name(ABORTS).as_str()];
    assert!(outcome == "quarantined" && error.contains("SIGABRT"), "{error}");
    let (outcome, error) = failed[name(HANGS).as_str()];
    assert!(outcome == "timed_out" && error.contains("10"), "{error}");
}

/// Kills the program while half of the pictures are done, and runs it again, twice.
fn two_hundred_pictures_are_finished_after_a_kill_and_nothing_done_is_done_again() {
    let directory = Directory::new();
    let directory = directory.0.as_path();
    for folder in ["in", "tally"] {
        fs::create_dir(directory.join(folder)).unwrap();
    }
    make(&directory.join("in"));
    let pipe = directory.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());

    // With a writer of its own, the test can open the pipe before there is a program.
    let mut both = fs::File::options().read(true).write(true).open(&pipe).unwrap();
    let mut program = command(directory).env(PIPE, &pipe).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdout, mut end) = (program.stdout.take().unwrap(), both.try_clone().unwrap());
    let watch = thread::spawn(move || {
        io::copy(&mut stdout, &mut io::sink()).unwrap();
        end.write_all(b"gone").unwrap();
    });
    let mut said = [0; 4];
    both.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"here", "the program has ended before the gate");
    program.kill().unwrap();
    assert_eq!(program.wait().unwrap().signal(), Some(9));
    watch.join().unwrap();
    // The pipe ends when the workers have.
    let mut reader = fs::File::open(&pipe).unwrap();
    drop(both);
    reader.read_to_end(&mut Vec::new()).unwrap();
    let (before, calls) = (done(directory), tally(directory));
    assert!(before.len() >= GATE / 2 && before.len() <= GATE, "{}", before.len());
    assert!(before.iter().all(|key| calls[key] == 1), "{calls:?}");

    let output = command(directory).output().unwrap();
    let found = json(&output);
    assert_eq!(output.status.code(), Some(1), "{found}");
    assert_eq!(found["skipped"], before.len());
    let good: Vec<String> = (0..PICTURES).filter(|&n| is_good(n)).map(name).collect();
    assert_eq!(found["done"], good.len() - before.len());
    assert_causes(&found);
    let calls = tally(directory);
    assert!(before.iter().all(|key| calls[key] == 1), "what was done ran again: {calls:?}");
    assert!(good.iter().all(|key| calls[key] <= 2), "{calls:?}");
    assert_outputs(&directory.join("out"), &good);

    let output = command(directory).output().unwrap();
    let found = json(&output);
    assert_eq!((output.status.code(), &found["done"]), (Some(1), &Value::from(0)), "{found}");
    assert_eq!(found["skipped"], good.len());
    assert_causes(&found);
    assert_eq!(tally(directory), calls, "the third run has called the function");
}

/// Every good picture has its output, of the right size and colours, and nothing else is there.
fn assert_outputs(folder: &Path, good: &[String]) {
    let found = files(folder);
    assert_eq!(found, good.iter().map(PathBuf::from).collect::<Vec<_>>());
    for key in good {
        let image = image::open(folder.join(key)).unwrap().to_rgb8();
        assert_eq!(image.dimensions(), (32, 21), "{key}");
        let seed: i32 = key["picture ".len()..][..3].parse().unwrap();
        let centre = image.get_pixel(16, 10).0.map(i32::from);
        for (found, expected) in centre.into_iter().zip([131, 125, seed]) {
            assert!((found - expected).abs() <= 8, "{key}: {centre:?}");
        }
    }
}

fn main() -> ExitCode {
    if env::var_os(TALLY).is_some() {
        return images::program(work);
    }
    two_hundred_pictures_are_finished_after_a_kill_and_nothing_done_is_done_again();
    println!("test of 200 pictures, eight of them bad, and a kill: ok");
    ExitCode::SUCCESS
}

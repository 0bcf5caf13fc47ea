//! The program, as a user runs it.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

fn new_folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn stations(path: &Path, options: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stations"));
    command.arg(path).args(options).args(["--workers", "2"]).output().unwrap()
}

/// Asserts that a run failed with one line that has all `words`.
fn assert_fails(output: &Output, code: i32, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(output.stdout.is_empty(), "{:?}", String::from_utf8_lossy(&output.stdout));
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
}

#[test]
fn a_file_is_generated_grouped_and_checked() {
    let folder = new_folder();
    let path = folder.path().join("generated");
    let options = ["--generate", "50000", "--seed", "3", "--check"];
    let first = stations(&path, &options);
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    assert!(first.stdout.starts_with(b"{") && first.stdout.ends_with(b"}\n"));
    let json = stations(&path, &["--json", "--check"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["lines"], 50_000);
    assert_eq!(json["stations"].as_object().unwrap().len(), 413);

    let again = stations(&path, &options);
    assert_fails(&again, 1, &["exists; remove it"]);
    assert_eq!(stations(&path, &[]).stdout, first.stdout);
}

#[test]
fn wrong_lines_are_an_error_or_skipped_and_counted() {
    let folder = new_folder();
    let path = folder.path().join("text");
    fs::write(&path, "Oslo;1.0\nOslo;x\r\nBonn;2.5").unwrap();
    assert_fails(&stations(&path, &[]), 1, &["line 2", "Oslo;x", "--skip-bad"]);
    let skipped = stations(&path, &["--skip-bad", "--check"]);
    assert_eq!(skipped.status.code(), Some(0));
    assert_eq!(skipped.stdout, b"{Bonn=2.5/2.5/2.5, Oslo=1.0/1.0/1.0}\n");
    assert_eq!(skipped.stderr, b"stations: 1 of 3 lines are wrong\n");
}

#[test]
fn what_is_no_readable_file_is_one_line_of_error() {
    let folder = new_folder();
    assert_fails(&stations(&folder.path().join("none"), &[]), 1, &["none"]);
    assert_fails(&stations(folder.path(), &[]), 1, &["a folder"]);
    let path = folder.path().join("forbidden");
    fs::write(&path, "a;1.0\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    // Root may read everything.
    if fs::read(&path).is_err() {
        assert_fails(&stations(&path, &[]), 1, &["forbidden", "ermission denied"]);
    }
    let empty = folder.path().join("empty");
    fs::write(&empty, "").unwrap();
    assert_eq!(stations(&empty, &[]).stdout, b"{}\n");
    let odd = folder.path().join(std::ffi::OsStr::from_bytes(b"no\xffutf8"));
    fs::write(&odd, "a;1.0\n").unwrap();
    assert_eq!(stations(&odd, &["--check"]).stdout, b"{a=1.0/1.0/1.0}\n");
}

#[test]
fn a_wrong_command_line_ends_with_code_2() {
    let folder = new_folder();
    let path = folder.path().join("text");
    for options in [&["--seed", "1"][..], &["--generate", "x"], &["--workers", "0"], &["--no"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stations"));
        assert_fails(&command.arg(&path).args(options).output().unwrap(), 2, &["--help"]);
    }
    assert!(!path.exists());
}

#[test]
fn a_closed_pipe_is_an_error_and_no_panic() {
    let folder = new_folder();
    let path = folder.path().join("text");
    fs::write(&path, "a;1.0\n").unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_stations"));
    let output = command.arg(&path).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_fails(&output, 1, &["standard output", "roken pipe"]);
}

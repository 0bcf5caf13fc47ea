//! The program as users run it: command lines, folders, summaries.

mod support;

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use image::ImageFormat;
use serde_json::Value;
use support::{Directory, encoded, files, gradient};

/// Runs the program in a folder.
fn run(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_images"));
    command.args(arguments).current_dir(directory).output().unwrap()
}

/// The error of a command line that is wrong.
fn usage(directory: &Path, arguments: &[&str]) -> String {
    let output = run(directory, arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    text
}

/// The exit code, and the line of JSON.
fn json(directory: &Path, arguments: &[&str]) -> (i32, Value) {
    let output = run(directory, &[arguments, &["--json", "--workers", "2"]].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    let trouble = String::from_utf8_lossy(&output.stderr);
    assert_eq!(text.lines().count(), 1, "{text} {trouble}");
    (output.status.code().unwrap(), serde_json::from_str(&text).unwrap())
}

/// The errors of the keys that failed.
fn failures(found: &Value) -> Vec<(String, String)> {
    let text = |one: &Value, field: &str| one[field].as_str().unwrap().to_owned();
    let failed = found["failed"].as_array().unwrap().iter();
    let mut failed: Vec<_> = failed.map(|one| (text(one, "key"), text(one, "error"))).collect();
    failed.sort();
    failed
}

/// A directory with a folder `in` of one picture.
fn with_picture() -> Directory {
    let directory = Directory::new();
    write(&directory.folder("in"), "a.jpg");
    directory
}

fn write(folder: &Path, name: impl AsRef<Path>) {
    fs::write(folder.join(name), encoded(gradient(90, 60, 5), ImageFormat::Jpeg)).unwrap();
}

#[test]
fn a_wrong_command_line_is_exit_code_2_and_says_what_is_wrong() {
    let directory = with_picture();
    let directory = directory.0.as_path();
    let wrong = |arguments: &[&str], hint: &str| {
        let text = usage(directory, arguments);
        assert!(text.contains(hint), "{arguments:?}: {text}");
    };
    wrong(&[], "IN_DIR");
    wrong(&["in"], "OUT_DIR");
    wrong(&["in", "out", "--size", "0"], "1..=65535");
    wrong(&["in", "out", "--blur", "nan"], "from 0 to 1000");
    wrong(&["in", "out", "--blur=-1"], "from 0 to 1000");
    wrong(&["in", "out", "--quality", "101"], "1..=100");
    wrong(&["in", "out", "--format", "svg"], "webp");
    wrong(&["in", "out", "--workers", "0"], "workers");
    wrong(&["in", "out", "--retry-failed"], "--journal");
    wrong(&["in", "out", "--edges"], "--tiles");
    wrong(&["in", "out.png", "--tiles"], "not a file");
    wrong(&["in/a.jpg", "out", "--tiles"], "names no format");
    wrong(&["no such", "out"], "images: no such: No such file");
    wrong(&["in/a.jpg", "out"], "--tiles for one picture");
    wrong(&["in", "in/a.jpg"], "in/a.jpg");
    wrong(&["in", "missing/../in"], "`..` after a folder that does not exist");
    wrong(&["in", "missing/deep/../../out"], "`..` after a folder that does not exist");
    wrong(&["in", "out", "--journal", "in/a.jpg"], "a.jpg");
    wrong(&["in", "out", "--journal", "no/such/journal"], "no/such/journal");
    assert_eq!(files(&directory.join("in")), [PathBuf::from("a.jpg")]);
    assert!(!directory.join("missing").exists());
}

#[test]
fn an_output_folder_that_holds_the_inputs_is_refused() {
    let directory = with_picture();
    let directory = directory.0.as_path();
    symlink("in", directory.join("link")).unwrap();
    for output in ["in", "./in/../in", ".", "link", "new/../in"] {
        fs::create_dir_all(directory.join("new")).unwrap();
        let text = usage(directory, &["in", output]);
        assert!(text.contains("outputs would replace inputs"), "{output}: {text}");
    }
    assert!(!directory.join("a.jpg").exists());
}

#[test]
fn an_output_folder_in_the_input_folder_is_not_an_input() {
    let directory = with_picture();
    let directory = directory.0.as_path();
    for _ in 0..2 {
        let arguments = ["in", "in/small", "--journal", "in/journal"];
        let (code, found) = json(directory, &arguments);
        assert_eq!((code, failures(&found).len()), (0, 0), "{found}");
        assert_eq!(files(&directory.join("in/small")), [PathBuf::from("a.jpg")]);
    }
}

#[test]
fn links_into_the_output_folder_are_no_inputs() {
    let directory = Directory::new();
    write(&directory.folder("in/sub"), "a.jpg");
    let directory = directory.0.as_path();
    assert_eq!(json(directory, &["in", "out"]).1["done"], 1);
    symlink("../out/sub", directory.join("in/again")).unwrap();
    symlink("../out/sub/a.jpg", directory.join("in/b.jpg")).unwrap();
    let (code, found) = json(directory, &["in", "out"]);
    assert_eq!((code, &found["done"]), (0, &1.into()), "{found}");
    assert_eq!(files(&directory.join("out")), [PathBuf::from("sub/a.jpg")]);
}

#[test]
fn every_name_and_every_folder_is_kept() {
    let directory = Directory::new();
    let input = directory.folder("in");
    directory.folder("in/deep/er");
    let mut names: Vec<PathBuf> = vec!["a.jpg".into(), "deep/a.jpg".into(), "deep/er/a.jpg".into()];
    names.push(OsString::from_vec(b"caf\xe9.jpg".to_vec()).into());
    names.push("two\nlines.jpg".into());
    names.push("-rf.jpg".into());
    names.iter().for_each(|name| write(&input, name));
    names.sort();
    let (code, found) = json(&directory.0, &["in", "out", "--journal", "journal"]);
    assert_eq!((code, &found["done"]), (0, &Value::from(6)), "{found}");
    assert_eq!(files(&directory.0.join("out")), names);
    let (code, found) = json(&directory.0, &["in", "out", "--journal", "journal"]);
    assert_eq!((code, &found["skipped"]), (0, &Value::from(6)), "{found}");
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_done() {
    let directory = with_picture();
    let input = directory.0.join("in");
    fs::write(input.join("empty.jpg"), "").unwrap();
    symlink("nowhere", input.join("broken")).unwrap();
    symlink("circle", input.join("circle")).unwrap();
    symlink("..", directory.folder("in/sub").join("up")).unwrap();
    assert!(Command::new("mkfifo").arg(input.join("pipe")).status().unwrap().success());
    let (code, found) = json(&directory.0, &["in", "out"]);
    assert_eq!((code, &found["done"]), (1, &Value::from(1)), "{found}");
    let expected = [
        ("broken", "a symbolic link: No such file"),
        ("circle", "a symbolic link: Too many levels"),
        ("empty.jpg", "the file is empty"),
        ("pipe", "neither a file nor a folder"),
        ("sub/up", "a symbolic link to a folder that contains it"),
    ];
    let failed = failures(&found);
    assert_eq!(failed.len(), expected.len(), "{failed:#?}");
    for ((key, error), (name, why)) in failed.iter().zip(expected) {
        assert!(key == name && error.starts_with(why), "{key}: {error}");
    }
    let text = String::from_utf8(run(&directory.0, &["in", "out"]).stdout).unwrap();
    assert!(text.contains("\n  sub/up: not read: a symbolic link"), "{text}");
}

#[test]
fn a_folder_that_links_reach_twice_is_worked_on_once() {
    let directory = Directory::new();
    write(&directory.folder("in/z"), "a.jpg");
    write(&directory.folder("elsewhere"), "b.jpg");
    let input = directory.0.join("in");
    symlink("z", input.join("a")).unwrap();
    symlink("../elsewhere", input.join("c")).unwrap();
    symlink("../elsewhere", input.join("b")).unwrap();
    symlink("../elsewhere/b.jpg", input.join("d.jpg")).unwrap();
    let (code, found) = json(&directory.0, &["in", "out"]);
    assert_eq!(code, 0, "{found}");
    let expected = ["b/b.jpg", "d.jpg", "z/a.jpg"].map(PathBuf::from);
    assert_eq!(files(&directory.0.join("out")), expected);
}

#[test]
fn a_folder_without_rights_is_named() {
    let directory = with_picture();
    let closed = directory.folder("in/closed");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    // The superuser may read it all the same.
    let may_read = fs::read_dir(&closed).is_ok();
    let (code, found) = json(&directory.0, &["in", "out"]);
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(found["done"], 1);
    if !may_read {
        assert_eq!(code, 1);
        assert!(failures(&found)[0].1.contains("Permission denied"), "{found}");
    }
}

#[test]
fn no_files_are_nothing_to_do() {
    let directory = Directory::new();
    directory.folder("in/empty");
    let output = run(&directory.0, &["in", "out"]);
    let (text, said) = (String::from_utf8(output.stdout), String::from_utf8(output.stderr));
    assert_eq!(output.status.code(), Some(0));
    assert!(said.unwrap().contains("images: in: no files"));
    assert!(text.unwrap().starts_with("0 done"));
}

#[test]
fn a_journal_is_for_one_recipe() {
    let directory = with_picture();
    json(&directory.0, &["in", "out", "--journal", "journal"]);
    let other = ["in", "out", "--journal", "journal", "--size", "10"];
    let text = usage(&directory.0, &other);
    assert!(text.contains("size 256") && text.contains("size 10"), "{text}");
}

#[test]
fn a_journal_is_for_one_pair_of_folders() {
    let directory = with_picture();
    let directory = directory.0.as_path();
    fs::create_dir(directory.join("other")).unwrap();
    write(&directory.join("other"), "a.jpg");
    json(directory, &["in", "out", "--journal", "journal"]);
    // Its key is that of the first picture, which is done.
    let text = usage(directory, &["other", "out", "--journal", "journal"]);
    assert!(text.contains("/in to ") && text.contains("/other to "), "{text}");
    let text = usage(directory, &["in", "out2", "--journal", "journal"]);
    assert!(text.contains("/out2"), "{text}");
    // The same folders by other names.
    let (code, found) = json(directory, &["./in", "other/../out", "--journal", "journal"]);
    assert_eq!((code, &found["skipped"]), (0, &1.into()), "{found}");
}

#[test]
fn what_failed_runs_again_on_request() {
    let directory = with_picture();
    let path = directory.0.join("in/b.jpg");
    fs::write(&path, "not yet").unwrap();
    let arguments = ["in", "out", "--journal", "journal"];
    assert_eq!(json(&directory.0, &arguments).0, 1);
    write(&directory.0.join("in"), "b.jpg");
    assert_eq!(json(&directory.0, &arguments).0, 1);
    let (code, found) = json(&directory.0, &[&arguments[..], &["--retry-failed"]].concat());
    assert_eq!((code, &found["done"], &found["skipped"]), (0, &1.into(), &1.into()), "{found}");
}

#[test]
fn a_closed_standard_output_is_an_error_and_no_panic() {
    let directory = with_picture();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_images"));
    command.args(["in", "out"]).current_dir(&directory.0).stdout(Stdio::from(full));
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("images: standard output: No space left"), "{text}");
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn a_disk_that_fills_is_an_error_that_names_the_output_and_leaves_nothing() {
    let directory = Directory::new();
    let picture = encoded(gradient(3000, 2000, 5), ImageFormat::Png);
    fs::write(directory.folder("in").join("large.png"), picture).unwrap();
    write(&directory.0.join("in"), "small.jpg");
    // A limit on the size of files is met as a full disk is; the shell ignores the signal. The
    // large output has 18 MB.
    let script = "trap '' XFSZ; ulimit -f 8192; exec \"$0\" in out --format bmp --size 3000 \
                  --json";
    let mut command = Command::new("bash");
    command.args(["-c", script, env!("CARGO_BIN_EXE_images")]).current_dir(&directory.0);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let failed = failures(&found);
    assert_eq!((&found["done"], failed.len()), (&1.into(), 1), "{found}");
    let (key, error) = &failed[0];
    assert_eq!(key, "large.png");
    assert!(error.starts_with("the output cannot be written: "), "{error}");
    assert!(error.contains("/out/large.png.bmp: File too large"), "{error}");
    assert_eq!(files(&directory.0.join("out")), [PathBuf::from("small.jpg.bmp")]);
}

#[test]
fn a_closed_standard_error_changes_nothing() {
    let directory = Directory::new();
    directory.folder("in");
    for (input, code) in [("in", 0), ("no such", 2)] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_images"));
        command.args([input, "out"]).current_dir(&directory.0).stderr(writer);
        assert_eq!(command.output().unwrap().status.code(), Some(code), "{input}");
    }
}

//! The program, as a user runs it.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use brigade::SharedArray;
use tempfile::TempDir;

fn new_folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn table(path: &Path, options: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_table"));
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
fn columns_are_described_grouped_and_written() {
    let folder = new_folder();
    let path = folder.path().join("in.csv");
    fs::write(&path, "city,year,rain\nOslo,2023,1.5\nBonn,2024,\nOslo,2023,0.5\nBonn,2024,4\n")
        .unwrap();
    let out = folder.path().join("out");
    let options = ["--json", "--group-by", "year", "--npy-out", out.to_str().unwrap()];
    let json = table(&path, &options);
    assert!(json.status.success(), "{}", String::from_utf8_lossy(&json.stderr));
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["rows"], &json["texts"][0]), (&4.into(), &"city".into()));
    let rain = &json["columns"][1];
    assert_eq!(
        (&rain["type"], &rain["count"], &rain["empty"]),
        (&"float".into(), &3.into(), &1.into())
    );
    assert_eq!(
        (&rain["mean"], &rain["min"], &rain["max"]),
        (&2.0.into(), &0.5.into(), &4.0.into())
    );
    let groups = &json["groups"];
    assert_eq!(groups["keys"], serde_json::json!([2023, 2024]));
    assert_eq!(groups["counts"], serde_json::json!([2, 2]));
    assert_eq!(groups["columns"][0]["mean"], serde_json::json!([1.0, null]));
    let years = SharedArray::<i64>::from_npy(out.join("year.npy")).unwrap();
    assert_eq!(years.as_slice(), [2023, 2024, 2023, 2024]);
    assert_eq!(SharedArray::<f64>::from_npy(out.join("rain.npy")).unwrap()[[3]], 4.0);

    let text = table(&path, &["--group-by", "year"]);
    let shown = String::from_utf8(text.stdout).unwrap();
    assert!(shown.starts_with("4 rows in ") && shown.contains("\nrain    float      3"), "{shown}");
    assert!(shown.contains("\n2023      2   1.000000"), "{shown}");
    assert!(String::from_utf8_lossy(&text.stderr).contains("columns of text are not read"));
}

#[test]
fn what_is_wrong_is_one_line_with_its_reason() {
    let folder = new_folder();
    let path = folder.path().join("in.csv");
    fs::write(&path, "a,b\n1,2\n3,x\n").unwrap();
    assert_fails(&table(&path, &["--columns", "a,b"]), 1, &["line 3: field 2 is \"x\""]);
    let skipped = table(&path, &["--skip-bad"]);
    assert_eq!(skipped.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&skipped.stderr).contains("1 rows are wrong; line 3"));
    assert_fails(&table(&path, &["--columns", "c"]), 1, &["no column \"c\""]);
    assert_fails(&table(&path, &["--skip-bad", "--group-by", "c"]), 1, &["--group-by", "\"c\""]);
    assert_fails(&table(&folder.path().join("none"), &[]), 1, &["none"]);
    assert_fails(&table(folder.path(), &[]), 1, &["a folder"]);
    let empty = folder.path().join("empty");
    fs::write(&empty, "").unwrap();
    assert_fails(&table(&empty, &[]), 1, &["empty: it has no record"]);
    let odd = folder.path().join(std::ffi::OsStr::from_bytes(b"no\xffutf8"));
    fs::write(&odd, "a\n1\n").unwrap();
    assert!(table(&odd, &[]).status.success());
    fs::set_permissions(&odd, fs::Permissions::from_mode(0o000)).unwrap();
    // Root may read everything.
    if fs::read(&odd).is_err() {
        assert_fails(&table(&odd, &[]), 1, &["ermission denied"]);
    }
}

#[test]
fn the_file_that_was_read_is_not_replaced_by_a_column() {
    let folder = new_folder();
    let path = folder.path().join("a.npy");
    fs::write(&path, "a\n1\n").unwrap();
    let out = folder.path().join("");
    let output = table(&path, &["--npy-out", out.to_str().unwrap()]);
    assert_fails(&output, 1, &["would replace the file that was read"]);
    assert_eq!(fs::read(&path).unwrap(), b"a\n1\n");
    fs::write(&path, "a/b\n1\n").unwrap();
    let output = table(&path, &["--npy-out", out.to_str().unwrap()]);
    assert_fails(&output, 1, &["\"a/b\" is no name for a file"]);
}

#[test]
fn a_wrong_command_line_ends_with_code_2() {
    let folder = new_folder();
    let path = folder.path().join("text");
    for options in
        [&["--delimiter", "ab"][..], &["--delimiter", "."], &["--workers", "0"], &["--no"]]
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_table"));
        assert_fails(&command.arg(&path).args(options).output().unwrap(), 2, &["--help"]);
    }
    assert_fails(&table(&path, &["--delimiter", "#"]), 2, &["same character"]);
}

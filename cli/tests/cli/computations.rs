//! The commands that compute.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use brigade::SharedArray;
use serde_json::Value;

use crate::common::Directory;
use crate::common::alone::{alone, workers};
use crate::{refused, said};

/// A folder, and the path of a file in it.
fn file(directory: &Directory, name: &str) -> String {
    directory.0.join(name).to_str().unwrap().to_owned()
}

fn json(arguments: &[&str]) -> Value {
    let text = said(&[arguments, &["--json"]].concat());
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn matmul_multiplies_files_of_either_dtype() {
    let directory = Directory::new();
    let [a, b, c] = ["a.npy", "b.npy", "c.npy"].map(|name| file(&directory, name));
    SharedArray::from_fn([5, 7], |[i, _]| i as f32).unwrap().to_npy(&a).unwrap();
    SharedArray::from_fn([7, 3], |[_, j]| (j + 1) as f32).unwrap().to_npy(&b).unwrap();
    let line = json(&["matmul", &a, &b, "-o", &c, "--workers", "2"]);
    assert_eq!((&line["m"], &line["k"], &line["n"]), (&5.into(), &7.into(), &3.into()));
    assert_eq!((&line["dtype"], &line["workers"]), (&"<f4".into(), &2.into()));
    let product = SharedArray::<f32>::from_npy(&c).unwrap();
    assert!((0..5).all(|i| (0..3).all(|j| product[[i, j]] == (7 * i * (j + 1)) as f32)));
    SharedArray::from_fn([3, 2], |_| 0.5).unwrap().to_npy(&a).unwrap();
    SharedArray::from_fn([2, 1], |_| 4.0).unwrap().to_npy(&b).unwrap();
    let text = said(&["matmul", &a, &b, "--output", &c]);
    assert!(text.contains("3 by 1"), "{text}");
    assert_eq!(SharedArray::<f64>::from_npy(&c).unwrap().as_slice(), [4.0; 3]);
}

#[test]
fn operands_that_do_not_fit_are_refused_and_leave_no_output() {
    let directory = Directory::new();
    let [a, b, n, v, text, c] =
        ["a.npy", "b.npy", "n.npy", "v.npy", "t.npy", "c.npy"].map(|name| file(&directory, name));
    SharedArray::from_fn([2, 3], |_| 1.0).unwrap().to_npy(&a).unwrap();
    SharedArray::from_fn([3, 2], |_| 1f32).unwrap().to_npy(&b).unwrap();
    SharedArray::from_fn([3, 2], |_| 1i32).unwrap().to_npy(&n).unwrap();
    SharedArray::from_fn([3], |_| 1.0).unwrap().to_npy(&v).unwrap();
    fs::write(&text, "no array").unwrap();
    refused(&["matmul", &a, &b, "-o", &c], 1, &["<f8", "<f4", "convert"]);
    refused(&["matmul", &n, &n, "-o", &c], 1, &["[3, 2]", "2 columns", "3 rows"]);
    refused(&["matmul", &a, &a, "-o", &c], 1, &["[2, 3]", "3 columns", "2 rows"]);
    refused(&["matmul", &a, &v, "-o", &c], 1, &["two dimensions", "[3]"]);
    refused(&["matmul", &a, &text, "-o", &c], 1, &["t.npy", ".npy"]);
    refused(&["matmul", &a, "/nonexistent.npy", "-o", &c], 1, &["/nonexistent.npy"]);
    refused(&["sort", "/dev/null", "-o", &c], 1, &["/dev/null"]);
    refused(&["sort", &a, "-o", &c], 1, &["one dimension"]);
    refused(&["stats", directory.0.to_str().unwrap()], 1, &["no regular file"]);
    assert!(!Path::new(&c).exists());
    SharedArray::from_fn([2, 2], |_| 1i64).unwrap().to_npy(&n).unwrap();
    refused(&["matmul", &n, &n, "-o", &c], 1, &["<i8", "f32 or f64"]);
    SharedArray::from_fn([3], |_| 1.0).unwrap().to_npy(&a).unwrap();
    refused(&["sort", &a, "-o", "/nonexistent/c.npy"], 1, &["/nonexistent"]);
}

#[test]
fn factorial_prints_or_writes_the_digits() {
    let directory = Directory::new();
    let path = file(&directory, "digits");
    assert_eq!(said(&["factorial", "20"]), "2432902008176640000\n");
    assert_eq!(said(&["factorial", "0", "--workers", "1"]), "1\n");
    let line = json(&["factorial", "3000"]);
    assert_eq!((&line["n"], &line["digits"]), (&3000.into(), &9131.into()));
    assert!(said(&["factorial", "3000", "-o", &path]).contains("9131 digits"));
    assert_eq!(fs::read_to_string(&path).unwrap(), said(&["factorial", "3000"]));
    refused(&["factorial", "5", "-o", "/nonexistent/digits"], 1, &["/nonexistent"]);
    refused(&["factorial", "1000000000000000000"], 1, &["limit"]);
}

#[test]
fn sort_sorts_every_dtype() {
    let directory = Directory::new();
    let [input, output] = ["in.npy", "out.npy"].map(|name| file(&directory, name));
    SharedArray::from_slice(&[3.0, f64::NAN, -1.0, 2.5]).unwrap().to_npy(&input).unwrap();
    let line = json(&["sort", &input, "-o", &output]);
    assert_eq!((&line["elements"], &line["dtype"]), (&4.into(), &"<f8".into()));
    let sorted = SharedArray::<f64>::from_npy(&output).unwrap();
    assert_eq!(sorted.as_slice()[..3], [-1.0, 2.5, 3.0]);
    assert!(sorted.as_slice()[3].is_nan());
    let mixed = |[i]: [usize; 1]| u16::try_from(i * 7919 % 65536).unwrap();
    SharedArray::from_fn([70_000], mixed).unwrap().to_npy(&input).unwrap();
    said(&["sort", &input, "-o", &output]);
    assert!(SharedArray::<u16>::from_npy(&output).unwrap().as_slice().is_sorted());
    SharedArray::from_slice(&[3i8, -7]).unwrap().to_npy(&input).unwrap();
    // The input may be the output.
    said(&["sort", &input, "-o", &input]);
    assert_eq!(SharedArray::<i8>::from_npy(&input).unwrap().as_slice(), [-7, 3]);
}

#[test]
fn stats_describes_columns_or_all_elements() {
    let directory = Directory::new();
    let path = file(&directory, "table.npy");
    SharedArray::from_slice(&[0, 10, 1, 11, 2, 12, 3, 13, 4, 14])
        .and_then(|mut table| {
            table.reshape([5, 2])?;
            table.to_npy(&path)
        })
        .unwrap();
    let line = json(&["stats", &path]);
    assert_eq!((&line["by_column"], &line["shape"]), (&true.into(), &[5, 2].into()));
    let second = &line["statistics"][1];
    for (name, value) in [
        ("min", 10.0),
        ("lower_quartile", 11.0),
        ("median", 12.0),
        ("upper_quartile", 13.0),
        ("max", 14.0),
        ("mean", 12.0),
    ] {
        assert_eq!(second[name], value, "{name}: {line}");
    }
    assert!((second["std"].as_f64().unwrap() - 2.5f64.sqrt()).abs() < 1e-12, "{line}");
    let all = json(&["stats", &path, "--all"]);
    assert_eq!((&all["by_column"], &all["statistics"][0]["count"]), (&false.into(), &10.into()));
    assert_eq!(all["statistics"][0]["mean"], 7.0);
    let text = said(&["stats", &path]);
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(text.contains("<i4") && text.contains("MEDIAN"), "{text}");
    // No elements: nothing is known of them.
    SharedArray::<f64>::zeroed([0]).unwrap().to_npy(&path).unwrap();
    let none = json(&["stats", &path]);
    assert_eq!(
        (&none["statistics"][0]["count"], &none["statistics"][0]["max"]),
        (&0.into(), &Value::Null)
    );
}

// Nothing of a command that is killed stays: no process, no name, no part of the output.
#[test]
fn a_command_that_is_killed_leaves_nothing() {
    alone(|| {
        let directory = Directory::new();
        let path = file(&directory, "digits");
        let mut command = Command::new(env!("CARGO_BIN_EXE_brigade"));
        command.args(["factorial", "20000000", "-o", &path]).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        crate::common::time::wait_for(|| !workers().is_empty());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!Path::new(&path).exists());
    });
}

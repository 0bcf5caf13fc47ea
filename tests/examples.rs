//! Tests that the examples run, and detect errors.
#![cfg(not(loom))]

use std::path::PathBuf;
use std::process::{Command, Output};

use dashu_int::UBig;
use proptest::prelude::*;

#[path = "../examples/support/mod.rs"]
mod support;
use support::arguments::{Arguments, Stop};
use support::freivalds::{self, Verdict};
use support::modular;
use support::random::Random;

mod common;
use common::{Directory, skipped};

/// The command of an example, if cargo built it.
fn command(name: &str) -> Option<Command> {
    let mut path: PathBuf = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    let path = path.join("examples").join(name);
    if !path.exists() {
        skipped("no examples were built; `cargo test` builds them");
        return None;
    }
    Some(Command::new(path))
}

/// Runs an example with these arguments.
fn example(name: &str, arguments: &[&str]) -> Option<Output> {
    Some(command(name)?.args(arguments).output().unwrap())
}

/// Fails unless the example rejects these arguments with one line that contains `hint`.
fn refuses(name: &str, arguments: &[&str], hint: &str) {
    let Some(output) = example(name, arguments) else { return };
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{name} {arguments:?}: {text}");
    assert!(output.stdout.is_empty(), "{name} {arguments:?}");
    let told = text.strip_prefix(&format!("{name}: ")).unwrap_or_default();
    assert!(text.lines().count() == 1 && told.contains(hint), "{name} {arguments:?}: {text}");
}

/// The single line of JSON that an example prints.
fn json(name: &str, arguments: &[&str]) -> Option<serde_json::Value> {
    let output = example(name, arguments)?;
    let text = String::from_utf8(output.stdout).unwrap();
    let trouble = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?}: {trouble}");
    assert_eq!(text.lines().count(), 1, "{text}");
    Some(serde_json::from_str(&text).unwrap())
}

#[test]
fn bad_input_is_one_line_and_exit_code_2() {
    refuses("matmul", &["--workers", "0"], "--workers");
    refuses("matmul", &["--size", "many"], "whole number");
    refuses("matmul", &["--size", "-1"], "whole number");
    refuses("matmul", &["--sise", "10"], "--sise");
    refuses("matmul", &["10"], "--help");
    refuses("matmul", &["--size"], "value");
    refuses("matmul", &["--m", "3"], "--k");
    refuses("matmul", &["--dtype", "i8"], "f32");
    refuses("matmul", &["--start", "spawn"], "forkserver");
    refuses("matmul", &["--a", "no-such.npy", "--b", "no-such.npy"], "no-such.npy");
    refuses("matmul", &["--a", "no-such.npy"], "--b");
    refuses("matmul", &["--size", "1000000000"], "space");
    refuses("matmul", &["--size", "18446744073709551615"], "shape");
    refuses("batch", &["--in", "/nonexistent"], "/nonexistent");
    refuses("batch", &["--files", "0"], "--files");
    refuses("batch", &["--files", "1", "--journal", "/dev/null"], "/dev/null");
    refuses("factorial", &["--n", "-1"], "whole number");
    refuses("factorial", &["--n", "1000000000000000000"], "limit");
    refuses("factorial", &["--n", "18446744073709551616"], "smaller whole number");
    refuses("factorial", &["--workers", "0"], "--workers");
    refuses("parallel_sum", &["--size-mib", "1000000000"], "space");
    refuses("parallel_sum", &["--size-mib", "18446744073709551615"], "--size-mib");
    refuses("factorial_list", &["--count", "0"], "--count");
    refuses("statistics", &["--in", "no-such.npy"], "no-such.npy");
    refuses("statistics", &["--columns", "0"], "--columns");
    refuses("pca", &["--in", "no-such.npy"], "no-such.npy");
    refuses("pca", &["--rows", "1"], "--rows");
    refuses("sort", &["--in", "no-such.npy"], "no-such.npy");
    refuses("sort", &["--size", "-1"], "--size");
    refuses("sort", &["--size", "1000000000000"], "space");
    refuses("statistics", &["--rows", "1000000000000"], "space");
    refuses("monte_carlo", &["--samples", "0"], "--samples");
    refuses("monte_carlo", &["--seed", "-1"], "whole number");
    refuses("overhead", &["--host-gib", "18446744073709551615"], "--host-gib");
    refuses("scaling", &["--size-max-mib", "18446744073709551615"], "--size-max-mib");
    refuses("scaling", &["--repeat", "0"], "--repeat");
    refuses("shared_state", &["--workers", "0"], "--workers");
    refuses("shared_state", &["--workers", "20000"], "16383");
    refuses("shared_state", &["--rounds", "some"], "whole number");
    refuses("pipeline", &["--items", "0"], "--items");
    refuses("named_region", &["--name", "a/b"], "a/b");
    refuses("processes", &["--count", "0"], "--count");
    refuses("processes", &["--patience-ms", "-1"], "whole number");
    refuses("heat", &["--size", "2"], "--size");
    refuses("solve", &["--size", "-1"], "whole number");
    refuses("solve", &["--spd", "--refine", "1"], "--spd");
    refuses("solve", &["--a", "no-such.npy"], "--b");
    refuses("heat", &["--size", "1000000000"], "space");
    refuses("poisson", &["--size", "47"], "--size");
    refuses("poisson", &["--size", "1000000000"], "space");
    refuses("poisson", &["--png", "/nonexistent/x.png", "--sise"], "--sise");
    refuses("named_region", &["--attach", "brigade-no-such"], "brigade-no-such");
}

// This panicked, with a backtrace and exit code 101; with both outputs closed it aborted.
#[test]
fn an_example_with_a_closed_output_ends_quietly() {
    let small = [("matmul", "--size"), ("factorial", "--n"), ("parallel_sum", "--size-mib")];
    for (name, size) in small {
        let Some(mut command) = command(name) else { return };
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let both = writer.try_clone().unwrap();
        let output = command.args([size, "1"]).stdout(writer).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*text), (Some(128 + 13), ""), "{name}");
        let status = command.stdout(both.try_clone().unwrap()).stderr(both).status().unwrap();
        assert_eq!(status.code(), Some(128 + 13), "{name}");
    }
}

#[test]
fn digits_may_be_written_to_a_device() {
    json("factorial", &["--n", "5", "--out", "/dev/null", "--json"]);
}

#[test]
fn files_that_do_not_fit_are_refused() {
    let directory = Directory::new();
    let path = |name: &str| directory.0.join(name).to_str().unwrap().to_owned();
    let (a, b, other, text) = (path("a.npy"), path("b.npy"), path("i.npy"), path("text.npy"));
    brigade::SharedArray::<f64>::zeroed([3, 4]).unwrap().to_npy(&a).unwrap();
    brigade::SharedArray::<f64>::zeroed([3, 2]).unwrap().to_npy(&b).unwrap();
    brigade::SharedArray::<i32>::zeroed([4, 2]).unwrap().to_npy(&other).unwrap();
    std::fs::write(&text, "no array").unwrap();
    refuses("matmul", &["--a", &a, "--b", &b], "[3, 4]");
    refuses("matmul", &["--a", &a, "--b", &other], "i4");
    refuses("matmul", &["--a", &a, "--b", &a, "--dtype", "f32"], "f8");
    refuses("matmul", &["--a", &text, "--b", &b], "text.npy");
    refuses("solve", &["--a", &a, "--b", &b], "square");
    refuses("solve", &["--a", &b, "--b", &text], "text.npy");
}

#[test]
fn a_product_of_files_is_written_and_reported_in_json() {
    let directory = Directory::new();
    let path = |name: &str| directory.0.join(name).to_str().unwrap().to_owned();
    let (a, b, c) = (path("a.npy"), path("b.npy"), path("c.npy"));
    let ones = brigade::SharedArray::from_fn([5, 7], |_| 1f32).unwrap();
    ones.to_npy(&a).unwrap();
    brigade::SharedArray::from_fn([7, 3], |[i, j]| (i * j) as f32).unwrap().to_npy(&b).unwrap();
    let arguments = ["--a", &a, "--b", &b, "--out", &c, "--workers", "2", "--json"];
    let Some(line) = json("matmul", &arguments) else { return };
    assert_eq!((&line["m"], &line["k"], &line["n"]), (&5.into(), &7.into(), &3.into()));
    assert_eq!((&line["dtype"], &line["checked"]), (&"f32".into(), &true.into()));
    assert_eq!((&line["op"], &line["start"]), (&"matmul".into(), &"forkserver".into()));
    let product = brigade::SharedArray::<f32>::from_npy(&c).unwrap();
    assert_eq!(product.as_slice(), [0.0, 21.0, 42.0].repeat(5));
}

#[test]
fn a_system_of_files_is_solved_and_a_singular_one_refused() {
    let directory = Directory::new();
    let path = |name: &str| directory.0.join(name).to_str().unwrap().to_owned();
    let (a, b, x) = (path("a.npy"), path("b.npy"), path("x.npy"));
    let matrix = |last: f64| {
        brigade::SharedArray::from_fn([2, 2], |[i, j]| [[1.0, 2.0], [3.0, last]][i][j]).unwrap()
    };
    matrix(4.0).to_npy(&a).unwrap();
    brigade::SharedArray::from_slice(&[5.0, 11.0]).unwrap().to_npy(&b).unwrap();
    let arguments = ["--a", &a, "--b", &b, "--out", &x, "--refine", "1", "--json"];
    let Some(line) = json("solve", &arguments) else { return };
    assert_eq!(
        (&line["op"], &line["n"], &line["columns"]),
        (&"solve".into(), &2.into(), &1.into())
    );
    let solution = brigade::SharedArray::<f64>::from_npy(&x).unwrap();
    assert_eq!((solution.shape().dims(), solution.as_slice()), (&[2][..], &[1.0, 2.0][..]));
    matrix(6.0).to_npy(&a).unwrap();
    refuses("solve", &["--a", &a, "--b", &b], "pivot 1");
}

#[test]
fn a_factorial_is_written_and_reported_in_json() {
    let directory = Directory::new();
    let file = directory.0.join("limbs");
    let arguments = ["--n", "30", "--workers", "2", "--json", "--limbs-out"];
    let arguments = [&arguments[..], &[file.to_str().unwrap()]].concat();
    let Some(line) = json("factorial", &arguments) else { return };
    let bytes = std::fs::read(file).unwrap();
    let number = (1..=30u128).product::<u128>();
    assert_eq!(bytes, number.to_le_bytes());
    // Computed by another implementation of SHA-256, over the same 16 bytes.
    let digest = "6c1eb0b34d7bbe0dc47d0a058f065b0286e70ed90bdfa90537b3023b38e058ab";
    assert_eq!(line["limbs_sha256"], digest);
    assert_eq!((&line["n"], &line["bits"]), (&30.into(), &108.into()));
    assert_eq!((&line["decimal_digits"], &line["checked"]), (&33.into(), &true.into()));
}

#[test]
fn the_digits_of_a_factorial_are_written_whole_or_not_at_all() {
    let directory = Directory::new();
    let file = directory.0.join("digits");
    let run = |extra: &[&str]| {
        let path = file.to_str().unwrap();
        let arguments = [&["--n", "22", "--workers", "1", "--json", "--out", path], extra].concat();
        json("factorial", &arguments)
    };
    if run(&[]).is_none() {
        return;
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "1124000727777607680000\n");
    let path = file.to_str().unwrap();
    refuses("factorial", &["--n", "5", "--out", path], "exists already");
    refuses("factorial", &["--n", "5", "--out", "/nonexistent/digits"], "nothing was written");
    refuses("factorial", &["--n", "5", "--out", "/dev"], "exists already");
    refuses("factorial", &["--n", "5", "--force", "--out", "/dev"], "is a directory");
    std::fs::write(&file, "old").unwrap();
    run(&["--force"]).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "1124000727777607680000\n");
    // No temporary file is left.
    assert_eq!(std::fs::read_dir(&directory.0).unwrap().count(), 1);
}

#[test]
fn results_on_arrays_do_not_depend_on_the_number_of_workers() {
    for (name, arguments, results) in [
        ("statistics", &["--rows", "3001", "--columns", "7"][..], &["means", "deviations"][..]),
        ("monte_carlo", &["--samples", "200001", "--seed", "5"], &["inside", "pi"]),
        ("sort", &["--size", "100003"], &["least", "median", "greatest"]),
        ("pca", &["--rows", "901", "--columns", "210"], &["variances", "explained"]),
    ] {
        let of = |workers: &str| {
            let more = ["--workers", workers, "--repeat", "1", "--json"];
            json(name, &[arguments, &more].concat())
        };
        let (Some(one), Some(three)) = (of("1"), of("3")) else { continue };
        for result in results {
            assert!(!one[result].is_null());
            assert_eq!(one[result], three[result], "{name}");
        }
    }
}

#[test]
fn a_batch_goes_on_from_its_journal_and_ends_by_what_has_failed() {
    let directory = Directory::new();
    let path = |name: &str| directory.0.join(name).to_str().unwrap().to_owned();
    let (input, output, journal) = (path("in"), path("out"), path("journal"));
    std::fs::create_dir(&input).unwrap();
    for name in ["a", "b\nc", "d"] {
        std::fs::write(directory.0.join("in").join(name), name).unwrap();
    }
    // What a new file cannot replace.
    std::fs::create_dir_all(directory.0.join("out/a.sha256")).unwrap();
    let arguments = ["--in", &input, "--out", &output, "--journal", &journal, "--json"];
    let arguments = [&arguments[..], &["--workers", "2", "--memory-mib", "1"]].concat();
    let run = |more: &[&str], code| {
        let output = example("batch", &[&arguments[..], more].concat())?;
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        Some(["done", "skipped", "failed"].map(|name| line[name].as_u64().unwrap()))
    };
    let Some(first) = run(&[], 1) else { return };
    assert_eq!(first, [2, 0, 1]);
    assert_eq!(run(&[], 1).unwrap(), [0, 2, 1]);
    std::fs::remove_dir(directory.0.join("out/a.sha256")).unwrap();
    assert_eq!(run(&["--retry-failed"], 0).unwrap(), [1, 2, 0]);
    // Of another SHA-256.
    let digest = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb\n";
    assert_eq!(std::fs::read_to_string(directory.0.join("out/a.sha256")).unwrap(), digest);
    refuses("batch", &["--journal", &path("in/a")], "another file");
}

#[test]
fn small_examples_run() {
    let directory = Directory::new();
    let timeline = directory.0.join("timeline.json");
    for (name, arguments) in [
        ("parallel_sum", &["--size-mib", "3", "--workers", "2", "--repeat", "1"][..]),
        ("batch", &["--files", "9", "--start", "inprocess"]),
        ("equipped", &["--model-mib", "2"]),
        ("factorial_list", &["--count", "40", "--workers", "2"]),
        ("factorial", &["--n", "3000", "--workers", "2", "--repeat", "2"]),
        ("named_queue", &[]),
        ("named_region", &[]),
        ("heat", &["--size", "20", "--workers", "2"]),
        ("heat", &["--size", "20", "--workers", "2", "--team"]),
        ("observe", &["--timeline", timeline.to_str().unwrap()]),
        ("poisson", &["--size", "49", "--start", "inprocess"]),
        ("scaling", &["--workers-max", "2", "--tasks-max", "1000", "--size-max-mib", "1"]),
        ("shared_state", &["--rounds", "50"]),
        ("sort", &["--size", "0", "--workers", "2"]),
        ("crash_survived", &[]),
        ("preload", &["--workers", "2", "--mib", "1", "--start-ms", "1"]),
        ("preload", &["--workers", "2", "--mib", "1", "--start-ms", "1", "--initializer"]),
        ("processes", &["--count", "2"]),
        ("pipeline", &["--items", "60"]),
        ("matmul", &["--m", "30", "--k", "0", "--n", "20", "--start", "inprocess"]),
        ("solve", &["--size", "0", "--workers", "2"]),
        ("solve", &["--size", "100", "--columns", "3", "--workers", "2", "--spd"]),
    ] {
        let Some(output) = example(name, arguments) else { continue };
        let trouble = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {trouble}");
    }
    if timeline.exists() {
        let text = std::fs::read(timeline).unwrap();
        let trace: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert!(trace["traceEvents"].is_array());
    }
}

#[test]
fn every_example_with_an_option_for_it_prints_one_line_of_json() {
    let directory = Directory::new();
    let timeline = directory.0.join("timeline.json").to_str().unwrap().to_owned();
    for (name, arguments) in [
        ("crash_survived", &["--json"][..]),
        ("equipped", &["--json", "--model-mib", "1"]),
        ("factorial_list", &["--json", "--count", "40"]),
        ("heat", &["--json", "--size", "20"]),
        ("named_queue", &["--json", "--orders", "20"]),
        ("named_region", &["--json"]),
        ("observe", &["--json", "--timeline", &timeline]),
        ("parallel_sum", &["--json", "--size-mib", "3", "--repeat", "1"]),
        ("pipeline", &["--json", "--items", "60"]),
        ("poisson", &["--json", "--size", "60", "--workers", "2"]),
        ("processes", &["--json", "--count", "2"]),
        ("shared_state", &["--json", "--rounds", "20"]),
    ] {
        let Some(line) = json(name, arguments) else { continue };
        assert_eq!(line["op"], name);
    }
}

#[test]
fn options_are_taken_with_and_without_an_equals_sign() {
    let parse = |words: &[&str]| {
        Arguments::parse("x: y [--a N] --b", words.iter().map(|&word| word.to_owned()))
    };
    let given = parse(&["--a=3", "--b"]).unwrap();
    assert!(given.has("b") && given.number("a", 0u32).unwrap() == Some(3));
    assert!(matches!(given.number("a", 4u32), Err(Stop::Usage(_))));
    assert!(matches!(parse(&["--help"]), Err(Stop::Help)));
    for wrong in [&["--a"][..], &["--b=1"], &["--c"], &["--a", "1", "--a", "2"], &["--N", "1"]] {
        assert!(matches!(parse(wrong), Err(Stop::Usage(_))), "{wrong:?}");
    }
}

/// Random matrices and their product, each element rounded once.
fn product([m, k, n]: [usize; 3], seed: u64) -> [Vec<f32>; 3] {
    let mut random = Random::new(seed);
    let a: Vec<f32> = (0..m * k).map(|_| random.uniform()).collect();
    let b: Vec<f32> = (0..k * n).map(|_| random.uniform()).collect();
    let element = |i: usize, j: usize| -> f64 {
        (0..k).map(|l| f64::from(a[i * k + l]) * f64::from(b[l * n + j])).sum()
    };
    #[expect(clippy::cast_possible_truncation, reason = "the one rounding of each element")]
    let c = (0..m * n).map(|at| element(at / n, at % n) as f32).collect();
    [a, b, c]
}

/// Half an ulp of 1 in `f32`.
const UNIT: f64 = f32::EPSILON as f64 / 2.0;

proptest! {
    #[test]
    fn a_right_product_holds_and_one_wrong_element_does_not(
        dims in [1usize..30, 1..60, 1..40], seed: u64, at: usize, wrong in 0.1f32..10.0,
    ) {
        let [a, b, mut c] = product(dims, seed);
        prop_assert_eq!(freivalds::test(dims, &a, &b, &c, UNIT), Verdict::Holds);
        let at = at % c.len();
        c[at] += wrong;
        let verdict = freivalds::test(dims, &a, &b, &c, UNIT);
        prop_assert!(
            matches!(verdict, Verdict::Fails { row, .. } if row == at / dims[2]), "{:?}", verdict
        );
    }

    #[test]
    fn residues_and_digits_are_those_of_another_library(
        limbs in prop::collection::vec(any::<u64>(), 1..9),
    ) {
        let bytes: Vec<u8> = limbs.iter().flat_map(|limb| limb.to_le_bytes()).collect();
        let number = UBig::from_le_bytes(&bytes);
        let mut limbs = limbs;
        while limbs.last() == Some(&0) {
            limbs.pop();
        }
        let residue = UBig::from(modular::residue(&limbs));
        prop_assert_eq!(residue, &number % UBig::from((1u64 << 61) - 1));
        prop_assert_eq!(modular::decimal_digits(&limbs), number.to_string().len() as u64);
    }
}

#[test]
fn empty_products_hold_and_nan_and_infinity_are_reported() {
    for dims in [[0, 0, 0], [3, 0, 2], [0, 4, 2], [3, 4, 0]] {
        let [a, b, c] = product(dims, 1);
        assert_eq!(freivalds::test(dims, &a, &b, &c, UNIT), Verdict::Holds, "{dims:?}");
    }
    let [mut a, b, c] = product([3, 4, 5], 1);
    let wrong = freivalds::test([3, 4, 5], &a, &b, &[f32::NAN; 15], UNIT);
    assert!(matches!(wrong, Verdict::Fails { .. }));
    a[0] = f32::INFINITY;
    assert_eq!(freivalds::test([3, 4, 5], &a, &b, &c, UNIT), Verdict::NotFinite);
}

#[test]
fn factorials_are_known_by_residue_twos_and_digits() {
    let mut number = UBig::ONE;
    for n in 0u64..600 {
        number *= n.max(1);
        let bytes = number.to_le_bytes();
        let limbs: Vec<u64> = bytes
            .chunks(8)
            .map(|bytes| bytes.iter().rev().fold(0, |limb, &byte| limb << 8 | u64::from(byte)))
            .collect();
        assert_eq!(modular::residue(&limbs), modular::factorial_residue(n), "{n}");
        assert_eq!(modular::twos(&limbs), modular::factorial_twos(n), "{n}");
        let decimal = number.to_string();
        assert_eq!(modular::residue_of_decimal(&decimal), modular::residue(&limbs), "{n}");
        assert_eq!(modular::decimal_digits(&limbs), number.to_string().len() as u64, "{n}");
    }
}

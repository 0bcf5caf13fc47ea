//! The command `brigade`: output, errors, exit codes.
#![cfg(not(loom))]
#![allow(unsafe_code)]

mod computations;
mod pools;
mod regions;

#[path = "../../../tests/common/mod.rs"]
mod common;

use std::process::{Command, Output, Stdio};

/// Runs `brigade`.
fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_brigade")).args(arguments).output().unwrap()
}

/// Runs `brigade`: exit code, standard output, standard error.
fn brigade(arguments: &[&str]) -> (i32, String, String) {
    let output = run(arguments);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Runs `brigade`, which must succeed and print nothing to standard error.
fn said(arguments: &[&str]) -> String {
    let (code, out, errors) = brigade(arguments);
    assert_eq!((code, errors.as_str()), (0, ""), "{arguments:?}");
    out
}

/// Runs `brigade`, which must fail with this exit code and one line that contains `words`.
fn refused(arguments: &[&str], code: i32, words: &[&str]) {
    let (found, out, errors) = brigade(arguments);
    assert_eq!((found, out.as_str(), errors.lines().count()), (code, "", 1), "{errors}");
    assert!(errors.starts_with("brigade: "), "{errors}");
    for word in words {
        assert!(errors.contains(word), "{arguments:?}: {word:?} is missing in {errors}");
    }
}

#[test]
fn a_wrong_command_line_ends_with_2_and_help_with_0() {
    for (line, word) in [
        (&[][..], "Usage"),
        (&["list"], "unrecognized subcommand 'list'"),
        (&["ls", "--all"], "--all"),
        (&["rm"], "<NAME>"),
        (&["gc", "everything"], "everything"),
        (&["ls", "--json", "--json"], "multiple times"),
        (&["matmul", "a.npy", "b.npy"], "--output"),
        (&["factorial", "many"], "many"),
    ] {
        let (code, out, errors) = brigade(line);
        assert_eq!((code, out.as_str()), (2, ""), "{line:?}");
        assert!(errors.contains(word), "{line:?}: {errors}");
    }
    assert!(said(&["--help"]).contains("Exit codes"));
    assert!(said(&["rm", "--help"]).contains("--force"));
    assert_eq!(said(&["--version"]), format!("brigade {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn completions_and_manual_pages_name_every_command() {
    let commands = ["ls", "top", "inspect", "rm", "gc", "matmul", "factorial", "sort", "stats"];
    let texts = ["bash", "zsh", "fish"].map(|shell| said(&["completions", shell]));
    for text in texts.iter().chain([&said(&["man"])]) {
        for command in commands {
            assert!(text.contains(command), "{command}: {text}");
        }
    }
    let page = said(&["man", "matmul"]);
    assert!(page.contains(".TH") && page.contains("\\-\\-workers"), "{page}");
    refused(&["man", "list"], 2, &["list"]);
}

#[test]
fn a_reader_that_has_gone_is_no_panic() {
    for arguments in [&["--help"][..], &["factorial", "3000"], &["man"], &["ls"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_brigade"))
            .args(arguments)
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let errors = output.stderr.as_slice();
        assert_eq!((output.status.code(), errors), (Some(0), &b""[..]), "{arguments:?}");
    }
}

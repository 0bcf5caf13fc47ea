//! The command line: output, errors, exit codes.

use crate::common::alone::alone_in_turn;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use brigade::SharedArray;
use serde_json::Value;

use super::parts::{Part, Removed, is_root, path_of};
use crate::common::unique;

/// Runs `brigade`: exit code, standard output, standard error.
fn brigade(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_brigade")).args(arguments).output().unwrap();
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

/// The region of this name, as `ls --json` describes it.
fn listed(name: &str) -> Option<Value> {
    let all: Vec<Value> = serde_json::from_str(&said(&["ls", "--json"])).unwrap();
    all.into_iter().find(|region| region["name"] == name)
}

fn write_private(name: &str, bytes: &[u8]) -> Removed {
    fs::write(path_of(name), bytes).unwrap();
    fs::set_permissions(path_of(name), fs::Permissions::from_mode(0o600)).unwrap();
    Removed(name.to_owned())
}

/// A name left by a killed program.
fn left_behind(label: &str) -> String {
    let name = unique(label);
    let mut holder = Part::start("hold", &[&name]);
    holder.expect("holding");
    holder.kill();
    name
}

#[test]
fn ls_shows_kind_owner_size_and_holders() {
    alone_in_turn(|| {
        let name = unique("ls");
        let _array = SharedArray::<f32>::create(&name, [2, 3]).unwrap();
        let own = std::process::id();
        let found = listed(&name).unwrap();
        assert_eq!(found["state"], "live");
        assert_eq!((&found["kind"], &found["dtype"]), (&"array".into(), &"<f4".into()));
        assert_eq!((&found["shape"], &found["size_bytes"]), (&[2, 3].into(), &(4096 + 24).into()));
        assert_eq!((&found["uid"], &found["mode"]), (&own_uid().into(), &"0600".into()));
        assert_eq!(found["holders"][0]["pid"], own);
        let text = said(&["ls"]);
        let row = text.lines().find(|line| line.starts_with(&name)).unwrap();
        for part in ["live", "array <f4 [2, 3]", "4.0 KiB", &own.to_string()] {
            assert!(row.contains(part), "{part}: {row}");
        }
    });
}

fn own_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

#[test]
fn inspect_says_all_of_one_name() {
    alone_in_turn(|| {
        let name = unique("inspect");
        let mut array = SharedArray::<i64>::create(&name, [5]).unwrap();
        array.keep().unwrap();
        let text = said(&["inspect", &name]);
        for line in ["state    live", "kind     array <i8 [5]", "mode 1600"] {
            assert!(text.contains(line), "{line}: {text}");
        }
        drop(array);
        let found: Value = serde_json::from_str(&said(&["inspect", "--json", &name])).unwrap();
        assert_eq!((&found["state"], &found["holders"]), (&"kept".into(), &Value::Array(vec![])));
        said(&["rm", &name]);
        assert!(!path_of(&name).exists());
    });
}

#[test]
fn rm_refuses_a_live_name_unless_it_is_forced() {
    alone_in_turn(|| {
        let name = unique("rm");
        let mut holder = Part::start("hold", &[&name]);
        holder.expect("holding");
        refused(&["rm", &name], 1, &["is in use by", &holder.pid().to_string(), "--force"]);
        assert!(path_of(&name).exists());
        assert_eq!(said(&["rm", "--force", &name]), format!("removed {name}\n"));
        assert!(!path_of(&name).exists());
        holder.go_on();
        holder.succeeds();
    });
}

#[test]
fn rm_and_gc_remove_what_a_killed_program_left() {
    alone_in_turn(|| {
        let (first, second) = (left_behind("dead"), left_behind("dead"));
        assert_eq!(listed(&first).unwrap()["state"], "dead");
        assert_eq!(said(&["rm", &first, "--json"]), format!("{{\"removed\": [\"{first}\"]}}\n"));
        let held = unique("held");
        let _held = SharedArray::<u8>::create(&held, [1]).unwrap();
        let would: Value = serde_json::from_str(&said(&["gc", "--dry-run", "--json"])).unwrap();
        let would = would["would_remove"].as_array().unwrap();
        assert!(would.contains(&second.as_str().into()) && !would.contains(&held.as_str().into()));
        assert!(path_of(&second).exists());
        assert!(said(&["gc", "--dry-run"]).contains(&format!("would remove {second}\n")));
        assert!(said(&["gc"]).contains(&format!("removed {second}\n")));
        assert!(!path_of(&second).exists() && path_of(&held).exists());
    });
}

#[test]
fn files_that_are_no_regions_are_listed_and_left_alone() {
    alone_in_turn(|| {
        let name = unique("raw");
        let _removed = write_private(&name, b"not ours");
        let found = listed(&name).unwrap();
        assert_eq!((&found["kind"], &found["state"]), (&"raw".into(), &"foreign".into()));
        refused(&["rm", &name], 1, &["not a region of brigade", "--force"]);
        said(&["gc"]);
        assert!(path_of(&name).exists());
        said(&["rm", &name, "--force"]);
        assert!(!path_of(&name).exists());
        let strange = format!("{name} \u{e9}\n");
        let _removed = write_private(&strange, b"not ours");
        assert!(
            said(&["ls"]).lines().any(|line| line.starts_with(&format!("{name} \\u{{e9}}\\n")))
        );
        assert_eq!(listed(&strange).unwrap()["kind"], "raw");
    });
}

#[test]
fn another_users_region_is_listed_and_not_removed() {
    alone_in_turn(|| {
        if !is_root("be two users") {
            return;
        }
        let name = unique("theirs");
        let mut array = SharedArray::<u8>::create(&name, [1]).unwrap();
        array.keep().unwrap();
        drop(array);
        let _removed = Removed(name.clone());
        std::os::unix::fs::chown(path_of(&name), Some(65534), None).unwrap();
        assert_eq!(listed(&name).unwrap()["uid"], 65534);
        fs::set_permissions(path_of(&name), fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(listed(&name).unwrap()["state"], "foreign", "not ours to reclaim");
        refused(&["rm", &name], 1, &["belongs to", "--force"]);
        assert!(path_of(&name).exists());
    });
}

#[test]
fn what_is_not_there_or_no_name_is_one_line_with_the_next_step() {
    alone_in_turn(|| {
        let name = unique("missing");
        refused(&["inspect", &name], 1, &["nothing named", &name, "check the name"]);
        refused(&["rm", &name], 1, &["nothing named"]);
        for bad in ["../etc/passwd", "..", "", "a/b", ".x"] {
            refused(&["inspect", bad], 2, &["is not a name", "A-Z a-z 0-9"]);
            refused(&["rm", "--force", "--", bad], 2, &["is not a name"]);
        }
        let directory = path_of(&name);
        fs::create_dir(&directory).unwrap();
        refused(&["inspect", &name], 1, &["not a regular file"]);
        refused(&["rm", "--force", &name], 1, &["not a regular file"]);
        fs::remove_dir(&directory).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &directory).unwrap();
        refused(&["inspect", &name], 1, &["not a regular file"]);
        fs::remove_file(&directory).unwrap();
    });
}

#[test]
fn a_wrong_command_line_ends_with_2_and_help_with_0() {
    alone_in_turn(|| {
        for (line, word) in [
            (&[][..], "no command"),
            (&["list"], "no command \"list\""),
            (&["ls", "--all"], "no option --all"),
            (&["rm"], "needs a name"),
            (&["gc", "everything"], "no further argument"),
            (&["ls", "--json", "--json"], "twice"),
        ] {
            refused(line, 2, &[word]);
        }
        assert!(said(&["--help"]).contains("exit code"));
        assert_eq!(said(&["--version"]), format!("brigade {}\n", env!("CARGO_PKG_VERSION")));
    });
}

#[test]
fn a_reader_that_has_gone_is_no_panic() {
    alone_in_turn(|| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_brigade"))
            .arg("--help")
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
    });
}

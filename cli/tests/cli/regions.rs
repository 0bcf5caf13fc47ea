//! The commands on regions.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use brigade::shared::Lock;
use brigade::{Process, Queue, SharedArray};
use serde_json::Value;

use crate::common::alone::alone_in_turn;
use crate::common::names::{Removed, path_of};
use crate::common::time::wait_for;
use crate::common::{skipped, unique};
use crate::{refused, run, said};

/// A process that holds a region of this name until it is killed.
fn holder(name: &str) -> Process<()> {
    fn hold(name: String) {
        let _array = SharedArray::<u8>::create(&name, [1]).unwrap();
        loop {
            std::thread::park();
        }
    }
    let holder = Process::spawn(hold, name.to_owned()).unwrap();
    wait_for(|| listed(name).is_some_and(|region| region["state"] == "live"));
    holder
}

fn kill(holder: Process<()>) {
    holder.kill().unwrap();
    holder.join().unwrap_err();
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
    kill(holder(&name));
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
        let holder = holder(&name);
        refused(&["rm", &name], 1, &["is in use by", &holder.pid().to_string(), "--force"]);
        assert!(path_of(&name).exists());
        assert_eq!(said(&["rm", "--force", &name]), format!("removed {name}\n"));
        assert!(!path_of(&name).exists());
        kill(holder);
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
        if own_uid() != 0 {
            return skipped("only root can be two users");
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

// A file that had mode 600, began like a region and had no holder was taken for one left by a dead
// program.
#[test]
fn a_copy_of_a_region_is_listed_as_foreign_and_never_removed_without_force() {
    alone_in_turn(|| {
        let (region, copy) = (left_behind("original"), unique("copy"));
        let _removed = Removed(copy.clone());
        fs::copy(path_of(&region), path_of(&copy)).unwrap();
        fs::set_permissions(path_of(&copy), fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(listed(&copy).unwrap()["state"], "foreign");
        assert!(!said(&["gc", "--dry-run"]).contains(&copy));
        assert!(!said(&["gc"]).contains(&copy));
        assert_eq!(run(&["rm", &copy]).status.code(), Some(1));
        assert!(path_of(&copy).exists() && !path_of(&region).exists());
    });
}

#[test]
fn inspect_shows_what_is_in_a_queue_and_who_had_a_lock() {
    fn hold(name: String) {
        let lock = Lock::<u64>::open(&name).unwrap();
        let _guard = lock.lock().map_err(brigade::Error::from).unwrap();
        loop {
            std::thread::park();
        }
    }
    alone_in_turn(|| {
        let [name, other] = ["queue", "lock"].map(unique);
        let queue = Queue::<u64>::create(&name, 5).unwrap();
        queue.put_many(vec![1, 2, 3]).unwrap();
        let text = said(&["inspect", &name]);
        assert!(text.contains("kind     queue of 3 messages"), "{text}");
        let lock = Lock::create(&other, 1u64).unwrap();
        let holder = Process::spawn(hold, other.clone()).unwrap();
        let pid = holder.pid();
        let held = format!("locked   by {pid} (alive)");
        wait_for(|| said(&["inspect", &other]).contains(&held));
        kill(holder);
        let text = said(&["inspect", &other]);
        assert!(text.contains("kind     lock"), "{text}");
        assert!(text.contains(&format!("locked   by {pid} (dead)")), "{text}");
        drop(lock);
    });
}

//! The commands on pools.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use brigade::Pool;
use serde_json::Value;

use crate::common::alone::alone;
use crate::common::time::wait_for;
use crate::said;

/// The pool of this name, as `brigade top` describes it.
fn top(name: &str) -> Option<Value> {
    let all: Vec<Value> = serde_json::from_str(&said(&["top", "--once", "--json"])).unwrap();
    all.into_iter().find(|pool| pool["pool"] == name)
}

#[test]
fn top_shows_what_a_pool_does_until_it_is_dropped() {
    alone(|| {
        let pool = Pool::builder().workers(2).name("shown").build().unwrap();
        pool.submit(|()| std::process::abort(), ()).unwrap().join().map(|()| 0).unwrap_err();
        let runs = pool.submit(|()| while !brigade::is_cancelled() {}, ()).unwrap();
        wait_for(|| top("shown").is_some_and(|pool| pool["running"] == 1));
        let json = top("shown").unwrap();
        assert_eq!((&json["failed"], &json["restarts"]["died"]), (&1.into(), &1.into()));
        assert_eq!(json["workers"].as_array().unwrap().len(), 2);
        runs.cancel();
        runs.join().unwrap();
        drop(pool);
        assert_eq!(top("shown"), None);
    });
}

#[test]
fn top_and_ls_print_text_and_top_ends_with_its_reader() {
    alone(|| {
        let pool = Pool::builder().workers(7).name("text\x1b[2J").build().unwrap();
        pool.map(0..100u32, |n| n).unwrap().sum::<u32>();
        // The pool publishes its state once a second, at first with workers that are starting.
        wait_for(|| said(&["top", "--once"]).contains("more that are idle or absent"));
        for text in [said(&["ls"]), said(&["top", "--once"])] {
            assert!(text.contains("POOL") && text.contains("text\\u{1b}[2J"), "{text}");
            assert!(!text.contains('\x1b'), "{text}");
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_brigade"));
        let mut endless = command.arg("top").stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(endless.stdout.take().unwrap()).lines();
        assert!(lines.next().unwrap().unwrap().starts_with("POOL"));
        drop(lines);
        assert!(endless.wait().unwrap().success());
    });
}

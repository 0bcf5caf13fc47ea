//! Pools as other processes see them: `pools` and `brigade top`.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::common::alone::alone;
use crate::common::time::wait_for;
use brigade::{Pool, PoolInfo, Process, WorkerStatus};
use serde_json::Value;

fn named(name: &str) -> Option<PoolInfo> {
    brigade::pools().unwrap().into_iter().find(|pool| pool.name == name)
}

/// The pool of this name, as `brigade top` describes it.
fn top(name: &str) -> Option<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brigade"));
    let output = command.args(["top", "--once", "--json"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let all: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    all.into_iter().find(|pool| pool["pool"] == name)
}

#[test]
fn what_a_pool_does_is_published_and_gone_when_the_pool_is_dropped() {
    alone(|| {
        let pool = Pool::builder().workers(2).name("published").build().unwrap();
        let own = named("published").expect("published when it is built");
        assert_eq!((own.pid, own.target, own.workers.len()), (std::process::id(), 2, 2));
        pool.submit(|()| std::process::abort(), ()).unwrap().join().map(|()| 0).unwrap_err();
        let runs = pool.submit(|()| while !brigade::is_cancelled() {}, ()).unwrap();
        wait_for(|| named("published").is_some_and(|own| own.stats.running == 1));
        let own = named("published").unwrap();
        assert_eq!((own.stats.submitted, own.stats.failed, own.stats.restarts_by.died), (2, 1, 1));
        let mut running = own.workers.iter().filter(|one| one.status == WorkerStatus::Running);
        let worker = running.next().unwrap();
        assert!(worker.task.as_ref().unwrap().contains("what_a_pool_does"), "{worker:?}");
        assert!(worker.running_for.is_some() && worker.memory_bytes > Some(0), "{worker:?}");
        let json = top("published").unwrap();
        assert_eq!((&json["running"], &json["restarts"]["died"]), (&1.into(), &1.into()));
        assert_eq!(json["workers"].as_array().unwrap().len(), 2);
        runs.cancel();
        runs.join().unwrap();
        drop(pool);
        assert_eq!((named("published"), top("published")), (None, None));
    });
}

#[test]
fn the_pool_of_a_process_that_was_killed_is_not_listed() {
    fn holds(_: ()) {
        let _pool = Pool::builder().workers(1).name("killed").build().unwrap();
        loop {
            std::thread::park();
        }
    }
    alone(|| {
        let host = Process::spawn(holds, ()).unwrap();
        wait_for(|| named("killed").is_some_and(|pool| pool.pid == host.pid()));
        host.kill().unwrap();
        host.join().unwrap_err();
        assert_eq!(named("killed"), None);
    });
}

#[test]
fn top_and_ls_print_text_and_top_ends_with_its_reader() {
    alone(|| {
        let pool = Pool::builder().workers(7).name("text\x1b[2J").build().unwrap();
        pool.map(0..100u32, |n| n).unwrap().sum::<u32>();
        let said = |arguments: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_brigade"));
            String::from_utf8(command.args(arguments).output().unwrap().stdout).unwrap()
        };
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

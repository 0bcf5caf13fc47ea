//! Pools as other processes see them.

use crate::common::alone::alone;
use crate::common::time::wait_for;
use brigade::{Pool, PoolInfo, Process, WorkerStatus};

fn named(name: &str) -> Option<PoolInfo> {
    brigade::pools().unwrap().into_iter().find(|pool| pool.name == name)
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
        runs.cancel();
        runs.join().unwrap();
        drop(pool);
        assert_eq!(named("published"), None);
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

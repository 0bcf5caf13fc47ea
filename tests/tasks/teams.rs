//! Teams of users: ranks, barriers, exchanges, and members that fail.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use crate::common::alone::alone;
use brigade::{Error, Pool, TaskError, TeamBroken, TeamMember};

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().unwrap()
}

/// Runs until a team has as many members as the pool has workers.
fn full<R>(workers: usize, mut run: impl FnMut() -> Vec<R>) -> Vec<R> {
    loop {
        let values = run();
        if values.len() == workers {
            return values;
        }
    }
}

/// What member `rank` does in step `step` of `steps`.
#[derive(serde::Serialize, serde::Deserialize, Clone, Copy)]
enum Fault {
    Abort,
    Panic,
    Return,
    Hang,
}

/// Each step adds the ranks of all; `fault` says which member fails, when and how.
fn steps(
    member: &TeamMember<'_>,
    (steps, fault): (u32, Option<(usize, u32, Fault)>),
) -> Result<usize, TeamBroken> {
    let all: Vec<usize> = (0..member.size()).collect();
    let mut sum = 0;
    for step in 0..steps {
        match fault {
            Some((rank, at, fault)) if (rank, at) == (member.rank(), step) => match fault {
                Fault::Abort => std::process::abort(),
                Fault::Panic => panic!("on purpose"),
                Fault::Return => return Ok(0),
                Fault::Hang => loop {
                    std::thread::park();
                },
            },
            _ => {}
        }
        let given = member.exchange(&[member.rank() * (step as usize + 1)], &all)?;
        sum += given.concat().iter().sum::<usize>();
        member.barrier()?;
    }
    Ok(sum)
}

#[test]
fn all_members_see_what_the_others_gave_in_every_step() {
    alone(|| {
        let pool = pool(3);
        let sums = full(3, || pool.team(steps, (100, None)).unwrap());
        // The ranks add up to 3, and the factors to 5050.
        assert_eq!(sums, [3 * 5050; 3]);
        let ranks = full(3, || pool.team(|member, ()| Ok(member.rank()), ()).unwrap());
        assert_eq!(ranks, [0, 1, 2]);
    });
}

#[test]
fn a_member_that_fails_at_any_step_fails_the_call_and_no_other_waits_for_it() {
    alone(|| {
        let pool = pool(2);
        full(2, || pool.team(steps, (1, None)).unwrap());
        for rank in 0..2 {
            for step in 0..3 {
                for fault in [Fault::Abort, Fault::Panic, Fault::Return] {
                    // A team of one has no rank 1, and nobody who waits for a member that returns.
                    let error = loop {
                        match pool.team(steps, (3, Some((rank, step, fault)))) {
                            Err(error) => break error,
                            Ok(values) => {
                                let needs_two = rank == 1 || matches!(fault, Fault::Return);
                                assert!(
                                    needs_two && values.len() == 1,
                                    "{rank} {step}: {values:?}"
                                );
                            }
                        }
                    };
                    let is_right = match fault {
                        Fault::Abort => matches!(error, Error::Task(TaskError::Died(_))),
                        Fault::Panic => matches!(error, Error::Task(TaskError::Panicked { .. })),
                        _ => matches!(&error, Error::Broken { what: "the team", .. }),
                    };
                    assert!(is_right, "{rank} {step}: {error}");
                }
            }
        }
        // The pool goes on.
        full(2, || pool.team(steps, (10, None)).unwrap());
    });
}

#[test]
fn a_member_that_never_reaches_the_barrier_times_out() {
    alone(|| {
        let pool = pool(2);
        full(2, || pool.team(steps, (1, None)).unwrap());
        let options = pool.team_options().timeout(Duration::from_millis(100));
        let error = options.run(steps, (2, Some((0, 1, Fault::Hang)))).unwrap_err();
        assert!(matches!(error, Error::Task(TaskError::TimedOut { .. })), "{error}");
        assert!(!pool.team(steps, (1, None)).unwrap().is_empty());
    });
}

thread_local! {
    static POOL: RefCell<Option<Rc<Pool>>> = const { RefCell::new(None) };
}

/// Its encoding makes the pool larger, when the call has already reserved memory for the team.
#[derive(serde::Deserialize)]
struct Grows;

impl serde::Serialize for Grows {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let pool = POOL.with_borrow(|pool| pool.clone().unwrap());
        pool.resize(3).unwrap();
        pool.wait_ready(Duration::from_secs(60)).unwrap();
        serializer.serialize_unit_struct("Grows")
    }
}

#[test]
fn a_team_has_no_more_members_than_the_pool_had_workers_when_memory_was_reserved() {
    alone(|| {
        let pool = Rc::new(pool(1));
        POOL.set(Some(Rc::clone(&pool)));
        for _ in 0..10 {
            pool.resize(1).unwrap();
            let give_all = |member: &TeamMember<'_>, _: Grows| member.exchange(&[7u8; 64], &[0]);
            let given = pool.team_options().exchange_bytes(64).run(give_all, Grows).unwrap();
            assert_eq!(given, [[[7; 64]]]);
        }
        POOL.set(None);
    });
}

#[test]
fn a_member_that_calls_another_method_than_the_others_is_named() {
    fn differs(member: &TeamMember<'_>, earlier: u32) -> Result<(), TeamBroken> {
        // Buffers that an exchange has filled do not count for a later one.
        for _ in 0..earlier {
            member.exchange(&[1u8], &[0])?;
        }
        if member.rank() == 0 {
            member.barrier()?;
        } else {
            member.exchange(&[1u8], &[0])?;
        }
        member.barrier().unwrap();
        Ok(())
    }
    alone(|| {
        let pool = pool(2);
        for earlier in 0..3 {
            let error = loop {
                if let Err(error) = pool.team(differs, earlier) {
                    break error.to_string();
                }
            };
            let expected = "member 0 called barrier where member 1 called exchange";
            assert!(error.contains(expected), "{error}");
        }
        // Plain barriers between exchanges, of which only the sum matters.
        let mixed = |member: &TeamMember<'_>, ()| {
            let mut sum = 0;
            for n in 0..100 {
                (0..n % 3).try_for_each(|_| member.barrier())?;
                sum += member.exchange(&[n], &[member.size() - 1])?[0][0];
            }
            Ok(sum)
        };
        assert_eq!(full(2, || pool.team(mixed, ()).unwrap()), [4950, 4950]);
    });
}

#[test]
fn a_member_that_ignores_a_broken_barrier_does_not_hide_it() {
    fn ignores(member: &TeamMember<'_>, _: ()) -> Result<usize, TeamBroken> {
        if member.rank() > 0 {
            let _ = member.barrier();
        }
        Ok(member.size())
    }
    alone(|| {
        let pool = pool(2);
        let error = loop {
            match pool.team(ignores, ()) {
                Err(error) => break error,
                Ok(sizes) => assert_eq!(sizes, [1]),
            }
        };
        assert!(matches!(&error, Error::Broken { what: "the team", .. }), "{error}");
    });
}

#[test]
fn a_death_is_reported_and_repeated_though_another_member_panics_because_of_it() {
    fn dies(member: &TeamMember<'_>, path: std::path::PathBuf) -> Result<usize, TeamBroken> {
        if member.rank() + 1 == member.size() {
            let is_first = member.size() > 1 && std::fs::File::create_new(&path).is_ok();
            if is_first || path.as_os_str().is_empty() {
                std::process::abort();
            }
        }
        member.barrier().unwrap();
        Ok(member.size())
    }
    alone(|| {
        let pool = pool(2);
        full(2, || pool.team(steps, (1, None)).unwrap());
        for _ in 0..5 {
            let error = pool.team(dies, std::path::PathBuf::new()).unwrap_err();
            assert!(matches!(error, Error::Task(TaskError::Died(_))), "{error}");
        }
        let name = format!("brigade-team-panic-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        while !path.exists() {
            pool.team_options().retries(1).run(dies, path.clone()).unwrap();
        }
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn a_team_runs_again_after_a_death_if_that_was_asked_for() {
    fn dies_once(member: &TeamMember<'_>, path: std::path::PathBuf) -> Result<usize, TeamBroken> {
        if member.rank() == 0 && std::fs::File::create_new(&path).is_ok() {
            std::process::abort();
        }
        member.barrier()?;
        Ok(member.size())
    }
    alone(|| {
        let pool = pool(2);
        let name = format!("brigade-team-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let sizes = pool.team_options().retries(1).run(dies_once, path.clone()).unwrap();
        assert!(sizes.iter().all(|&size| size == sizes.len()));
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn members_without_a_barrier_all_return_and_too_much_to_exchange_is_a_panic() {
    alone(|| {
        let pool = pool(2);
        for _ in 0..100 {
            pool.team(|member, ()| Ok(member.take(1)), ()).unwrap();
        }
        let options = pool.team_options().exchange_bytes(8);
        let error = options.run(|member, ()| member.exchange(&[1u64, 2], &[]), ()).unwrap_err();
        assert!(error.to_string().contains("16 bytes exceed exchange_bytes, 8"), "{error}");
        let refused = pool.team_options().exchange_bytes(usize::MAX).run(|_, ()| Ok(()), ());
        assert!(matches!(refused, Err(Error::InvalidArgument { .. })));
    });
}

//! The behaviour of a pipe, and how it ends.

use std::time::{Duration, Instant};

use brigade::{Connection, Error, Pipe, Start};
use nix::sys::signal::Signal;

use super::{LONG, SHORT};
use crate::common::alone::alone;
use crate::common::tasks::{forever, raise, with};

fn echo(there: Connection) -> usize {
    let mut count = 0;
    while let Ok(message) = there.recv_bytes() {
        there.send_bytes(&message).unwrap();
        count += 1;
    }
    count
}

fn is_closed<T>(outcome: &Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::Closed { what: "the connection" }))
}

#[test]
fn messages_go_both_ways_until_one_end_is_dropped() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let (here, there) = Pipe::duplex().unwrap();
        let task = pool.submit(echo, there).unwrap();
        for length in [0, 1, 8, 100, 60_000] {
            let message = vec![7; length];
            here.send_bytes(&message).unwrap();
            assert_eq!(here.recv_bytes().unwrap(), message);
        }
        drop(here);
        assert_eq!(task.join().unwrap(), 5);
    });
}

#[test]
fn the_end_of_file_comes_after_what_the_peer_has_sent() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let (here, there) = Pipe::duplex().unwrap();
        let task =
            pool.submit(|there: Connection| (0..3).for_each(|n| there.send(&n).unwrap()), there);
        assert_eq!((0..3).map(|_| here.recv::<i32>().unwrap()).collect::<Vec<_>>(), [0, 1, 2]);
        // Without a join of the task.
        assert!(is_closed(&here.recv::<i32>()));
        assert!(is_closed(&here.try_recv::<i32>()));
        assert!(here.poll(Duration::ZERO).unwrap());
        assert!(is_closed(&here.send(&1)));
        task.unwrap().join().unwrap();
    });
}

#[test]
fn a_receiver_sees_the_end_of_file_when_its_peer_is_killed() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let (here, there) = Pipe::duplex().unwrap();
        let die = |there: Connection| {
            there.send(&1).unwrap();
            raise(Signal::SIGKILL);
        };
        let task = pool.submit(die, there).unwrap();
        assert_eq!(here.recv_timeout::<i32>(LONG).unwrap(), 1);
        assert!(is_closed(&here.recv::<i32>()));
        assert!(is_closed(&here.send(&1)));
        assert!(task.join().unwrap_err().death().is_some());
    });
}

#[test]
fn a_sender_that_waits_for_room_reports_the_death_of_its_peer() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let (here, there) = Pipe::builder().capacity_bytes(100).duplex().unwrap();
        let wait_for_ever = |there: Connection| {
            there.recv_bytes().unwrap();
            forever();
        };
        let task = pool.submit(wait_for_ever, there).unwrap();
        here.send_bytes(&[0; 100]).unwrap();
        here.send_bytes(&[1; 100]).unwrap();
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| here.send_bytes(&[2; 100]));
            task.kill(Duration::ZERO).unwrap();
            assert!(is_closed(&sender.join().unwrap()));
        });
    });
}

#[test]
fn a_message_larger_than_the_buffer_says_its_size_and_stays() {
    alone(|| {
        let (receiver, sender) = Pipe::simplex().unwrap();
        sender.send_bytes(&[5; 300]).unwrap();
        let mut small = [0; 100];
        let error = receiver.recv_bytes_into(&mut small).unwrap_err();
        let is_it = matches!(error, Error::TooLarge { size_bytes: 300, limit_bytes: 100, .. });
        assert!(is_it, "{error}");
        let mut large = [0; 400];
        assert_eq!(receiver.recv_bytes_into(&mut large).unwrap(), 300);
        assert_eq!(large[..300], [5; 300]);
        let limit = sender.capacity_bytes();
        let error = sender.send_bytes(&vec![0; limit + 1]).unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    });
}

#[test]
fn each_end_of_a_simplex_pipe_does_one_thing() {
    alone(|| {
        let (receiver, sender) = Pipe::simplex().unwrap();
        let wrong = [
            receiver.send(&1),
            sender.recv::<i32>().map(drop),
            sender.poll(Duration::ZERO).map(drop),
        ];
        for outcome in wrong {
            assert!(matches!(outcome, Err(Error::InvalidArgument { .. })), "{outcome:?}");
        }
        drop(receiver);
        assert!(is_closed(&sender.send(&1)));
    });
}

#[test]
fn a_poll_waits_for_a_message_and_no_longer_than_it_may() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let (here, there) = Pipe::duplex().unwrap();
        let start = Instant::now();
        assert!(!here.poll(SHORT).unwrap() && start.elapsed() >= SHORT);
        assert!(matches!(here.recv_timeout::<u8>(SHORT), Err(Error::TimedOut { .. })));
        assert!(matches!(here.try_recv::<u8>(), Err(Error::Empty { .. })));
        let task = pool.submit(echo, there).unwrap();
        here.send(&9u8).unwrap();
        assert!(here.poll(LONG).unwrap());
        assert!(here.poll(Duration::ZERO).unwrap(), "it is still there");
        assert_eq!(here.recv::<u8>().unwrap(), 9);
        drop(here);
        task.join().unwrap();
    });
}

#[test]
fn a_send_waits_for_room_and_no_longer_than_it_may() {
    alone(|| {
        let (here, there) = Pipe::duplex().unwrap();
        let message = vec![7u8; 4096];
        let sent = std::iter::repeat_with(|| here.try_send(&message)).take_while(Result::is_ok);
        let sent = sent.count();
        let start = Instant::now();
        let refused = here.send_timeout(&message, SHORT).unwrap_err();
        assert!(matches!(refused, Error::TimedOut { .. }) && start.elapsed() >= SHORT);
        assert!(refused.is_retryable());
        for _ in 0..sent {
            assert_eq!(there.recv::<Vec<u8>>().unwrap(), message);
        }
        here.send_timeout(&message, LONG).unwrap();
        assert_eq!(there.recv::<Vec<u8>>().unwrap(), message);
        let empty = there.try_recv::<Vec<u8>>().unwrap_err();
        assert!(matches!(empty, Error::Empty { .. }) && empty.is_retryable());
        drop(here);
        assert!(!there.recv::<Vec<u8>>().unwrap_err().is_retryable());
    });
}

#[test]
fn an_end_on_its_way_to_a_task_that_never_starts_is_closed_with_the_task() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let (block, release) = Pipe::duplex().unwrap();
        let blocker = pool.submit(|block: Connection| drop(block.recv_bytes()), block).unwrap();
        let (here, there) = Pipe::duplex().unwrap();
        let queued = pool.submit(echo, there).unwrap();
        assert!(matches!(here.recv_timeout::<u8>(SHORT), Err(Error::TimedOut { .. })), "in flight");
        assert!(queued.cancel());
        drop(queued);
        assert!(is_closed(&here.recv::<u8>()));
        drop(release);
        blocker.join().unwrap();
    });
}

#[test]
fn an_end_that_two_processes_have_is_closed_with_the_second() {
    alone(|| {
        let pool = with(2).build().unwrap();
        let (here, there) = Pipe::duplex().unwrap();
        let until_told = |there: Connection| drop(there.recv_bytes());
        let tasks = [(); 2].map(|()| pool.submit(until_told, there.clone()).unwrap());
        drop(there);
        here.send_bytes(b"one of you").unwrap();
        assert!(matches!(here.recv_timeout::<u8>(SHORT), Err(Error::TimedOut { .. })));
        here.send_bytes(b"and the other").unwrap();
        assert!(is_closed(&here.recv::<u8>()));
        let _ = tasks.map(|task| task.join().unwrap());
    });
}

#[test]
fn a_connection_works_in_a_pool_without_processes_but_is_no_result() {
    alone(|| {
        for start in [Start::ForkServer, Start::InProcess] {
            let pool = with(1).start(start).build().unwrap();
            let (here, there) = Pipe::duplex().unwrap();
            here.send(&41).unwrap();
            let add = |there: Connection| there.send(&(there.recv::<i32>().unwrap() + 1)).unwrap();
            pool.submit(add, there.clone()).unwrap().join().unwrap();
            assert_eq!(here.recv::<i32>().unwrap(), 42);
            drop(there);
            assert!(is_closed(&here.recv::<i32>()));
        }
        let pool = with(1).build().unwrap();
        let (_here, there) = Pipe::duplex().unwrap();
        let error = pool.submit(|there: Connection| there, there).unwrap().join().unwrap_err();
        assert!(error.to_string().contains("result of a task"), "{error}");
    });
}

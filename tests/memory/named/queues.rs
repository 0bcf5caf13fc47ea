//! Queues between unrelated programs.

use std::collections::HashMap;
use std::process::Command;
use std::time::Duration;

use brigade::sync::Timeout;
use brigade::{
    Error, JoinableQueue, Pipe, Queue, RegionInfo, RegionKind, RegionState, SharedArray,
    SimpleQueue,
};
use serde::{Deserialize, Serialize};

use super::hostile::Bytes;
use super::parts::{Part, say, wait};
use crate::common::alone::{alone_in_turn, progress};
use crate::common::names::path_of;
use crate::common::{skipped, unique};

/// A message: its sender, its number, and as many bytes as the number says.
type Message = (u32, u64, Vec<u8>);

/// Long enough that a wait which has not ended by then is a hang.
const LONG: Duration = Duration::from_secs(20);

fn body(number: u64) -> Vec<u8> {
    vec![number.to_le_bytes()[0]; usize::try_from(number % 300).unwrap()]
}

/// Runs the part that `words` name, if it is one of these.
pub(crate) fn part(words: &[&str]) -> bool {
    match *words {
        ["produce", name, sender, count] => {
            let (sender, count) = (sender.parse().unwrap(), count.parse().unwrap());
            let queue = Queue::<Message>::open(name).unwrap();
            say("producing");
            for number in 0..count {
                queue.put((sender, number, body(number))).unwrap();
            }
        }
        ["square", jobs, results] => {
            let (jobs, results) =
                (Queue::<u64>::open(jobs).unwrap(), Queue::open(results).unwrap());
            say("ready");
            while let Ok(n) = jobs.get() {
                results.put(n * n).unwrap();
            }
        }
        ["hold-queue", name] => {
            let queue = Queue::<u64>::create(name, 10).unwrap();
            queue.put(7).unwrap();
            say("holding");
            wait();
        }
        ["open-elsewhere", name] => {
            let refused = Queue::<u64>::open(name);
            assert!(matches!(refused, Err(Error::PidNamespace { .. })), "{refused:?}");
            let refused = Queue::<u64>::create_or_open(name, 3);
            assert!(matches!(refused, Err(Error::PidNamespace { .. })), "{refused:?}");
        }
        ["either-queue", name, rounds] => {
            say("ready");
            wait();
            for round in 0..rounds.parse().unwrap() {
                let queue = Queue::<u64>::create_or_open(name, 8).unwrap();
                queue.put_timeout(round, LONG).unwrap();
                queue.get_timeout(LONG).unwrap();
            }
        }
        ["mutate-queue", name] => mutate(name),
        _ => return false,
    }
    true
}

/// Overwrites the bytes of a queue, including header and table, until it is told to stop.
fn mutate(name: &str) {
    let mut bytes = SharedArray::<u8>::open(name).unwrap();
    let mut number = 0x2545_f491_4f6c_dd1d_u64;
    say("mutating");
    for _ in 0..3000 {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        // Mostly at words in use.
        let end = if number.is_multiple_of(4) { bytes.len() } else { 6000 };
        let at = usize::try_from(number >> 8).unwrap() % end;
        let old = bytes.get([at]).unwrap();
        bytes.set([at], old ^ (1 << (number % 8))).unwrap();
        std::thread::yield_now();
    }
}

#[test]
fn programs_that_share_a_name_share_a_queue() {
    alone_in_turn(|| {
        let (jobs_name, results_name) = (unique("jobs"), unique("results"));
        let jobs = Queue::<u64>::create(&jobs_name, 4).unwrap();
        let results = Queue::<u64>::create(&results_name, 4).unwrap();
        let start = || Part::start("square", &[&jobs_name, &results_name]);
        let mut workers: Vec<Part> = (0..3).map(|_| start()).collect();
        workers.iter_mut().for_each(|worker| worker.expect("ready"));
        let sum = std::thread::scope(|scope| {
            scope.spawn(|| {
                (1..=100).for_each(|n| jobs.put(n).unwrap());
                jobs.close().unwrap();
            });
            (1..=100).map(|_| results.get_timeout(LONG).unwrap()).sum::<u64>()
        });
        assert_eq!(sum, 338_350);
        workers.into_iter().for_each(Part::succeeds);
        drop((jobs, results));
        assert!(!path_of(&jobs_name).exists() && !path_of(&results_name).exists());
    });
}

#[test]
fn a_killed_producer_tears_no_message_and_stops_no_other() {
    alone_in_turn(|| {
        let name = unique("killed");
        let queue = Queue::<Message>::create(&name, 16).unwrap();
        let endless = u64::MAX.to_string();
        let mut last: HashMap<u32, u64> = HashMap::new();
        let mut take = |count: u32| {
            for _ in 0..count {
                let (sender, number, bytes) = queue.get_timeout(LONG).unwrap();
                assert_eq!(bytes, body(number), "of sender {sender}");
                let expected = last.get(&sender).map_or(0, |last| last + 1);
                assert_eq!(number, expected, "of sender {sender}: lost, doubled or reordered");
                last.insert(sender, number);
            }
        };
        for round in 0..12u32 {
            let start = |half: u32| {
                let sender = (round * 2 + half).to_string();
                Part::start("produce", &[&name, &sender, &endless])
            };
            let (mut first, mut second) = (start(0), start(1));
            first.expect("producing");
            second.expect("producing");
            take(200);
            first.kill();
            take(200);
            second.kill();
            progress();
            // The remaining messages are complete, and the queue works as if it were new.
            while let Ok((sender, number, bytes)) = queue.get_timeout(Duration::from_millis(150)) {
                assert_eq!(bytes, body(number), "of sender {sender}");
            }
            queue.put_timeout((u32::MAX - round, 0, body(0)), LONG).unwrap();
            assert_eq!(queue.get_timeout(LONG).unwrap().0, u32::MAX - round);
        }
    });
}

#[test]
fn a_queue_says_what_it_is_and_refuses_to_be_something_else() {
    alone_in_turn(|| {
        let name = unique("type");
        let queue = Queue::<u64>::create(&name, 10).unwrap();
        assert_eq!(queue.name(), Some(name.as_str()));
        assert!(matches!(Queue::<u64>::create(&name, 10), Err(Error::NameTaken { .. })));
        assert!(matches!(Queue::<i64>::open(&name), Err(Error::Layout { .. })));
        assert!(matches!(
            JoinableQueue::<u64>::create_or_open(&name, 10),
            Err(Error::Layout { .. })
        ));
        assert!(matches!(SharedArray::<f64>::open(&name), Err(Error::Layout { .. })));
        assert!(matches!(Queue::<u64>::create(&name, 0), Err(Error::InvalidArgument { .. })));
        for bad in ["", "..", "a/b", "nul\0"] {
            assert!(matches!(Queue::<u64>::create(bad, 1), Err(Error::BadName { .. })));
            assert!(matches!(Queue::<u64>::open(bad), Err(Error::BadName { .. })));
        }
        let array = unique("array");
        let _array = SharedArray::<u8>::create(&array, [100_000]).unwrap();
        assert!(matches!(Queue::<u64>::open(&array), Err(Error::Layout { .. })));
        queue.put_many(vec![1, 2, 3]).unwrap();
        let info = RegionInfo::of(&name).unwrap();
        let RegionKind::Primitive { name: "queue", messages, .. } = *info.kind() else {
            panic!("{info:?}")
        };
        assert_eq!(messages, Some(3));
        (1..=3).for_each(|n| assert_eq!(queue.get().unwrap(), n));
        assert_eq!(info.participants()[0].pid, std::process::id());
        queue.unlink().unwrap();
        assert!(matches!(queue.unlink(), Err(Error::NotFound { .. })));
        queue.put(1).unwrap();
        assert_eq!(queue.get().unwrap(), 1, "it works on without its name");
        assert!(matches!(Queue::<u64>::open(&name), Err(Error::NotFound { .. })));
        assert!(matches!(Queue::<u64>::new(3).unwrap().unlink(), Err(Error::NotFound { .. })));
    });
}

#[test]
fn every_queue_goes_with_its_last_handle_and_a_kept_one_stays_with_what_is_in_it() {
    alone_in_turn(|| {
        let name = unique("kept");
        let queue = JoinableQueue::<u32>::create(&name, 10).unwrap();
        let other = JoinableQueue::<u32>::open(&name).unwrap();
        drop(queue);
        other.put(5).unwrap();
        let info = RegionInfo::of(&name).unwrap();
        assert!(matches!(info.kind(), RegionKind::Primitive { messages: Some(1), .. }), "{info:?}");
        assert_eq!(other.get().unwrap(), 5);
        other.task_done().unwrap();
        drop(other);
        assert!(!path_of(&name).exists());
        let simple = SimpleQueue::<String>::builder().create_or_open(&name).unwrap();
        simple.put("kept".to_owned()).unwrap();
        simple.keep().unwrap();
        drop(simple);
        assert_eq!(RegionInfo::of(&name).unwrap().state(), RegionState::Kept);
        let simple = SimpleQueue::<String>::open(&name).unwrap();
        assert_eq!(simple.get().unwrap(), "kept");
        simple.unlink().unwrap();
    });
}

#[test]
fn what_killed_programs_left_in_a_queue_is_dead_and_its_name_is_free() {
    alone_in_turn(|| {
        let name = unique("dead");
        let mut holder = Part::start("hold-queue", &[&name]);
        holder.expect("holding");
        let pid = holder.pid();
        assert_eq!(Queue::<u64>::open(&name).unwrap().len(), 1);
        holder.kill();
        let info = RegionInfo::of(&name).unwrap();
        assert_eq!(info.state(), RegionState::Dead);
        let user = info.participants()[0].clone();
        assert_eq!((user.pid, user.lives), (pid, false));
        let again = Queue::<u64>::create_or_open(&name, 10).unwrap();
        assert!(again.is_empty(), "what the dead left is replaced");
    });
}

#[test]
fn many_that_make_or_open_a_queue_at_once_never_see_half_of_one() {
    alone_in_turn(|| {
        let name = unique("either");
        let mut all: Vec<Part> =
            (0..4).map(|_| Part::start("either-queue", &[&name, "500"])).collect();
        all.iter_mut().for_each(|part| part.expect("ready"));
        all.iter_mut().for_each(Part::go_on);
        all.into_iter().for_each(Part::succeeds);
        assert!(!path_of(&name).exists());
    });
}

#[test]
fn opening_from_another_pid_namespace_says_so() {
    alone_in_turn(|| {
        let probe = Command::new("unshare").args(["-pf", "--mount-proc", "true"]).output();
        if !probe.is_ok_and(|output| output.status.success()) {
            skipped("no pid namespaces here");
            return;
        }
        let name = unique("namespace");
        let queue = Queue::<u64>::create(&name, 10).unwrap();
        let launcher = ["unshare", "-pf", "--mount-proc"];
        Part::start_by(&launcher, "open-elsewhere", &[&name]).succeeds();
        assert!(path_of(&name).exists());
        queue.put(1).unwrap();
    });
}

#[test]
fn a_named_queue_crosses_into_tasks_and_messages_by_its_name() {
    alone_in_turn(|| {
        let (name, letters) = (unique("crossing"), unique("letters"));
        let queue = Queue::<u64>::create(&name, 10).unwrap();
        let pool = brigade::Pool::builder().workers(1).build().unwrap();
        let task = pool.submit(|queue: Queue<u64>| queue.put(5).is_ok(), queue.clone()).unwrap();
        assert!(task.join().unwrap());
        assert_eq!(queue.get().unwrap(), 5);
        let post = Queue::<Queue<u64>>::create(&letters, 2).unwrap();
        // The last handle is sent away, and the name is removed with it.
        post.put(queue.clone()).unwrap();
        post.get().unwrap().put(6).unwrap();
    });
}

#[test]
fn a_queue_that_another_process_writes_over_answers_every_call() {
    alone_in_turn(|| {
        let name = unique("mutated");
        let mut mutator: Option<Part> = None;
        let (mut fine, mut refused) = (0u32, 0u32);
        for round in 0..6 {
            let queue = Queue::<Message>::create(&name, 8).unwrap();
            let mut part = Part::start("mutate-queue", &[&name]);
            part.expect("mutating");
            drop(mutator.replace(part));
            for number in 0..40 {
                progress();
                let put =
                    queue.put_timeout((round, number, body(number)), Duration::from_millis(5));
                let got = queue.get_timeout(Duration::from_millis(5));
                match (put, got) {
                    (Ok(()), Ok(_)) => fine += 1,
                    _ => refused += 1,
                }
                let _ = Queue::<Message>::open(&name).map(|queue| queue.len());
                let _ = RegionInfo::of(&name);
            }
            // Whatever its bytes are by now, the file belongs to this test.
            queue.unlink().unwrap();
        }
        drop(mutator);
        assert!(fine > 0, "{fine} fine, {refused} refused");
        println!("{fine} fine, {refused} refused");
    });
}

/// The positions of the words and the ring of a joinable queue, from the start of its body.
mod joinable {
    pub(super) const TAKEN: u64 = 16 + 1024;
    const RING: u64 = 3200;
    pub(super) const TAIL: u64 = RING + 256;
    /// Two words that count popped messages; a third says which of them is valid.
    pub(super) const POPPED: [u64; 2] = [RING + 456, RING + 464];
    pub(super) const HEAD: u64 = RING + 512;
}

#[derive(Debug, Serialize, Deserialize)]
enum Tree {
    Leaf,
    Node(Box<Tree>),
}

fn is_codec<T>(outcome: &Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::Codec { .. }))
}

/// Class of bug: the bytes of a named queue encode endless nesting or endless elements.
#[test]
fn bytes_that_nest_or_count_without_a_bound_are_an_error_for_every_consumer() {
    alone_in_turn(|| {
        let (deep, many) = (vec![1u8; 1 << 20], [vec![0xff; 9], vec![1]].concat());
        let name = unique("deep");
        let queue =
            Queue::<Tree>::builder().capacity_bytes(1 << 21).capacity(8).create(&name).unwrap();
        (0..3).for_each(|_| queue.raw().unwrap().push(&deep, Timeout::Never).unwrap());
        assert!(is_codec(&queue.get()) && is_codec(&queue.get_many(2)));

        let name = unique("many");
        let queue = Queue::<Vec<()>>::create(&name, 8).unwrap();
        (0..3).for_each(|_| queue.raw().unwrap().push(&many, Timeout::Never).unwrap());
        assert!(is_codec(&queue.get_timeout(LONG)) && is_codec(&queue.get_many(2)));
        queue.put(vec![(); 1000]).unwrap();
        assert_eq!(queue.get().unwrap().len(), 1000);

        let (here, there) = Pipe::builder().capacity_bytes(1 << 21).duplex().unwrap();
        here.send_bytes(&deep).unwrap();
        assert!(is_codec(&there.recv::<Tree>()));
        here.send_bytes(&many).unwrap();
        assert!(is_codec(&there.recv::<Vec<()>>()));
    });
}

/// Class of bug: arithmetic under a lock trusts words of shared memory.
#[test]
fn counts_and_positions_at_the_end_of_their_range_are_corrupt_or_go_on_and_leave_no_lock_behind() {
    alone_in_turn(|| {
        let name = unique("counts");
        let queue = JoinableQueue::<Vec<u8>>::create(&name, 8).unwrap();
        queue.put(vec![1; 40]).unwrap();
        let bytes = Bytes::of(&name);
        let body = bytes.body().0;
        joinable::POPPED.iter().for_each(|&at| bytes.set(body + at, u64::MAX));
        for _ in 0..2 {
            let refused = queue.get_timeout(LONG);
            assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
        }
        joinable::POPPED.iter().for_each(|&at| bytes.set(body + at, 0));
        assert_eq!(queue.get_timeout(LONG).unwrap(), [1; 40]);

        // Positions only grow, and wrap; here in the middle of a message.
        for at in [joinable::HEAD, joinable::TAIL] {
            bytes.set(body + at, (1u64 << 20).wrapping_neg());
        }
        for _ in 0..40 {
            queue.put_timeout(vec![2; 60_000], LONG).unwrap();
            assert_eq!(queue.get_timeout(LONG).unwrap(), [2; 60_000]);
        }

        // As many as the word counts.
        queue.put(vec![3]).unwrap();
        bytes.set(body + joinable::TAKEN, bytes.word(body + joinable::TAKEN) | 0xff_ffff);
        let refused = queue.get_timeout(LONG);
        assert!(matches!(refused, Err(Error::Full { .. })), "{refused:?}");
        queue.task_done().unwrap();
        assert_eq!(queue.get_timeout(LONG).unwrap(), [3]);
    });
}

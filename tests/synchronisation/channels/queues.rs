//! The behaviour of a queue.

use std::time::{Duration, Instant};

use brigade::sync::Timeout;
use brigade::{Error, Pipe, Queue, SharedArray, SimpleQueue, wait_any};
use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};

use super::{LONG, SHORT};
use crate::common::alone::alone;
use crate::common::tasks::with;
use crate::common::time::ThreadId;
use crate::common::unique;

#[test]
fn a_queue_of_six_is_full_after_six_and_empty_after_six_more_calls() {
    alone(|| {
        let queue = Queue::<u32>::new(6).unwrap();
        for n in 0..6 {
            assert!(!queue.is_full());
            queue.try_put(n).unwrap();
        }
        assert!(queue.is_full());
        assert_eq!((queue.len(), queue.capacity()), (6, 6));
        let refused = queue.try_put(6).unwrap_err();
        assert!(matches!(*refused.error, Error::Full { what: "the queue", .. }), "{refused}");
        assert_eq!(refused.value, 6);
        for timeout in [SHORT, Duration::ZERO] {
            let start = Instant::now();
            let refused = queue.put_timeout(7, timeout).unwrap_err();
            assert!(matches!(*refused.error, Error::TimedOut { .. }), "{refused}");
            assert!(start.elapsed() >= timeout);
        }
        assert_eq!(
            (0..6).map(|_| queue.try_get().unwrap()).collect::<Vec<_>>(),
            [0, 1, 2, 3, 4, 5]
        );
        assert!(queue.is_empty() && !queue.is_full());
        assert!(matches!(queue.try_get(), Err(Error::Empty { what: "the queue" })));
        let start = Instant::now();
        assert!(matches!(queue.get_timeout(SHORT), Err(Error::TimedOut { .. })));
        assert!(start.elapsed() >= SHORT);
    });
}

#[test]
fn a_producer_that_waits_for_room_goes_on_when_there_is_some() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let queue = Queue::<u32>::new(2).unwrap();
        let put = |queue: Queue<u32>| (0..1000).for_each(|n| queue.put(n).unwrap());
        let task = pool.submit(put, queue.clone()).unwrap();
        assert_eq!(
            (0..1000).map(|_| queue.get().unwrap()).collect::<Vec<_>>(),
            Vec::from_iter(0..1000)
        );
        task.join().unwrap();
    });
}

/// The sender, and the number.
type Numbered = (u8, u64);

#[test]
fn messages_of_a_producer_come_out_once_and_in_its_order() {
    const EACH: u64 = 3000;
    alone(|| {
        let pool = with(4).build().unwrap();
        let (inbox, outbox) = (Queue::<Numbered>::new(10).unwrap(), Queue::new(10).unwrap());
        let produce = |(id, queue): (u8, Queue<Numbered>)| {
            for n in 0..EACH {
                if n % 7 == 0 {
                    queue.put_many([(id, n)]).unwrap();
                } else {
                    queue.put((id, n)).unwrap();
                }
            }
        };
        let pass_on = |(from, to): (Queue<Numbered>, Queue<Numbered>)| {
            while let Ok(values) = from.get_many(3) {
                to.put_many(values).unwrap();
            }
        };
        let producers: Vec<_> =
            (0..2).map(|id| pool.submit(produce, (id, inbox.clone())).unwrap()).collect();
        let one = pool.submit(pass_on, (inbox.clone(), outbox.clone())).unwrap();
        let mut next = [0, 0];
        for _ in 0..2 * EACH {
            let (id, n) = outbox.get().unwrap();
            assert_eq!(n, next[usize::from(id)]);
            next[usize::from(id)] += 1;
        }
        producers.into_iter().for_each(|producer| producer.join().unwrap());
        inbox.close().unwrap();
        one.join().unwrap();
        assert!(outbox.is_empty());
    });
}

/// A number that cannot be encoded if it is odd.
#[derive(Debug, PartialEq, Deserialize)]
struct Even(u32);

impl Serialize for Even {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 % 2 == 1 {
            return Err(S::Error::custom("odd"));
        }
        self.0.serialize(serializer)
    }
}

#[test]
fn a_value_that_cannot_be_encoded_comes_back_and_later_ones_flow() {
    alone(|| {
        let queue = Queue::<Even>::new(6).unwrap();
        queue.put(Even(2)).unwrap();
        let refused = queue.put(Even(3)).unwrap_err();
        assert_eq!(refused.value, Even(3));
        assert!(matches!(*refused.error, Error::Codec { action: "encoded", .. }), "{refused}");
        assert_eq!(queue.len(), 1);
        let refused = queue.put_many([4, 6, 7, 8].map(Even)).unwrap_err();
        assert_eq!(refused.value, [7, 8].map(Even));
        assert_eq!(queue.len(), 3);
        queue.put(Even(8)).unwrap();
        assert_eq!(queue.get_many(9).unwrap(), [2, 4, 6, 8].map(Even));
    });
}

#[test]
fn a_message_of_another_type_is_an_error_and_the_next_can_be_taken() {
    alone(|| {
        let queue = Queue::<String>::new(6).unwrap();
        queue.raw().unwrap().push([200, 1, 2], Timeout::Never).unwrap();
        queue.put("kept".into()).unwrap();
        assert!(matches!(queue.get(), Err(Error::Codec { action: "decoded", .. })));
        assert_eq!(queue.get().unwrap(), "kept");
    });
}

#[test]
fn many_values_go_as_far_as_there_is_room_and_the_rest_comes_back() {
    alone(|| {
        let queue = Queue::<u32>::new(4).unwrap();
        let refused = queue.try_put_many(0..7).unwrap_err();
        assert!(matches!(*refused.error, Error::Full { .. }), "{refused}");
        assert_eq!(refused.value, [4, 5, 6]);
        assert_eq!(queue.get_many(3).unwrap(), [0, 1, 2]);
        assert_eq!(queue.try_get_many(3).unwrap(), [3]);
        assert!(matches!(queue.try_get_many(3), Err(Error::Empty { .. })));
    });
}

#[test]
fn a_queue_that_is_closed_gives_out_what_it_has_and_then_says_so() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let queue = Queue::<u32>::new(6).unwrap();
        queue.put_many([1, 2]).unwrap();
        queue.close().unwrap();
        let refused = queue.put(3).unwrap_err();
        assert_eq!(refused.value, 3);
        assert!(matches!(*refused.error, Error::Closed { what: "the queue" }), "{refused}");
        let drain = |queue: Queue<u32>| {
            let taken = [queue.get().unwrap(), queue.get().unwrap()];
            (taken, matches!(queue.get(), Err(Error::Closed { .. })))
        };
        assert_eq!(pool.submit(drain, queue).unwrap().join().unwrap(), ([1, 2], true));
    });
}

#[test]
fn a_queue_that_is_closed_at_once_loses_its_messages_and_releases_its_waiters() {
    alone(|| {
        let pool = with(2).build().unwrap();
        let (full, empty) = (Queue::<u32>::new(2).unwrap(), Queue::<u32>::new(2).unwrap());
        full.put_many([1, 2]).unwrap();
        let waiting = Queue::<u32>::new(2).unwrap();
        let producer = |(full, waiting): (Queue<u32>, Queue<u32>)| {
            waiting.put(std::process::id()).unwrap();
            matches!(*full.put(3).unwrap_err().error, Error::Closed { .. })
        };
        let consumer = |(empty, waiting): (Queue<u32>, Queue<u32>)| {
            waiting.put(std::process::id()).unwrap();
            matches!(empty.get(), Err(Error::Closed { .. }))
        };
        let producer = pool.submit(producer, (full.clone(), waiting.clone())).unwrap();
        let consumer = pool.submit(consumer, (empty.clone(), waiting.clone())).unwrap();
        for _ in 0..2 {
            ThreadId::main_of(waiting.get().unwrap()).wait_until_blocked();
        }
        assert_eq!(full.close_now().unwrap(), 2);
        assert_eq!(empty.close_now().unwrap(), 0);
        assert!(producer.join().unwrap() && consumer.join().unwrap());
        assert!(matches!(full.try_get(), Err(Error::Closed { .. })));
    });
}

#[test]
fn a_message_of_16_mb_goes_to_a_task_and_back() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let queue = || Queue::<Vec<u8>>::builder().capacity_bytes(17 << 20).build().unwrap();
        let (there, back) = (queue(), queue());
        let flip = |(there, back): (Queue<Vec<u8>>, Queue<Vec<u8>>)| {
            let message = there.get().unwrap();
            back.put(message.iter().map(|byte| !byte).collect()).unwrap();
        };
        let task = pool.submit(flip, (there.clone(), back.clone())).unwrap();
        let message: Vec<u8> = (0..16u32 << 20).map(|i| i.to_le_bytes()[i as usize % 3]).collect();
        there.put(message.clone()).unwrap();
        let flipped = back.get().unwrap();
        assert!(
            flipped.len() == message.len() && flipped.iter().zip(&message).all(|(a, b)| *a == !b)
        );
        task.join().unwrap();
    });
}

#[test]
fn a_message_that_can_never_fit_is_refused_at_once() {
    alone(|| {
        let queue = Queue::<Vec<u8>>::builder().capacity_bytes(1000).build().unwrap();
        let limit = queue.capacity_bytes();
        let refused = queue.put(vec![1; limit]).unwrap_err();
        assert_eq!(refused.value.len(), limit);
        let limit = limit as u64;
        assert!(
            matches!(*refused.error, Error::TooLarge { limit_bytes, .. } if limit_bytes == limit)
        );
        queue.put(vec![2; 900]).unwrap();
        assert_eq!(queue.get().unwrap(), [2; 900]);
        for builder in [Queue::<u8>::builder().capacity(0), Queue::builder().capacity_bytes(0)] {
            assert!(matches!(builder.build(), Err(Error::InvalidArgument { .. })));
        }
    });
}

#[test]
fn an_array_travels_by_its_name() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let name = unique("message");
        let mut array = SharedArray::<f64>::named(&name, [3]).unwrap();
        array.copy_from_slice(&[1.0, 2.0, 4.0]).unwrap();
        let queue = Queue::<String>::new(1).unwrap();
        let sum = |queue: Queue<String>| {
            let array = SharedArray::<f64>::open(&queue.get().unwrap()).unwrap();
            array.copy_to_vec().iter().sum::<f64>()
        };
        let task = pool.submit(sum, queue.clone()).unwrap();
        queue.put(array.name().to_owned()).unwrap();
        assert_eq!(task.join().unwrap(), 7.0);
    });
}

#[test]
fn bytes_are_written_and_read_in_place() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let queue = Queue::<()>::builder().capacity_bytes(4096).build().unwrap();
        let write = |queue: Queue<()>| {
            for n in 0..100u8 {
                let mut room = queue.raw().unwrap().reserve(1000, Timeout::Never).unwrap();
                room.write_at(0, &[n; 1000]);
                room.commit_first(500 + usize::from(n));
            }
        };
        let task = pool.submit(write, queue.clone()).unwrap();
        for n in 0..100u8 {
            let message = queue.raw().unwrap().read(LONG).unwrap();
            let mut bytes = vec![0; message.length()];
            message.read_at(0, &mut bytes);
            assert_eq!(bytes, vec![n; 500 + usize::from(n)]);
            message.consume();
        }
        task.join().unwrap();
    });
}

#[test]
fn whichever_of_many_is_ready_ends_a_wait() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let (numbers, words) =
            (Queue::<u32>::new(2).unwrap(), SimpleQueue::<String>::simple().unwrap());
        let (here, there) = Pipe::duplex().unwrap();
        assert_eq!(wait_any(&[&numbers, &words, &here], Some(SHORT)).unwrap(), []);
        assert_eq!(wait_any(&[], None).unwrap(), [], "it would be for ever");
        let send = |(numbers, words, there): (Queue<u32>, SimpleQueue<String>, _)| {
            let there: brigade::Connection = there;
            let next = |turn: u32| assert_eq!(there.recv::<u32>().unwrap(), turn);
            next(0);
            words.put("one".into()).unwrap();
            next(1);
            numbers.put(2).unwrap();
            next(2);
            there.send(&3u32).unwrap();
            next(3);
        };
        let task = pool.submit(send, (numbers.clone(), words.clone(), there)).unwrap();
        here.send(&0u32).unwrap();
        assert_eq!(wait_any(&[&numbers, &words, &here], None).unwrap(), [1]);
        assert_eq!(words.get().unwrap(), "one");
        here.send(&1u32).unwrap();
        assert_eq!(wait_any(&[&numbers, &words, &here], Some(LONG)).unwrap(), [0]);
        assert_eq!(numbers.get().unwrap(), 2);
        here.send(&2u32).unwrap();
        assert_eq!(wait_any(&[&numbers, &words, &here], None).unwrap(), [2]);
        assert_eq!(here.recv::<u32>().unwrap(), 3);
        here.send(&3u32).unwrap();
        // The task's end of the pipe is closed when the task ends.
        assert_eq!(wait_any(&[&numbers, &words, &here], None).unwrap(), [2]);
        assert!(matches!(here.recv::<u32>(), Err(Error::Closed { .. })));
        task.join().unwrap();
    });
}

#[test]
fn a_queue_takes_the_message_that_its_documentation_promises_and_the_longest_that_it_says() {
    alone(|| {
        for (capacity, promised) in
            [(1, 64 << 10), (64, 64 << 10), (100, 100 << 10), (5000, 4 << 20)]
        {
            let queue = Queue::<Vec<u8>>::new(capacity).unwrap();
            let longest = queue.capacity_bytes();
            assert!((promised..=2 * promised).contains(&longest), "{longest} for {promised}");
            let raw = queue.raw().unwrap();
            raw.push(vec![1; longest], Timeout::Now).unwrap();
            assert_eq!(raw.pop(Timeout::Never).unwrap().len(), longest);
            let refused = raw.push(vec![1; longest + 1], Timeout::Now).unwrap_err().error;
            assert!(matches!(refused, Error::TooLarge { .. }), "{refused}");
        }
    });
}

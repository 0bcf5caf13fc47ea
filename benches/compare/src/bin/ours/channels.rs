//! Brigade's queues and pipes, between this process and a worker.

use std::hint::black_box;
use std::time::Instant;

use brigade::sync::{MessageBatch, Timeout};
use brigade::{Connection, Pipe, Queue};
use brigade_compare::protocol::{Arguments, Repetition};
use brigade_compare::stopwatch::seconds_a_call;

use crate::tasks::build;

/// The messages that the queue holds, as in its rivals' channels.
const CAPACITY: usize = 1024;
/// Messages in a batch.
const BATCH: usize = 64;
const MESSAGE: [u8; 64] = [7; 64];

/// The bytes of a queue that holds as many messages as its rivals' channels.
fn queue() -> Queue<()> {
    let bytes = CAPACITY * (MESSAGE.len() + 8) / 2;
    Queue::builder().capacity_bytes(bytes).build().expect("there is memory")
}

/// How many 64-byte messages a second pass from one process to another?
pub(crate) fn messages(arguments: &Arguments) -> Repetition {
    let (pool, count) = (build(1), arguments.number::<u32>("messages"));
    Box::new(move || {
        let queue = queue();
        let send = |(queue, count): (Queue<()>, u32)| {
            let ring = queue.raw().expect("it is no forked child");
            (0..count).for_each(|_| ring.push(MESSAGE, Timeout::Never).expect("it is open"));
        };
        let sender = pool.submit(send, (queue.clone(), count)).expect("the pool is open");
        let ring = queue.raw().expect("it is no forked child");
        let mut message = Vec::new();
        let mut receive = |messages: u32| {
            for _ in 0..messages {
                ring.pop_into(&mut message, Timeout::Never).expect("it is open");
                black_box(&message);
            }
        };
        let warm = count / 10;
        receive(warm);
        let start = Instant::now();
        receive(count - warm);
        let seconds = start.elapsed().as_secs_f64();
        sender.join().expect("the task returns");
        vec![("messages_per_s", f64::from(count - warm) / seconds)]
    })
}

/// The same in batches of 64.
pub(crate) fn batched(arguments: &Arguments) -> Repetition {
    let (pool, count) = (build(1), arguments.number::<usize>("messages"));
    Box::new(move || {
        let queue = queue();
        let send = |(queue, count): (Queue<()>, usize)| {
            let ring = queue.raw().expect("it is no forked child");
            for _ in 0..count / BATCH {
                ring.push_batch(&[MESSAGE; BATCH], Timeout::Never).expect("it is open");
            }
        };
        let sender = pool.submit(send, (queue.clone(), count)).expect("the pool is open");
        let ring = queue.raw().expect("it is no forked child");
        let mut batch = MessageBatch::new();
        let mut receive = |messages: usize| {
            let mut received = 0;
            while received < messages {
                ring.pop_batch(&mut batch, BATCH, Timeout::Never).expect("it is open");
                received += black_box(&batch).len();
            }
            received
        };
        let all = count / BATCH * BATCH;
        let warm = receive(all / 10);
        let start = Instant::now();
        let measured = receive(all - warm);
        let seconds = start.elapsed().as_secs_f64();
        sender.join().expect("the task returns");
        vec![("messages_per_s", measured as f64 / seconds)]
    })
}

/// How long does a number take to a waiting worker and back?
pub(crate) fn round_trip(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(1), arguments.budget());
    Box::new(move || {
        let (here, there) = Pipe::duplex().expect("there is memory");
        let echo = |there: Connection| {
            let mut number = [0; 8];
            while there.recv_bytes_into(&mut number).is_ok() {
                there.send_bytes(&number).expect("the peer is there");
            }
        };
        let task = pool.submit(echo, there).expect("the pool is open");
        let mut number = [1; 8];
        let seconds = seconds_a_call(budget, || {
            here.send_bytes(&number).expect("the peer is there");
            here.recv_bytes_into(&mut number).expect("the peer is there");
        });
        drop(here);
        task.join().expect("the task returns");
        vec![("round_trip_us", seconds * 1e6)]
    })
}

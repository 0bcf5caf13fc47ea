//! Channels and locks of Rust crates.

use std::hint::{black_box, spin_loop};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use brigade_compare::protocol::{Arguments, Repetition};
use brigade_compare::stopwatch::seconds_a_call;

type Message = [u8; 64];

/// Slots of the bounded channels.
const CAPACITY: usize = 1024;

/// How many 64-byte messages a second pass between two threads, with any number of senders?
pub(crate) fn crossbeam_messages(arguments: &Arguments) -> Repetition {
    let count: u32 = arguments.number("messages");
    Box::new(move || {
        let (sender, receiver) = crossbeam_channel::bounded::<Message>(CAPACITY);
        let send = move || (0..count).all(|_| sender.send([7; 64]).is_ok());
        let receive = move || receiver.recv().is_ok();
        vec![("messages_per_s", messages_a_second(count, send, receive))]
    })
}

/// How many 64-byte messages a second pass if 64 of them are sent as one?
pub(crate) fn crossbeam_batches(arguments: &Arguments) -> Repetition {
    const BATCH: u32 = 64;
    let count: u32 = arguments.number::<u32>("messages") / BATCH;
    Box::new(move || {
        let (sender, receiver) = crossbeam_channel::bounded::<Box<[Message]>>(CAPACITY / 64);
        let batch = || vec![[7; 64]; BATCH as usize].into_boxed_slice();
        let send = move || (0..count).all(|_| sender.send(batch()).is_ok());
        let receive = move || receiver.recv().map(black_box).is_ok();
        let batches = messages_a_second(count, send, receive);
        vec![("messages_per_s", batches * f64::from(BATCH))]
    })
}

/// How many 64-byte messages a second pass between one sending and one receiving thread?
pub(crate) fn rtrb_messages(arguments: &Arguments) -> Repetition {
    let count: u32 = arguments.number("messages");
    Box::new(move || {
        let (mut producer, mut consumer) = rtrb::RingBuffer::<Message>::new(CAPACITY);
        let send = move || {
            for _ in 0..count {
                while producer.push([7; 64]).is_err() {
                    spin_loop();
                }
            }
            true
        };
        let receive = move || {
            while consumer.pop().map(black_box).is_err() {
                spin_loop();
            }
            true
        };
        vec![("messages_per_s", messages_a_second(count, send, receive))]
    })
}

/// How many 64-byte messages a second pass through a socket that could lead to another process?
pub(crate) fn ipc_channel_messages(arguments: &Arguments) -> Repetition {
    let count: u32 = arguments.number("messages");
    Box::new(move || {
        let (sender, receiver) = ipc_channel::ipc::bytes_channel().expect("a socket pair");
        let send = move || (0..count).all(|_| sender.send(&[7; 64]).is_ok());
        let receive = move || receiver.recv().is_ok();
        vec![("messages_per_s", messages_a_second(count, send, receive))]
    })
}

/// What does an uncontended lock and unlock cost?
pub(crate) fn std_lock(arguments: &Arguments) -> Repetition {
    const LOCKS: u32 = 1000;
    let budget = arguments.budget();
    let lock = Mutex::new(0u64);
    Box::new(move || {
        let seconds = seconds_a_call(budget, || {
            for _ in 0..LOCKS {
                *black_box(&lock).lock().expect("nobody panics") += 1;
            }
        });
        vec![("lock_unlock_ns", seconds * 1e9 / f64::from(LOCKS))]
    })
}

/// Receives `count` messages while another thread sends them. A tenth more are sent first, to warm
/// up both.
fn messages_a_second(
    count: u32,
    send: impl FnOnce() -> bool + Send,
    mut receive: impl FnMut() -> bool,
) -> f64 {
    let warm = count / 10;
    thread::scope(|scope| {
        let sender = scope.spawn(send);
        assert!((0..warm).all(|_| receive()), "the channel broke");
        let start = Instant::now();
        assert!((warm..count).all(|_| receive()), "the channel broke");
        let seconds = start.elapsed().as_secs_f64();
        assert!(sender.join().expect("the sender does not panic"), "the channel broke");
        f64::from(count - warm) / seconds
    })
}

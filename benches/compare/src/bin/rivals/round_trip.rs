//! The round-trip time of a message through iceoryx2.

use std::hint::{black_box, spin_loop};
use std::thread;

use brigade_compare::protocol::{Arguments, Repetition};
use brigade_compare::stopwatch::seconds_a_call;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::{Config, FileName, NodeBuilder, Path, SemanticString, ipc};

/// Where iceoryx2 keeps its state, and the prefix of its files in `/dev/shm`. It leaves some of
/// them, and `compare.py` removes them.
const ROOT: &[u8] = b"/tmp/brigade-compare-iceoryx2";
const PREFIX: &[u8] = b"brigade-compare-";

/// A message after which the other side ends.
const LEAVE: u64 = u64::MAX;

/// The sending end of one direction and the receiving end of the other.
struct Side {
    publisher: Publisher<ipc::Service, u64, ()>,
    subscriber: Subscriber<ipc::Service, u64, ()>,
}

/// How long is a round trip through shared memory, both sides polling?
///
/// The far side is a thread with its own node, so messages take the same path as between processes.
pub(crate) fn iceoryx2(arguments: &Arguments) -> Repetition {
    let budget = arguments.budget();
    let names =
        ["there", "back"].map(|way| format!("brigade-compare/{}/{way}", std::process::id()));
    Box::new(move || {
        let near = Side::open(&names[0], &names[1]);
        thread::scope(|scope| {
            scope.spawn(|| Side::open(&names[1], &names[0]).echo());
            // Sent repeatedly until an answer arrives: the far side may not have subscribed yet.
            while near.subscriber.receive().expect("the service works").is_none() {
                near.send(0);
            }
            let seconds = seconds_a_call(budget, || {
                near.send(1);
                while black_box(near.receive()) != 1 {}
            });
            near.send(LEAVE);
            vec![("round_trip_us", seconds * 1e6)]
        })
    })
}

impl Side {
    fn open(to: &str, from: &str) -> Side {
        let mut config = Config::default();
        config.global.set_root_path(&Path::new(ROOT).expect("a valid path"));
        config.global.prefix = FileName::new(PREFIX).expect("a valid name");
        let node = NodeBuilder::new().config(&config).create::<ipc::Service>().expect("a node");
        let service = |name: &str| {
            let name = name.try_into().expect("a valid name");
            let builder = node.service_builder(&name).publish_subscribe::<u64>();
            builder.open_or_create().expect("a service")
        };
        let publisher = service(to).publisher_builder().create().expect("a publisher");
        let subscriber = service(from).subscriber_builder().create().expect("a subscriber");
        Side { publisher, subscriber }
    }

    fn send(&self, value: u64) {
        let sample = self.publisher.loan_uninit().expect("a free sample");
        sample.write_payload(value).send().expect("the service works");
    }

    fn receive(&self) -> u64 {
        loop {
            if let Some(sample) = self.subscriber.receive().expect("the service works") {
                return *sample;
            }
            spin_loop();
        }
    }

    fn echo(&self) {
        loop {
            match self.receive() {
                LEAVE => return,
                value => self.send(value),
            }
        }
    }
}

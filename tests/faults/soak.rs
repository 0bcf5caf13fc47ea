//! Random operations and faults, for any length of time.
//!
//! `BRIGADE_SEED=N` replays the choices of a run; `BRIGADE_SOAK_SECONDS=N` sets the duration.

use std::time::{Duration, Instant};

use crate::common::Random;
use crate::common::alone::alone;
use crate::common::machine::{End, Kind, Op, run};
use brigade::ReturnWhen;

/// Operations by choice.
impl Random {
    fn kind(&mut self) -> Kind {
        match self.below(40) {
            0..20 => Kind::Quick,
            20..26 => Kind::Large(u16::try_from(self.below(400)).unwrap()),
            26..34 => Kind::Slow(u8::try_from(self.below(10)).unwrap()),
            34 | 35 => Kind::Panics,
            36 => Kind::Aborts,
            37 => Kind::Exits,
            38 => Kind::Polite,
            _ => Kind::Endless,
        }
    }

    fn when(&mut self) -> ReturnWhen {
        [ReturnWhen::FirstCompleted, ReturnWhen::FirstError, ReturnWhen::All][self.below(3)]
    }

    fn op(&mut self) -> Op {
        let at = self.below(64);
        match self.below(100) {
            0..50 => Op::Submit(self.kind()),
            50..55 => Op::Cancel(at),
            55..59 => Op::KillTask(at),
            59..66 => Op::KillWorker(at),
            66..68 => Op::StopWorker(at),
            68..70 => Op::ContinueWorker(at),
            70 => Op::KillServer,
            71 => Op::StopServer,
            72..82 => Op::Join(at),
            82 | 83 => Op::KillAfter(at, u8::try_from(self.below(30)).unwrap()),
            84 => Op::Resize(u8::try_from(self.below(4)).unwrap()),
            85 | 86 => Op::Then(at),
            87 => Op::OnFinish(at),
            88 => Op::Wait(self.when(), u8::try_from(self.below(10)).unwrap()),
            89 => Op::AsCompleted(self.below(20), u8::try_from(self.below(10)).unwrap()),
            90..97 => Op::JoinFor(at, u8::try_from(self.below(4)).unwrap()),
            _ => Op::Detach(at),
        }
    }
}

#[test]
fn a_pool_that_is_maltreated_for_a_long_time_keeps_its_promises() {
    alone(|| {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
        let seconds = number("BRIGADE_SOAK_SECONDS").unwrap_or(8);
        let seed = number("BRIGADE_SEED").unwrap_or_else(|| {
            u64::from(std::process::id()) << 20 | u64::from(Instant::now().elapsed().subsec_nanos())
        });
        println!("BRIGADE_SEED={seed}");
        let (start, mut rounds) = (Instant::now(), 0u64);
        while start.elapsed() < Duration::from_secs(seconds) {
            // Every round has its own seed, so that a late failure can be replayed at once.
            let round_seed = seed.wrapping_add(rounds).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut random = Random(round_seed);
            let (workers, count) = (1 + random.below(4), 20 + random.below(400));
            let ends = [End::Shutdown, End::Cancel, End::Terminate, End::Kill, End::Drop];
            let (is_sleepy, end) = (random.below(3) == 0, ends[random.below(5)]);
            let sleepy = if is_sleepy { " that sleep" } else { "" };
            println!("round {rounds}: {workers} workers{sleepy}, {count} operations, {end:?}");
            run(workers, is_sleepy, (0..count).map(move |_| random.op()), end);
            rounds += 1;
        }
    });
}

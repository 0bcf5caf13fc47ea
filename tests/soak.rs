//! Operations and faults at random, for as long as one likes.
//!
//! `BRIGADE_SEED=N` replays the choices of a run; `BRIGADE_SOAK_SECONDS=N` says how long.

mod common;

use std::time::{Duration, Instant};

use common::alone::alone;
use common::machine::{End, Kind, Op, run};

/// xorshift64*: enough to choose by.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap()
            % usize::try_from(bound).unwrap()
    }

    fn kind(&mut self) -> Kind {
        match self.below(40) {
            0..20 => Kind::Quick,
            20..26 => Kind::Large(u16::try_from(self.below(400)).unwrap()),
            26..34 => Kind::Slow(u8::try_from(self.below(10)).unwrap()),
            34 | 35 => Kind::Panics,
            36 => Kind::Aborts,
            37 => Kind::Exits,
            _ => Kind::Endless,
        }
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
            72..90 => Op::Join(at),
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
            // Every round has a seed of its own, so that a late failure replays at once.
            let round_seed = seed.wrapping_add(rounds).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut random = Random(round_seed);
            let (workers, count) = (1 + random.below(4), 20 + random.below(400));
            let end = if random.below(2) == 0 { End::Shutdown } else { End::Drop };
            println!("round {rounds}: {workers} workers, {count} operations, {end:?}");
            run(workers, (0..count).map(move |_| random.op()), end);
            rounds += 1;
        }
    });
}

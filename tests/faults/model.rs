//! Any short sequence of operations and faults keeps the pool's promises.

use crate::common::alone::alone;
use crate::common::machine::{End, Kind, Op, run};
use brigade::ReturnWhen;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![
        6 => Just(Kind::Quick),
        2 => (0u16..300).prop_map(Kind::Large),
        3 => (0u8..20).prop_map(Kind::Slow),
        1 => Just(Kind::Panics),
        1 => Just(Kind::Aborts),
        1 => Just(Kind::Exits),
        1 => Just(Kind::Endless),
        1 => Just(Kind::Polite),
    ]
}

fn whens() -> impl Strategy<Value = ReturnWhen> {
    let all = [ReturnWhen::FirstCompleted, ReturnWhen::FirstError, ReturnWhen::All];
    proptest::sample::select(all.to_vec())
}

fn ops() -> impl Strategy<Value = Op> {
    let at = || 0usize..8;
    prop_oneof![
        12 => kinds().prop_map(Op::Submit),
        2 => at().prop_map(Op::Cancel),
        2 => at().prop_map(Op::KillTask),
        2 => at().prop_map(Op::KillWorker),
        1 => at().prop_map(Op::StopWorker),
        1 => at().prop_map(Op::ContinueWorker),
        1 => Just(Op::KillServer),
        3 => at().prop_map(Op::Join),
        2 => (at(), 0u8..5).prop_map(|(at, millis)| Op::JoinFor(at, millis)),
        1 => at().prop_map(Op::Detach),
        1 => (at(), 0u8..40).prop_map(|(at, millis)| Op::KillAfter(at, millis)),
        2 => (0u8..4).prop_map(Op::Resize),
        2 => at().prop_map(Op::Then),
        2 => at().prop_map(Op::OnFinish),
        2 => (whens(), 0u8..20).prop_map(|(when, millis)| Op::Wait(when, millis)),
        1 => (at(), 0u8..20).prop_map(|(count, millis)| Op::AsCompleted(count, millis)),
    ]
}

#[test]
fn any_sequence_of_operations_and_faults_keeps_the_promises() {
    alone(|| {
        let long = std::env::var_os("BRIGADE_LONG").is_some();
        let cases = if long { 3000 } else { 40 };
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        let ends = [End::Shutdown, End::Cancel, End::Terminate, End::Kill, End::Drop];
        let end = proptest::sample::select(ends.to_vec());
        let all = (1usize..4, any::<bool>(), proptest::collection::vec(ops(), 0..40), end);
        let outcome = TestRunner::new(config).run(&all, |(workers, is_sleepy, ops, end)| {
            run(workers, is_sleepy, ops, end);
            Ok(())
        });
        outcome.unwrap();
    });
}

//! Tests of which slots get pinned tasks, without processes.

use std::sync::Arc;

use super::*;
use crate::object::transfer::LeaseList;
use crate::pool::record::worker_slot::WorkerSlot;
use crate::process::function::FunctionOffset;
use crate::region::arena::Arena;
use crate::worker::call::Encoded;
use crate::worker::host_side::HostSide;
use crate::worker::pool_control::HostPoolControl;
use crate::worker::queue_pair::LeaveReason;

const LEAVING: WorkerState = WorkerState::Retiring(RetireCause::Leaving(LeaveReason::Tasks));

/// A pool that should have `target` workers, with slots in these states.
fn pool(target: usize, slots: &[WorkerState]) -> State {
    let arena: Arc<Arena> = Arena::host().unwrap();
    let mut state = State::new(HostPoolControl::new(&arena).unwrap());
    state.target = target;
    for &slot in slots {
        let mut worker = WorkerSlot::vacant(HostSide::new(&arena).unwrap());
        worker.state = slot;
        state.workers.push(worker);
    }
    state
}

fn call() -> Call {
    let function = FunctionOffset::NONE;
    let (payload, leases) = (Encoded::default(), LeaseList::default());
    Call { function, name: "test", number: 0, payload, leases, shared_input: None }
}

fn pin(state: &mut State, worker: usize) -> TaskId {
    state.pin(call(), TaskOptions::default(), Pin { worker, broadcast: 1 }).unwrap()
}

// A task pinned to the empty slot was cancelled when the leaving worker was replaced.
#[test]
fn a_broadcast_goes_to_a_leaving_workers_slot_rather_than_to_an_empty_one() {
    let running = WorkerState::Running;
    let state = pool(3, &[WorkerState::Vacant, running, running, LEAVING]);
    assert_eq!(state.present_workers(), [1, 2, 3]);
    let state = pool(4, &[WorkerState::Vacant, running, running, LEAVING]);
    assert_eq!(state.present_workers(), [0, 1, 2, 3]);
}

#[test]
fn empty_slots_with_tasks_get_the_next_tasks_and_workers() {
    let mut state = pool(2, &[WorkerState::Running, WorkerState::Vacant, WorkerState::Vacant]);
    pin(&mut state, 2);
    assert_eq!(state.present_workers(), [0, 2]);
    assert_eq!(state.vacant(), [2, 1]);
}

#[test]
fn a_worker_that_has_not_passed_a_recalled_task_is_offered_a_pinned_one() {
    let mut state = pool(1, &[WorkerState::Running]);
    let first = state.tasks.insert(call(), TaskOptions::default()).unwrap();
    assert!(state.offer(0, first));
    let pinned = pin(&mut state, 0);
    state.offer_pinned();
    assert_eq!(state.workers[0].pinned, [pinned], "it has a task");
    assert_eq!(state.workers[0].host_side.recall_latest(1), [first]);
    state.offer_pinned();
    assert!(state.workers[0].pinned.is_empty());
    assert_eq!((state.workers[0].host_side.live(), state.unstarted_pinned(0)), (1, 1));
}

//! The frame of a scene in which a process is killed.

use std::time::Duration;

use super::stepping::{Child, Stage};
use crate::tracer::{KillPoint, Tracer, for_each_kill_point, some_kill_point};
use brigade::sync::Owner;

/// Far more than a wake-up takes, so that a test fails only for a hang.
pub(crate) const LONG: Duration = Duration::from_secs(10);

/// How long the negative controls wait for a sleeper that is not woken.
const SHORT: Duration = Duration::from_millis(15);

/// What happens after a death.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sweep {
    Whole,
    WithoutWakeUp,
}

/// One kill point, with its own stage.
pub(crate) struct Scene<'a> {
    point: &'a mut KillPoint,
    how: Sweep,
    stage: &'a Stage,
    doomed: &'a Owner,
}

impl Scene<'_> {
    /// Starts a process that calls `sleep`, and waits until it sleeps there.
    pub(crate) fn sleeper(&self, sleep: impl FnOnce()) -> Child {
        let sleeper = Child::fork(|| {
            sleep();
            self.stage.done();
        });
        sleeper.wait_until_asleep();
        sleeper
    }

    /// Runs the victim to the kill point, and kills it.
    pub(crate) fn kill(&mut self, victim: Tracer) {
        self.point.kill(victim);
    }

    /// Runs a full sweep after the death; returns how many words it released.
    pub(crate) fn sweep(&self) -> usize {
        // SAFETY: the tests kill and reap the process that uses this owner first.
        unsafe { self.stage.table().sweep(self.doomed.token()) }
    }

    /// Sweeps after the death and waits for the sleeper. If the condition of the sleeper does not
    /// hold, which `is_due` says, `remedy` makes it hold after the sweep. Returns whether the
    /// sleeper hung although the condition held.
    pub(crate) fn end(&self, sleeper: Child, is_due: bool, remedy: impl FnOnce()) -> bool {
        let mut hung = false;
        if self.how == Sweep::WithoutWakeUp {
            // SAFETY: the tests kill and reap the process that uses this owner first.
            unsafe { self.stage.table().mark_dead(self.doomed.token()) };
            hung = is_due && !self.stage.is_done_within(SHORT);
        }
        self.sweep();
        if !is_due {
            remedy();
        }
        assert!(self.stage.is_done_within(LONG), "the sleeper hangs");
        sleeper.join();
        hung
    }
}

/// Plays a scene at one kill point, with the owner of the process that dies and another one.
fn play_at<R>(
    point: &mut KillPoint,
    how: Sweep,
    scene: impl FnOnce(&mut Scene<'_>, &Stage, &Owner, &Owner) -> R,
) -> R {
    let stage = Stage::new();
    let (doomed, heir) = (stage.owner(), stage.owner());
    scene(&mut Scene { point, how, stage: &stage, doomed: &doomed }, &stage, &doomed, &heir)
}

/// Plays a scene at kill points all over the section of its victim.
pub(crate) fn each_death(mut scene: impl FnMut(&mut Scene<'_>, &Stage, &Owner, &Owner)) {
    for_each_kill_point(|point| play_at(point, Sweep::Whole, &mut scene));
}

/// Plays a scene twice: at kill points all over the section of its victim, where the sleeper must
/// never hang; and as a negative control, with a sweep without the wake-up, until it hangs.
pub(crate) fn play(scene: impl Fn(&mut Scene<'_>, &Stage, &Owner, &Owner) -> bool) {
    for_each_kill_point(|point| assert!(!play_at(point, Sweep::Whole, &scene)));
    let hung = some_kill_point(|point| play_at(point, Sweep::WithoutWakeUp, &scene));
    assert!(hung, "no point before the wake-up was found");
}

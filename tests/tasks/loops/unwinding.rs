//! Calls that unwind because user code panics.
//!
//! Class of bug: user code that a call runs in the host (`Serialize`, `Deserialize`, `Drop`, an
//! iterator, a subscriber of `tracing`, a watch) panics while tasks of the call are running. Each
//! call is repeated, and its k-th step of user code panics, for all k, until none does.

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, yield_now};

use brigade::shared::{Barrier, Value};
use brigade::{Error, OwnedChunk, Pool, SharedArray, SharedBigUint, Start};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::common::alone::{alone, progress};

const WORKERS: u32 = 2;
const LEN: usize = 1 << 12;

/// How many steps of user code remain before one panics; with 0 none does. Each worker has its own
/// copy, which is 0.
static FUSE: AtomicU32 = AtomicU32::new(0);

/// One step of user code.
fn step() {
    let left = FUSE.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    assert!(left != Ok(1), "a step of the user's");
}

/// A value each of whose methods is a step.
#[derive(Debug, Clone)]
struct Bomb(u32);

impl Serialize for Bomb {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        step();
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Bomb {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bomb, D::Error> {
        let number = u32::deserialize(deserializer)?;
        step();
        Ok(Bomb(number))
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        // A second panic would end the process, as anywhere in Rust.
        if !thread::panicking() {
            step();
        }
    }
}

fn bombs(count: u32) -> impl Iterator<Item = Bomb> {
    (0..count).inspect(|_| step()).map(Bomb)
}

/// A writer for a subscriber of `tracing`, whose calls are steps.
struct Steps;

impl Write for Steps {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !thread::panicking() {
            step();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The value of every chunk and item: how many calls have begun, and how many have ended.
type Shared = (Bomb, Value<u64>, Value<u64>);

struct Scene {
    pool: Pool,
    begun: Value<u64>,
    ended: Value<u64>,
}

impl Scene {
    fn new(start: Start) -> Scene {
        let pool = Pool::builder().workers(WORKERS as usize).start(start).build().unwrap();
        Scene { pool, begun: Value::new(0).unwrap(), ended: Value::new(0).unwrap() }
    }

    fn shared(&self) -> Shared {
        (Bomb(7), self.begun.clone(), self.ended.clone())
    }

    /// Repeats `call` until none of its steps panics.
    fn sweep(&self, what: &str, call: impl Fn(&Scene) -> Result<(), Error>) {
        for k in 1.. {
            FUSE.store(k, Ordering::SeqCst);
            let outcome = catch_unwind(AssertUnwindSafe(|| call(self)));
            let is_over = FUSE.swap(0, Ordering::SeqCst) != 0;
            self.look(&format!("{what}, step {k}"));
            if is_over {
                assert!(matches!(outcome, Ok(Ok(()))), "{what}: {outcome:?}");
                assert!(k > 1, "{what} has no steps");
                return;
            }
            progress();
        }
    }

    /// Checks that the last call is over: no worker runs it or starts anything of it, new memory
    /// stays zero, and the pool works.
    fn look(&self, what: &str) {
        let begun = self.begun.get().unwrap();
        assert_eq!(self.ended.get().unwrap(), begun, "{what}: left while a worker was in it");
        let fresh = SharedArray::<u64>::zeroed([LEN]).unwrap();
        if self.has_workers() {
            let met = Barrier::new(WORKERS).unwrap();
            let tasks = [(); WORKERS as usize].map(|()| {
                self.pool.submit(|met: Barrier| met.wait().map(drop).unwrap(), met.clone()).unwrap()
            });
            tasks.into_iter().for_each(|task| task.join().unwrap());
        }
        assert_eq!(self.begun.get().unwrap(), begun, "{what}: begun after it was left");
        assert!(fresh.as_slice().iter().all(|&x| x == 0), "{what}: foreign writes");
        assert_eq!(self.pool.map(0..9u32, |n| n + 1).unwrap().sum::<u32>(), 45, "{what}");
    }

    fn has_workers(&self) -> bool {
        self.pool.submit(|()| std::process::id(), ()).unwrap().join().unwrap() != std::process::id()
    }
}

/// The work for a chunk or an item: long enough to be interrupted.
fn work((_, begun, ended): &Shared, chunk: &mut [u64]) {
    begun.fetch_add(1).unwrap();
    for _ in 0..40 {
        chunk.iter_mut().for_each(|x| *x += 1);
        yield_now();
    }
    ended.fetch_add(1).unwrap();
}

fn read(shared: &Shared, chunk: &[u64]) -> Bomb {
    work(shared, &mut [0]);
    Bomb(u32::try_from(chunk.len()).unwrap())
}

fn sweep_loops(scene: &Scene) {
    let pool = &scene.pool;
    let zeroed = || SharedArray::<u64>::zeroed([LEN]);
    scene.sweep("for_each", |scene| {
        pool.par_chunks_mut(&mut zeroed()?, LEN / 8).with(scene.shared()).for_each(work)
    });
    scene.sweep("try_for_each", |scene| {
        let mut x = zeroed()?;
        let chunks = pool.par_chunks_mut(&mut x, LEN / 8).with(scene.shared());
        let ended = chunks.try_for_each(|shared, x| {
            work(shared, x);
            if x.len() == 1 { Err(Bomb(1)) } else { Ok(()) }
        })?;
        ended.map_err(|_| unreachable!("no chunk has one element"))
    });
    scene.sweep("a failure of try_for_each", |scene| {
        let mut x = zeroed()?;
        let chunks = pool.par_chunks_mut(&mut x, LEN / 8).with(scene.shared());
        let ended = chunks.try_for_each(|shared, x| {
            work(shared, x);
            Err::<(), Bomb>(Bomb(1))
        })?;
        ended.unwrap_err();
        Ok(())
    });
    scene.sweep("zip", |scene| {
        let (mut x, y) = (zeroed()?, zeroed()?);
        let chunks = pool.par_chunks_mut(&mut x, LEN / 8).zip(&y).enumerate();
        chunks.with(scene.shared()).for_each(|shared, (_, (x, _))| work(shared, x))
    });
    scene.sweep("collect", |scene| {
        let x = zeroed()?;
        let bombs = pool.par_chunks(&x, LEN / 8).with(scene.shared()).map(read);
        assert_eq!(bombs.collect()?.len(), 8);
        Ok(())
    });
    scene.sweep("reduce", |scene| {
        let x = zeroed()?;
        let bombs = pool.par_chunks(&x, LEN / 8).with(scene.shared()).map(read);
        bombs.reduce(Bomb(0), |a, b| Bomb(a.0 + b.0)).map(drop)
    });
}

fn sweep_items(scene: &Scene) {
    let pool = &scene.pool;
    let square = |shared: &Shared, n: Bomb| {
        work(shared, &mut [0]);
        Bomb(n.0 * n.0)
    };
    scene.sweep("map", |scene| {
        assert_eq!(pool.with(scene.shared()).map(bombs(5), square)?.count(), 5);
        Ok(())
    });
    scene.sweep("starmap", |_| {
        let pairs = bombs(4).map(|bomb| (bomb, Bomb(1)));
        pool.starmap(pairs, |a: Bomb, b: Bomb| Bomb(a.0 + b.0))?.for_each(drop);
        Ok(())
    });
    // Dropped half-way it does not wait for running items, because it borrows nothing.
    scene.sweep("imap", |_| {
        let squares = pool.with(Bomb(1)).imap(bombs(5), 3, |_, n| Bomb(n.0 * n.0))?;
        squares.take(4).try_for_each(|square| square.map(drop))
    });
    scene.sweep("imap_unordered", |_| {
        pool.imap_unordered(bombs(5), 3, |n| n)?.try_for_each(|n| n.map(drop))
    });
    scene.sweep("chunks that move into tasks", |scene| {
        let parts = SharedArray::<u64>::zeroed([LEN])?.into_chunks(LEN / 4)?;
        let own = |((bomb, mut part), shared): ((Bomb, OwnedChunk<u64>), Shared)| {
            work(&shared, part.as_mut_slice());
            // Rust leaks the return value of a closure if a `Drop` panics after it was computed.
            drop((bomb, shared));
            (part, Bomb(1))
        };
        let items = parts.into_iter().map(|part| ((Bomb(1), part), scene.shared()));
        let mut parts = Vec::new();
        pool.map(items, own)?.for_each(|(part, _bomb)| parts.push(part));
        assert!(SharedArray::from_chunks(parts)?.as_slice().iter().all(|&x| x == 40));
        Ok(())
    });
    // A task whose handle was lost in a panic still runs, because it borrows nothing.
    scene.sweep("submit", |_| pool.submit(|bomb: Bomb| bomb, Bomb(1))?.join().map(drop));
}

#[test]
fn no_loop_is_left_while_a_worker_is_in_it_whatever_unwinds() {
    alone(|| {
        sweep_loops(&Scene::new(Start::ForkServer));
        sweep_loops(&Scene::new(Start::InProcess));
    });
}

#[test]
fn no_call_over_items_leaves_a_trace_whatever_unwinds() {
    alone(|| {
        sweep_items(&Scene::new(Start::ForkServer));
        sweep_items(&Scene::new(Start::InProcess));
    });
}

#[test]
fn no_job_of_a_team_is_left_by_a_panic_of_a_callback_or_a_subscriber() {
    alone(|| {
        let scene = Scene::new(Start::ForkServer);
        let number = SharedBigUint::from_limbs(&vec![3; 6_000]).unwrap();
        let pool = &scene.pool;
        scene
            .sweep("a watched factorial", |_| pool.factorial_watched(30_000, |_| step()).map(drop));
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(|| Steps)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            scene.sweep("a square, traced", |_| pool.square(&number).map(drop));
            let matrix = SharedArray::from_fn([400, 400], |[i, j]| (i * j % 7) as f64).unwrap();
            scene.sweep("a product of matrices, traced", |_| {
                let product = pool.matmul(&matrix, &matrix)?;
                assert!(product.as_slice()[0] >= 0.0);
                Ok(())
            });
            scene.sweep("a loop, traced", |scene| {
                let mut x = SharedArray::<u64>::zeroed([LEN])?;
                let (begun, ended) = (scene.begun.clone(), scene.ended.clone());
                let chunks = pool.par_chunks_mut(&mut x, LEN / 8);
                chunks.with((0u32, begun, ended)).for_each(|(_, begun, ended), x| {
                    begun.fetch_add(1).unwrap();
                    x.fill(1);
                    ended.fetch_add(1).unwrap();
                })
            });
        });
    });
}

//! Parallel loops over arrays.
//!
//! One task for each worker; blocks are claimed in shared memory; nothing is left when the call
//! ends.
//!
//! 1. The host writes the block words and submits one task to each worker, but no more tasks than
//!    there are blocks.
//! 2. A task claims blocks until none is left to look at, and commits.
//! 3. When one task has committed, the host recalls those that have not started.
//! 4. When no worker has a task, the host reads the block words. A block claimed by a dead worker
//!    is torn, or free again if the loop may be repeated. If blocks are free, another round of
//!    tasks follows.
//!
//! Step 4 waits until every task is recalled or committed, or its worker is reaped. So when the
//! call returns, no worker can touch an operand, or find the block words of the next loop.
//!
//! | file               | what                                                        |
//! |--------------------|-------------------------------------------------------------|
//! | `partition.rs`     | units, chunks and blocks of a loop                          |
//! | `blocks.rs`        | the block words in shared memory, and who takes which block |
//! | `loop_worker.rs`   | a worker's part: claim blocks, run their chunks             |
//! | `parallel_loop.rs` | the host's part: rounds of tasks, deaths, torn ranges       |
//! | `operand.rs`       | arrays as operands, and their chunks of elements            |
//! | `units.rs`         | the number of units of a loop; operands that do not fit     |
//! | `rows.rs`          | the same by rows: `Rows`, `RowsMut`                         |
//! | `tiles.rs`         | rectangles of a matrix: `Tile`, `TileMut`                   |
//! | `halo.rs`          | rows or columns more around a chunk: `Halo`                 |
//! | `adapters.rs`      | `Whole`, `Subsampled`, `Records`                            |
//! | `body.rs`          | a worker's task: its function, called for each chunk        |
//! | `loop_settings.rs` | a loop without its types, and how it is run                 |
//! | `par_loop.rs`      | the public builder: `par_rows`, `zip`, `with`, `scratch`    |
//! | `for_each.rs`      | `for_each`, `try_for_each`, `find_map_first`                |
//! | `results.rs`       | results by chunk: `reduce`, `collect`                       |
//! | `fold.rs`          | partial results by group: `fold`                            |
//! | `first_touch.rs`   | fresh arrays whose memory the workers touch first           |

mod adapters;
mod blocks;
mod body;
mod first_touch;
mod fold;
mod for_each;
mod halo;
mod loop_settings;
mod loop_worker;
mod operand;
mod par_loop;
mod parallel_loop;
mod partition;
mod results;
mod rows;
mod tiles;
mod units;

pub(crate) use adapters::{Parts, Scattered};
pub use adapters::{Records, Subsampled, Whole};
pub use body::Scratch;
pub use fold::{Fold, FoldArray};
pub use halo::{Halo, HaloRows, HaloTile};
pub use operand::{ByRows, ByTiles, Elements, Operand, Unit};
pub use par_loop::ParLoop;
pub use results::ParMap;
pub use rows::{Rows, RowsMut};
pub use tiles::{Tile, TileMut};

//! Parallel loops over arrays.
//!
//! One task a worker, blocks claimed in shared memory, nothing left when the call ends.
//!
//! 1. The host writes the block words and submits one task to each worker, but no more tasks than
//!    there are blocks.
//! 2. A task claims blocks until none is left to look at, and commits.
//! 3. When one task has committed, those that have not started are recalled.
//! 4. When no worker has a task, the host reads the block words. A block claimed by a dead worker
//!    is torn, or free again if the loop may be repeated. If blocks are free, another round of
//!    tasks follows.
//!
//! Step 4 waits until every task is recalled or committed, or its worker is reaped. So when the
//! call returns, no worker can touch an operand, or find the block words of the next loop.
//!
//! | file               | what                                                        |
//! |--------------------|-------------------------------------------------------------|
//! | `partition.rs`     | elements, chunks and blocks of a loop                       |
//! | `blocks.rs`        | the block words in shared memory, and who takes which block |
//! | `loop_worker.rs`   | a worker's part: claim blocks, run their chunks             |
//! | `parallel_loop.rs` | the host's part: rounds of tasks, deaths, torn ranges       |
//! | `operand.rs`       | arrays as operands, and their chunks                        |
//! | `body.rs`          | a worker's task: its function, called for each chunk        |
//! | `par_chunks.rs`    | the public builder: `zip`, `with`, `for_each`               |
//! | `par_map.rs`       | results: `reduce`, `collect`                                |
//! | `first_touch.rs`   | fresh arrays whose memory the workers touch first           |

mod blocks;
mod body;
mod first_touch;
mod loop_worker;
mod operand;
mod par_chunks;
mod par_map;
mod parallel_loop;
mod partition;

pub use operand::Operand;
pub use par_chunks::ParChunks;
pub use par_map::ParMap;

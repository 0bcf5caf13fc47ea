//! Brigade's side of the comparison.
//!
//! A workload is one function, listed here under the name that its rivals use.

mod arrays;
mod bigint;
mod channels;
mod linalg;
mod lock;
mod matmul;
mod memory;
mod tables;
mod tasks;
mod transforms;

use std::process::ExitCode;

use brigade_compare::protocol::{Workload, serve};

const WORKLOADS: &[Workload] = &[
    ("start", tasks::start),
    ("submit", tasks::submit),
    ("submit-idle", tasks::submit_idle),
    ("burst", tasks::burst),
    ("fork-join", tasks::fork_join),
    ("map", tasks::map),
    ("loop", tasks::chunks),
    ("matmul", matmul::matmul),
    ("matmul-files", matmul::files),
    ("factor", linalg::factor),
    ("small-systems", linalg::batch),
    ("product", bigint::product),
    ("factorial", bigint::factorial),
    ("decimal", bigint::decimal),
    ("sum", memory::sum_all),
    ("axpy", memory::axpy_all),
    ("alloc", memory::allocate),
    ("realloc", memory::reallocate),
    ("rezero", memory::rezero),
    ("handoff", memory::handoff),
    ("array-sum", arrays::sum),
    ("reduce", arrays::reduce),
    ("elements", arrays::map),
    ("random", arrays::random),
    ("filter", arrays::filter),
    ("sort", arrays::sort),
    ("transform", transforms::transform),
    ("stations", tables::stations),
    ("csv", tables::csv),
    ("lock", lock::lock),
    ("messages", channels::messages),
    ("messages-batched", channels::batched),
    ("round-trip", channels::round_trip),
];

fn main() -> ExitCode {
    serve(WORKLOADS)
}

//! Rivals that are Rust crates or C libraries.

mod bigint;
mod blas;
mod channels;
mod gmp;
mod library;
mod matmul;
mod memory;
mod round_trip;
mod sort;
mod tasks;
mod threads;

use std::process::ExitCode;

use brigade_compare::protocol::{Workload, serve};

const WORKLOADS: &[Workload] = &[
    ("rayon/start", tasks::start),
    ("rayon/submit", tasks::submit),
    ("rayon/submit-idle", tasks::submit_idle),
    ("rayon/burst", tasks::burst),
    ("rayon-outside/burst", tasks::burst_outside),
    ("rayon/fork-join", tasks::fork_join),
    ("rayon/map", tasks::map),
    ("rayon/loop", tasks::empty_loop),
    ("rayon/sum", memory::sum_all),
    ("rayon/axpy", memory::axpy_all),
    ("rayon/alloc", memory::allocate),
    ("rayon/realloc", memory::reallocate),
    ("rayon/rezero", memory::rezero),
    ("rayon/handoff", memory::handoff),
    ("rayon/sort", sort::sort),
    ("threads/array-sum", threads::sum_small),
    ("threads-huge/array-sum", threads::sum_huge),
    ("threads/sum", threads::sum_small),
    ("threads/axpy", threads::axpy_small),
    ("threads/alloc", threads::allocate_small),
    ("threads-huge/sum", threads::sum_huge),
    ("threads-huge/axpy", threads::axpy_huge),
    ("threads-huge/alloc", threads::allocate_huge),
    ("threads-huge/rezero", threads::rezero_huge),
    ("crossbeam-channel/messages", channels::crossbeam_messages),
    ("crossbeam-channel/messages-batched", channels::crossbeam_batches),
    ("rtrb/messages", channels::rtrb_messages),
    ("ipc-channel/messages", channels::ipc_channel_messages),
    ("std/lock", channels::std_lock),
    ("iceoryx2/round-trip", round_trip::iceoryx2),
    ("faer/matmul", matmul::faer),
    ("gemm/matmul", matmul::gemm),
    ("matrixmultiply/matmul", matmul::matrixmultiply),
    ("mkl/matmul", blas::mkl),
    ("openblas/matmul", blas::openblas),
    ("dashu-int/product", bigint::dashu_product),
    ("num-bigint/product", bigint::num_product),
    ("malachite-nz/product", bigint::malachite_product),
    ("malachite-nz/factorial", bigint::malachite_factorial),
    ("gmp/product", gmp::gmp_product),
    ("gmp/factorial", gmp::gmp_factorial),
    ("gmp/decimal", gmp::gmp_decimal),
    ("flint/product", gmp::flint_product),
    ("flint/factorial", gmp::flint_factorial),
    ("flint/decimal", gmp::flint_decimal),
];

fn main() -> ExitCode {
    serve(WORKLOADS)
}

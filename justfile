# What `.ci/run` does, step by step, and what takes longer. `just --list` shows all of it.

# Everything that CI runs.
check:
    .ci/run

# The README's test command.
test:
    cargo test

fmt:
    cargo fmt --check

clippy:
    cargo clippy --workspace --exclude brigade-mpi --all-targets --features async,failpoints,ndarray -- -D warnings

# Each feature alone, with its tests.
features:
    for f in bigint fft linalg ndarray async; do cargo clippy --no-default-features --features $f --all-targets -- -D warnings || exit 1; done

doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --all-features

# Every benchmark, each measurement run once: do they still work?
bench-check:
    cargo test -p brigade-bench --benches

# Every benchmark, measured; takes long and wants an idle machine.
bench:
    cargo bench -p brigade-bench

test-release:
    cargo test --release

# Products of matrices by an instruction set of your choice: avx512, avx2 or portable.
matmul-by kernel:
    BRIGADE_KERNEL={{kernel}} cargo test --test numbers matmul::

# Models of the lock, the event, the ring and the claim word, over all interleavings.
loom:
    RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test --release --lib loom_

# Tests that stop, kill or fail a process at a named point of a protocol.
failpoints:
    cargo test --all-features --test features

# Without the optional adapters.
minimal:
    cargo test --no-default-features --lib

# Programs under mpirun; needs an MPI and libclang (mpi/README.md).
mpi:
    cargo clippy -p brigade-mpi --no-deps --all-targets -- -D warnings
    cargo test --release -p brigade-mpi

# The main job, as a user runs it.
matmul *arguments:
    cargo run --release --example matmul -- {{arguments}}

# Operations and faults at random; `BRIGADE_SEED=N just soak` replays the choices of a run.
soak seconds="600":
    BRIGADE_SOAK_SECONDS={{seconds}} cargo test --release --test faults soak:: -- --nocapture

# The tests in their long form: a process is killed at every instruction of every section, `inject`
# tries every system call. Takes hours; do parts of it after a change to what they test.
long *arguments:
    BRIGADE_LONG=1 cargo test {{arguments}}

# Writes the lists of `tests/tidy/`: lines of each module, public interface.
renew:
    BRIGADE_RENEW=1 cargo test --test tidy

# Readers of bytes that others wrote: header, name, ring, task. Needs a nightly compiler. The
# corpus, and a bounded run of mutations of it, are replayed by `cargo test --lib fuzz_entry`.
fuzz target seconds="60":
    fuzz/run {{target}} {{seconds}}

# Unsafe code without system calls, under Miri; needs `rustup +nightly component add miri`.
miri:
    MIRIFLAGS=-Zmiri-permissive-provenance cargo +nightly miri test --lib kernel:: shape:: sync::ring

# Licences, advisories and duplicates; needs cargo-deny.
deny:
    cargo deny check

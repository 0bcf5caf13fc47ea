//! System calls that fail, or at which a process is killed.

// Under loom most of the crate is not built.
#[cfg(not(loom))]
mod calls;

fn main() {
    #[cfg(not(loom))]
    calls::main();
}

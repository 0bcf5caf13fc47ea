//! System calls that fail, or are the last one.

// Under loom most of the crate is not built.
#[cfg(not(loom))]
mod calls;

fn main() {
    #[cfg(not(loom))]
    calls::main();
}

//! Typed, shaped views of regions, and why their aliasing is sound.
pub(crate) mod handoff;

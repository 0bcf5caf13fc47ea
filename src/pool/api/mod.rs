//! The public types of a pool.

pub(crate) mod broadcast;
pub(crate) mod builder;
mod builder_env;
pub(crate) mod completed;
mod equipment;
#[cfg(feature = "async")]
pub(crate) mod future;
pub(crate) mod handle;
pub(crate) mod openmetrics;
pub(crate) mod pool;
pub(crate) mod pools;
pub(crate) mod shutdown;
pub(crate) mod stats;
pub(crate) mod timeline;

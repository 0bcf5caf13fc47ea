//! What threads and the supervisor do with the record.

pub(crate) mod abandoned;
pub(crate) mod backpressure;
pub(crate) mod broadcast;
pub(crate) mod callback;
pub(crate) mod core;
pub(crate) mod group;
pub(crate) mod in_process;
pub(crate) mod progress;
pub(crate) mod publish;
pub(crate) mod readiness;
pub(crate) mod recovery;
pub(crate) mod resize;
pub(crate) mod start;
pub(crate) mod stop;
pub(crate) mod submit;
pub(crate) mod supervise;
pub(crate) mod wait;
pub(crate) mod wait_set;

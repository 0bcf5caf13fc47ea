//! Brigade's side of the comparison.
//!
//! A workload is one function, listed here under the name that its rivals use.

mod tasks;

use std::process::ExitCode;

use brigade_compare::protocol::{Workload, serve};

const WORKLOADS: &[Workload] = &[
    ("start", tasks::start),
    ("submit", tasks::submit),
    ("submit-idle", tasks::submit_idle),
    ("burst", tasks::burst),
    ("fork-join", tasks::fork_join),
];

fn main() -> ExitCode {
    serve(WORKLOADS)
}

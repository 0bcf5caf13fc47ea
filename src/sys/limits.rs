//! What the machine, the cgroup and the rlimits allow.

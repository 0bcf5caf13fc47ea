//! Locks, events and rings over memory handed in.

//! Regions: spans of shared memory, and who unlinks what, in each ending.

//! Natural numbers as little-endian slices of 64-bit limbs.

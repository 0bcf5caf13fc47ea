//! Matrix product of strided slices.

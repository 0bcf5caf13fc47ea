//! The number of units that the operands of a loop share.

use crate::error::{Error, Result};
use crate::pool::loops::operand::{Cut, HostOperand};

/// The number of units that all of `operands` have.
///
/// # Errors
///
/// [`Error::ShapeMismatch`] if the numbers differ, [`Error::InvalidArgument`] if no operand is
/// divided, or if the rows of a subsampled one do not fit.
pub(super) fn common_units(cut: Cut, operands: &[HostOperand]) -> Result<usize> {
    let divided = || operands.iter().filter_map(|operand| Some((operand, operand.units?)));
    // The last row of a subsampled array may stand for fewer rows of the others.
    let exact = divided().find(|(operand, _)| operand.layout.every == 1);
    let Some((first, units)) = exact.or_else(|| divided().next()) else {
        let rule = "an array that is divided, beside those that are seen whole";
        return Err(Error::invalid("the operands of a loop", "only `Whole`", rule));
    };
    let Some(total) = units.checked_mul(first.layout.every) else {
        let found = format!("{units}, with `Subsampled` by {}", first.layout.every);
        let rule = format!("at most {} in all", usize::MAX);
        return Err(Error::invalid("the number of rows of a loop", found, rule));
    };
    let is_tiled = matches!(cut, Cut::Tiles { .. });
    let fits = |operand: &HostOperand, units: usize| {
        let has_units = total.div_ceil(operand.layout.every) == units;
        has_units && (!is_tiled || operand.shape == first.shape)
    };
    match divided().find(|(operand, units)| !fits(operand, *units)) {
        None => Ok(total),
        Some((other, _)) => Err(mismatch(cut, total, first, other)),
    }
}

/// The error for an operand that does not fit a loop over the `total` units of the first.
fn mismatch(cut: Cut, total: usize, first: &HostOperand, other: &HostOperand) -> Error {
    let ratio = other.layout.every;
    if ratio > 1 {
        let found = format!("{} with `Subsampled` by {ratio}", other.shape);
        let rows = total.div_ceil(ratio);
        let rule =
            format!("of {rows} rows, one for each {ratio} of the {total} of {}", first.shape);
        return Error::invalid("an operand of a loop", found, rule);
    }
    Error::ShapeMismatch {
        operation: "zip",
        left: first.shape.clone(),
        right: other.shape.clone(),
        rule: match cut {
            Cut::Elements => "both must have as many elements",
            Cut::Rows { .. } => "both must have as many rows",
            Cut::Tiles { .. } => "both must have the same shape",
        },
    }
}

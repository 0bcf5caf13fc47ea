//! The plan of one merge of divide and conquer.
//!
//! It states which columns of the two parts are coupled, and which are not.
//!
//! - Cuppen, "A Divide and Conquer Method for the Symmetric Tridiagonal Eigenproblem", Numer. Math.
//!   36, 1981; Gu and Eisenstat, "A Divide-and-Conquer Algorithm for the Symmetric Tridiagonal
//!   Eigenproblem", SIAM J. Matrix Anal. Appl. 16, 1995.
//! - Gu and Eisenstat, "A Divide-and-Conquer Algorithm for the Bidiagonal SVD", ibid.
//! - Dongarra and Sorensen, "A Fully Parallel Algorithm for the Symmetric Eigenvalue Problem", SIAM
//!   J. Sci. Stat. Comput. 8, 1987: deflation.

use super::secular::Secular;

/// Nothing is coupled by less than this: the squares of numbers above it are normal.
pub(super) const LEAST: f64 = 1e-140;

/// Two columns that are rotated: `(c x + s y, c y - s x)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rotation {
    pub(super) columns: [usize; 2],
    pub(super) c: f64,
    pub(super) s: f64,
}

/// Where a column of the two bases may have elements other than zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Extent {
    Top,
    Both,
    Bottom,
}

/// What couples two parts: the values of both, and the row z, at the same indices.
pub(super) struct Coupling<'a> {
    pub(super) values: &'a [f64],
    pub(super) z: Vec<f64>,
    /// The factor of `z z^T` for eigenvalues; 1 for singular values, where z is a row.
    pub(super) rho: f64,
    /// Singular values: the index of the row z, whose value is zero. `None`: eigenvalues.
    pub(super) row: Option<usize>,
    /// The index of the first value of the second part.
    pub(super) middle: usize,
    /// The largest relative coupling that may be neglected.
    pub(super) tolerance: f64,
}

/// A merge, with indices from its first column.
pub(super) struct MergePlan {
    /// Rotations of columns, in this order.
    pub(super) rotations: Vec<Rotation>,
    /// The columns in the order of the products: those that are coupled, by their extent, and then
    /// those that are not.
    pub(super) order: Vec<usize>,
    /// Where the coupled columns with elements in the lower rows begin, and where those with
    /// elements in the upper rows end.
    pub(super) extents: [usize; 2],
    /// The pole of each coupled column.
    pub(super) pole_of: Vec<usize>,
    /// What couples them; `rho` may be infinite or NaN if the input is.
    pub(super) secular: Secular,
    /// The values of the columns that are not coupled.
    pub(super) uncoupled: Vec<f64>,
}

impl MergePlan {
    /// Finds what is coupled.
    pub(super) fn new(coupling: Coupling<'_>) -> MergePlan {
        let Coupling { values, mut z, mut rho, row, middle, tolerance } = coupling;
        let mut values = values.to_vec();
        let largest = values.iter().fold(0.0f64, |most, x| most.max(x.abs()));
        if let Some(row) = row {
            // The pole at zero stays coupled, so that the others interlace with the roots.
            let most = z.iter().fold(largest, |most, z| most.max(z.abs()));
            z[row] = z[row].abs().max((tolerance * most).max(LEAST)).copysign(z[row]);
        }
        let length = z.iter().map(|z| z * z).sum::<f64>().sqrt();
        rho *= length * length;
        // What a change of one element of the unit vector z changes in the matrix.
        let reach = if row.is_some() { length } else { rho };
        let tolerance = (tolerance * largest.max(reach)).max(LEAST);
        z.iter_mut().for_each(|z| *z /= length);

        let mut sorted: Vec<usize> = (0..values.len()).filter(|&i| Some(i) != row).collect();
        sorted.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
        let side = |i| if i < middle { Extent::Top } else { Extent::Bottom };
        let mut extents: Vec<Extent> = (0..values.len()).map(side).collect();
        let (mut coupled, mut uncoupled, mut rotations) = (Vec::new(), Vec::new(), Vec::new());
        let mut last: Option<usize> = None;
        for j in sorted {
            if reach * z[j].abs() <= tolerance {
                uncoupled.push(j);
                continue;
            }
            if let Some(i) = last {
                let length = z[i].hypot(z[j]);
                let (c, s) = (z[j] / length, -z[i] / length);
                let distance = values[j] - values[i];
                let is_close = match row {
                    Some(_) => distance.abs() <= tolerance,
                    None => (distance * c * s).abs() <= tolerance,
                };
                if is_close {
                    (z[i], z[j]) = (0.0, length);
                    rotations.push(Rotation { columns: [i, j], c, s });
                    if row.is_none() {
                        let (lower, upper) = (values[i], values[j]);
                        values[i] = lower * c * c + upper * s * s;
                        values[j] = lower * s * s + upper * c * c;
                    }
                    if extents[i] != extents[j] {
                        (extents[i], extents[j]) = (Extent::Both, Extent::Both);
                    }
                    uncoupled.push(i);
                } else {
                    coupled.push(i);
                }
            }
            last = Some(j);
        }
        coupled.extend(last);
        if let Some(row) = row {
            coupled.insert(0, row);
            extents[row] = Extent::Both;
            if let Some(&second) = coupled.get(1) {
                values[second] = values[second].max(tolerance / 2.0);
            }
        }
        let secular = Secular {
            poles: coupled.iter().map(|&i| values[i]).collect(),
            z: coupled.iter().map(|&i| z[i]).collect(),
            rho,
            squared: if row.is_some() { 1.0 } else { 0.0 },
        };
        MergePlan::grouped(&coupled, &uncoupled, &extents, &values, rotations, secular)
    }

    /// Orders the columns by their extents.
    fn grouped(
        coupled: &[usize],
        uncoupled: &[usize],
        extents: &[Extent],
        values: &[f64],
        rotations: Vec<Rotation>,
        secular: Secular,
    ) -> MergePlan {
        let mut pole_of: Vec<usize> = (0..coupled.len()).collect();
        pole_of.sort_by_key(|&pole| extents[coupled[pole]]);
        let before = |extent| coupled.iter().filter(|&&i| extents[i] < extent).count();
        let extent_ends = [before(Extent::Both), before(Extent::Bottom)];
        let order = pole_of.iter().map(|&pole| coupled[pole]).chain(uncoupled.iter().copied());
        MergePlan {
            rotations,
            order: order.collect(),
            extents: extent_ends,
            pole_of,
            secular,
            uncoupled: uncoupled.iter().map(|&i| values[i]).collect(),
        }
    }
}

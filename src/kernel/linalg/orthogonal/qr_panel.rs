//! The QR factorisation of one panel, by one thread.

use super::householder::{add_multiple, dot, reflector};
use super::reflectors::{Block, Transpose, form_t, matrix, matrix_mut, product};
use crate::kernel::matmul::Float;

/// Columns that are factored one by one.
const NARROW: usize = 8;

/// A panel: columns of R, of the vectors, and of T, each with its stride.
pub(super) struct QrPanel<'a, T> {
    pub(super) r: &'a mut [T],
    pub(super) v: &'a mut [T],
    pub(super) t: &'a mut [T],
    /// Elements from one column to the next of R and the vectors.
    pub(super) stride: usize,
    /// The same of T.
    pub(super) t_stride: usize,
    pub(super) rows: usize,
    /// The row of R's diagonal in the first column.
    pub(super) first_row: usize,
    /// The row of T's diagonal in the first column.
    pub(super) first_t: usize,
    pub(super) cols: usize,
}

impl<T: Float> QrPanel<'_, T> {
    /// Factors the panel, by recursion, so that products do most of the work (Elmroth and
    /// Gustavson, "Applying Recursion to Serial and Parallel QR Factorization Leads to Better
    /// Performance", IBM J. Res. Dev. 44, 2000).
    pub(super) fn factor(mut self, work: &mut Vec<T>) {
        if self.cols <= NARROW {
            self.factor_narrow();
            return;
        }
        let QrPanel { stride, t_stride, rows, first_row, first_t, cols, .. } = self;
        let middle = (cols / 2).next_multiple_of(NARROW);
        let (r_left, r_right) = self.r.split_at_mut(middle * stride);
        let (v_left, v_right) = self.v.split_at_mut(middle * stride);
        let (t_left, t_right) = self.t.split_at_mut(middle * t_stride);
        let (r, v, t) = (r_left, &mut *v_left, &mut *t_left);
        let left = QrPanel { r, v, t, stride, t_stride, rows, first_row, first_t, cols: middle };
        left.factor(work);

        let v_left = matrix(&v_left[first_row..], rows - first_row, middle, stride);
        let t_left = matrix(&t_left[first_t..], middle, middle, t_stride);
        let block = Block { v: v_left, t: t_left, first_row };
        let right = cols - middle;
        block.apply(Transpose::Yes, &mut r_right[first_row..], right, stride, work);
        QrPanel {
            r: r_right,
            v: &mut *v_right,
            t: &mut *t_right,
            first_row: first_row + middle,
            first_t: first_t + middle,
            cols: right,
            ..self
        }
        .factor(work);

        // T_12 = - T_11 (V_1^T V_2) T_22
        let mut dots = vec![T::ZERO; 2 * middle * right];
        let (dots, scaled) = dots.split_at_mut(middle * right);
        let v_right = matrix(&v_right[first_row..], rows - first_row, right, stride);
        product(
            T::ONE,
            v_left.transposed(),
            v_right,
            T::ZERO,
            matrix_mut(dots, middle, right, middle),
        );
        let t_22 = matrix(&t_right[first_t + middle..], right, right, t_stride);
        let dots = matrix(dots, middle, right, middle);
        product(T::ONE, dots, t_22, T::ZERO, matrix_mut(scaled, middle, right, middle));
        let scaled = matrix(scaled, middle, right, middle);
        let t_12 = matrix_mut(&mut t_right[first_t..], middle, right, t_stride);
        product(-T::ONE, t_left, scaled, T::ZERO, t_12);
    }

    /// Factors the panel column by column.
    fn factor_narrow(&mut self) {
        let mut taus = [T::ZERO; NARROW];
        for j in 0..self.cols {
            let row = self.first_row + j;
            let (done, rest) = self.r.split_at_mut((j + 1) * self.stride);
            let column = &mut done[j * self.stride..][..self.rows];
            let v = &mut self.v[j * self.stride..][..self.rows];
            v[..row].fill(T::ZERO);
            v[row..].copy_from_slice(&column[row..]);
            let v = &mut v[row..];
            let (beta, tau) = reflector(v);
            column[row..].fill(T::ZERO);
            column[row] = beta;
            taus[j] = tau;
            for other in rest.chunks_exact_mut(self.stride).take(self.cols - 1 - j) {
                let other = &mut other[row..self.rows];
                add_multiple(other, -tau * dot(v, other), v);
            }
        }
        let rows = self.rows - self.first_row;
        let v = matrix(&self.v[self.first_row..], rows, self.cols, self.stride);
        form_t(v, &taus[..self.cols], &mut self.t[self.first_t..], self.t_stride);
    }
}

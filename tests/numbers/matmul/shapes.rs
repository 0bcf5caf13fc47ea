//! Parts of arrays, vectors, stacks, and invalid ones.

use crate::common::alone::alone;
use brigade::{Error, Matrix, MatrixMut, Pool, SharedArray};
use proptest::prelude::*;

use super::{expected, matrix};

/// A copy of the elements of a view of `array`.
fn picked(
    array: &SharedArray<f64>,
    dims: [usize; 2],
    place: impl Fn(usize, usize) -> usize,
) -> SharedArray<f64> {
    SharedArray::from_fn(dims, |[i, j]| array.as_slice()[place(i, j)]).unwrap()
}

#[test]
fn parts_of_arrays_are_multiplied_in_place_into_parts_of_others() {
    alone(|| {
        let pool = Pool::builder().workers(2).build().unwrap();
        let (a, b) = (matrix(500, 600, 1), matrix(700, 450, 2));
        // Computed by the caller, and shared.
        for (m, k, n) in [(20, 30, 25), (310, 290, 330)] {
            let left = Matrix::from(&a).rows(7..7 + m).unwrap().columns(11..11 + k).unwrap();
            let right = Matrix::from(&b).columns(..n).unwrap().rows(700 - k..).unwrap();
            let part_of_a = picked(&a, [m, k], |i, j| (i + 7) * 600 + j + 11);
            let part_of_b = picked(&b, [k, n], |i, j| (i + 700 - k) * 450 + j);
            let product = expected(&part_of_a, &part_of_b);
            let mut table = SharedArray::from_fn([m + 3, n + 5], |_| -1.5).unwrap();
            let inside = MatrixMut::from(&mut table).rows(2..=m + 1).unwrap();
            let inside = inside.columns(4..n + 4).unwrap();
            pool.product(left.clone(), right.clone()).run_into(inside).unwrap();
            for (i, row) in table.as_slice().chunks(n + 5).enumerate() {
                for (j, &x) in row.iter().enumerate() {
                    let is_inside = (2..m + 2).contains(&i) && (4..n + 4).contains(&j);
                    let right = if is_inside { product[(i - 2) * n + j - 4] } else { -1.5 };
                    assert_eq!(x, right, "{i} {j} of {m} {n}");
                }
            }
            // The same, column after column.
            let mut flipped = SharedArray::<f64>::zeroed([n, m]).unwrap();
            let to = MatrixMut::from(&mut flipped).transposed();
            pool.product(left, right).run_into(to).unwrap();
            let turned: Vec<f64> = (0..n * m).map(|at| product[at % m * n + at / m]).collect();
            assert_eq!(flipped.as_slice(), turned);
        }
    });
}

#[test]
fn any_strides_are_read_and_written_as_they_say() {
    alone(|| {
        let pool = Pool::builder().start(brigade::Start::InProcess).build().unwrap();
        let config = ProptestConfig { cases: 60, failure_persistence: None, ..Default::default() };
        proptest!(config, |(
        m in 0usize..30, k in 0usize..30, n in 0usize..30,
        kinds in (0usize..5, 0usize..5, 0usize..4), pads in (0usize..4, 0usize..4, 0usize..4),
        )| {
        let big = matrix(70, 70, 5);
        // The first place and the strides of one of several layouts.
        let layout = |rows: usize, cols: usize, kind: usize, pad: usize| {
            let (wide, high) = ((cols + pad).cast_signed(), (rows + pad).cast_signed());
            let (down, across) = (rows.saturating_sub(1), cols.saturating_sub(1));
            match kind {
                0 => (pad, [wide, 1]),
                1 => (pad, [1, high]),
                2 => (down * (cols + pad), [-wide, 1]),
                3 => (across + down * (cols + pad), [-wide, -1]),
                _ => (pad, [0, 1]),
            }
        };
        let (a_at, a_strides) = layout(m, k, kinds.0, pads.0);
        let (b_at, b_strides) = layout(k, n, kinds.1, pads.1);
        let (c_at, c_strides) = layout(m, n, kinds.2, pads.2);
        let a = Matrix::strided(&big, a_at, [m, k], a_strides).unwrap();
        let b = Matrix::strided(&big, b_at, [k, n], b_strides).unwrap();
        let place = |at: usize, [down, across]: [isize; 2]| {
            move |i: usize, j: usize| {
                at.wrapping_add_signed(i.cast_signed() * down + j.cast_signed() * across)
            }
        };
        let product = expected(
            &picked(&big, [m, k], place(a_at, a_strides)),
            &picked(&big, [k, n], place(b_at, b_strides)),
        );
        let mut table = SharedArray::from_fn([60 * 60], |_| 0.5).unwrap();
        let c = MatrixMut::strided(&mut table, c_at, [m, n], c_strides).unwrap();
        pool.product(a, b).run_into(c).unwrap();
        let mut right = vec![0.5; 60 * 60];
        for (i, row) in product.chunks(n.max(1)).enumerate() {
            for (j, &x) in row.iter().enumerate() {
                right[place(c_at, c_strides)(i, j)] = x;
            }
        }
        prop_assert_eq!(table.as_slice(), right);
        });
    });
}

#[test]
fn frozen_and_mapped_arrays_are_operands_too() {
    alone(|| {
        let pool = Pool::builder().workers(2).build().unwrap();
        let (a, b) = (matrix(300, 310, 1), matrix(310, 320, 2));
        let right = expected(&a, &b);
        let path = std::env::temp_dir().join(format!("brigade-matmul-{}.npy", std::process::id()));
        b.to_npy(&path).unwrap();
        // SAFETY: nothing else uses the file.
        #[expect(unsafe_code, reason = "a mapped file is an operand by contract")]
        let mapped = unsafe { SharedArray::<f64>::map_npy(&path) }.unwrap();
        let frozen = a.freeze();
        // Workers open it by name, on first use.
        let product = pool.matmul(&frozen, &mapped);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(product.unwrap().as_slice(), right);
        // Both operands may be the same array.
        let square = pool.matmul(&frozen, Matrix::from(&frozen).transposed()).unwrap();
        assert!(pool.gram(&frozen).unwrap() == square, "a gram matrix has the bits of the product");
    });
}

#[test]
fn a_matrix_times_a_vector_is_that_of_the_oracle() {
    alone(|| {
        for workers in [1, 2, 3] {
            let pool = Pool::builder().workers(workers).build().unwrap();
            for (m, k) in [(0, 5), (5, 0), (1, 1), (3, 800), (900, 1000), (2000, 700)] {
                let (a, x) = (matrix(m, k, 1), matrix(k, 1, 2));
                let right = expected(&a, &x);
                assert_eq!(pool.matvec(&a, &x).unwrap().as_slice(), right, "{m} {k}");
                let flat = SharedArray::from_slice(x.as_slice()).unwrap();
                let y = pool.matvec(&a, &flat).unwrap();
                assert_eq!((y.shape().dims(), y.as_slice()), (&[m][..], &right[..]), "{m} {k}");
                // Columns one after the other, and every other element of a vector.
                let turned = SharedArray::from_fn([k, m], |[i, j]| a[[j, i]]).unwrap();
                let sparse = SharedArray::from_fn([k, 2], |[i, _]| x.as_slice()[i]).unwrap();
                let column = Matrix::from(&sparse).columns(1..).unwrap();
                let y = pool.matvec(Matrix::from(&turned).transposed(), column).unwrap();
                assert_eq!(y.as_slice(), right, "{m} {k} transposed");
            }
        }
    });
}

#[test]
fn a_gram_matrix_is_symmetric_and_that_of_the_oracle() {
    alone(|| {
        let pool = Pool::builder().workers(3).build().unwrap();
        for (m, k) in [(0, 3), (3, 0), (1, 1), (40, 9), (430, 350), (70, 3000)] {
            let a = matrix(m, k, 4);
            let turned = SharedArray::from_fn([k, m], |[i, j]| a[[j, i]]).unwrap();
            let right = expected(&a, &turned);
            assert_eq!(pool.gram(&a).unwrap().as_slice(), right, "{m} {k}");
            assert_eq!(pool.gram(Matrix::from(&turned).transposed()).unwrap().as_slice(), right);
        }
    });
}

#[test]
fn stacks_are_multiplied_matrix_by_matrix() {
    alone(|| {
        let pool = Pool::builder().workers(2).build().unwrap();
        let stack = |count, m, n, seed| {
            SharedArray::from_fn([count, m, n], |[i, j, k]| {
                ((5 * i + 3 * j + k + seed) % 11) as f64
            })
            .unwrap()
        };
        // By the caller; each by one worker; each by all workers; and none at all.
        for (count, m, k, n) in [(4, 3, 5, 2), (30, 90, 80, 70), (2, 400, 420, 410), (0, 2, 2, 2)] {
            let (a, b) = (stack(count, m, k, 1), stack(count, k, n, 2));
            let c = pool.matmul_batch(&a, &b).unwrap();
            assert_eq!(c.shape().dims(), [count, m, n]);
            let (left, right) = (matrix(m, k, 3), matrix(k, n, 4));
            let by_left = pool.matmul_batch(&left, &b).unwrap();
            let by_right = pool.matmul_batch(&a, &right).unwrap();
            let turned = pool
                .matmul_batch(Matrix::from(&b).transposed(), Matrix::from(&a).transposed())
                .unwrap();
            for index in 0..count {
                let a = picked(&a, [m, k], |i, j| (index * m + i) * k + j);
                let b = picked(&b, [k, n], |i, j| (index * k + i) * n + j);
                let slice = |c: &SharedArray<f64>| c.as_slice()[index * m * n..][..m * n].to_vec();
                assert_eq!(slice(&c), expected(&a, &b), "{index} of {count}");
                assert_eq!(slice(&by_left), expected(&left, &b), "{index} of {count}");
                assert_eq!(slice(&by_right), expected(&a, &right), "{index} of {count}");
                let swapped = slice(&turned);
                let back: Vec<f64> = (0..m * n).map(|at| swapped[at % n * m + at / n]).collect();
                assert_eq!(back, expected(&a, &b), "{index} of {count}, transposed");
            }
        }
        // A stack of two matrices is not a matrix.
        let (a, b) = (matrix(3, 4, 1), matrix(4, 2, 2));
        let c = pool.matmul_batch(&a, &b).unwrap();
        assert_eq!((c.shape().dims(), c.as_slice()), (&[3, 2][..], &expected(&a, &b)[..]));
    });
}

/// The error message of an operation that must fail.
fn refusal<T: std::fmt::Debug>(outcome: Result<T, Error>) -> String {
    let error = outcome.expect_err("it does not fit");
    let fits = matches!(error, Error::ShapeMismatch { .. } | Error::InvalidArgument { .. });
    assert!(fits, "{error:?}");
    error.to_string()
}

#[test]
fn what_does_not_fit_is_refused_with_its_shapes() {
    alone(|| {
        let pool = Pool::builder().workers(1).build().unwrap();
        let (a, vector) = (matrix(3, 4, 0), SharedArray::<f64>::zeroed([5]).unwrap());
        let stack = SharedArray::<f64>::zeroed([2, 3, 4]).unwrap();
        let many = SharedArray::<f64>::zeroed([7, 4, 3]).unwrap();
        let contains = |text: String, parts: &[&str]| {
            for part in parts {
                assert!(text.contains(part), "{part} in: {text}");
            }
        };
        contains(refusal(pool.matmul(&a, &a)), &["[3, 4]"]);
        contains(refusal(pool.matmul(&a, &vector)), &["[5]", "single row or column"]);
        contains(refusal(pool.matmul(&stack, &a)), &["[2, 3, 4]", "`_batch`"]);
        contains(refusal(pool.matvec(&a, &vector)), &["[3, 4]", "[5, 1]"]);
        contains(refusal(pool.matvec(&a, &a)), &["[3, 4]", "single column"]);
        contains(refusal(pool.gram(&vector)), &["[5]"]);
        contains(refusal(pool.matmul_batch(&stack, &many)), &["[2, 3, 4]", "[7, 4, 3]"]);
        contains(refusal(pool.matmul_batch(&stack, &stack)), &["[3, 4]"]);
        contains(refusal(Matrix::from(&a).rows(2..5)), &["2 to 5", "0 to 3"]);
        contains(refusal(Matrix::from(&vector).columns(1..2)), &["[5]"]);
        contains(refusal(Matrix::strided(&a, 1, [3, 4], [4, 1])), &["3 x 4", "12 elements"]);
        contains(refusal(Matrix::strided(&a, 0, [2, 2], [-1, 1])), &["-1"]);
        let mut c = SharedArray::<f64>::zeroed([4, 4]).unwrap();
        contains(refusal(MatrixMut::strided(&mut c, 0, [4, 4], [1, 1])), &["coincide"]);
        contains(refusal(pool.product(&a, &many).run_into(&mut c)), &["[7, 4, 3]"]);
        contains(
            refusal(pool.product(&a, Matrix::from(&a).transposed()).run_into(&mut c)),
            &["[4, 4]"],
        );
    });
}

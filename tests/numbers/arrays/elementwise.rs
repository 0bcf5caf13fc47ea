//! Conversions, maps and broadcasting.

use super::{LENGTHS, pool, tenths};
use crate::common::alone::alone;
use brigade::{Error, SharedArray};

#[test]
#[expect(clippy::cast_possible_truncation, reason = "it is what is tested")]
fn elements_are_converted_and_mapped() {
    alone(|| {
        for workers in [1, 2, 3] {
            let pool = pool(workers);
            for len in LENGTHS {
                let mut x = tenths(len);
                if len > 5 {
                    x[[5]] = f64::NAN;
                }
                let bytes = pool.cast::<_, i8>(&x).unwrap();
                let singles = pool.cast::<_, f32>(&x).unwrap();
                let mut squares = SharedArray::<f64>::zeroed([len]).unwrap();
                pool.map_into(&x, &mut squares, |x| x * x).unwrap();
                for (i, &x) in x.as_slice().iter().enumerate() {
                    assert_eq!(bytes[[i]], x as i8);
                    assert_eq!(singles[[i]].to_bits(), (x as f32).to_bits());
                    assert!(squares[[i]] == x * x || x.is_nan());
                }
            }
        }
    });
}

#[test]
fn shapes_are_broadcast() {
    let shapes: [[&[usize]; 3]; 8] = [
        [&[300, 700], &[300, 700], &[300, 700]],
        [&[300, 700], &[700], &[300, 700]],
        [&[300, 700], &[300, 1], &[300, 700]],
        [&[], &[300, 700], &[300, 700]],
        [&[300, 1], &[1, 700], &[300, 700]],
        [&[70, 1, 3, 1], &[5, 1, 401], &[70, 5, 3, 401]],
        [&[0, 3], &[3], &[0, 3]],
        [&[1], &[1, 1], &[1, 1]],
    ];
    let array = |shape: &[usize], seed: usize| {
        let len = shape.iter().product();
        let mut x =
            SharedArray::from_fn([len], |[i]| u32::try_from(i * 31 + seed).unwrap()).unwrap();
        x.reshape(shape).unwrap();
        x
    };
    let at = |x: &SharedArray<u32>, mut place: usize, shape: &[usize]| {
        let dims = x.shape().dims();
        let (mut index, mut stride) = (0, 1);
        for (axis, len) in shape.iter().enumerate().rev() {
            let missing = shape.len() - dims.len();
            if axis >= missing {
                index += stride * if dims[axis - missing] == 1 { 0 } else { place % len };
                stride *= dims[axis - missing];
            }
            place /= len;
        }
        x.as_slice()[index]
    };
    alone(move || {
        for workers in [1, 2, 3] {
            let pool = pool(workers);
            for [a, b, shape] in shapes {
                let (a, b) = (array(a, 1), array(b, 2));
                let mut out = SharedArray::<u64>::zeroed(shape).unwrap();
                let f = |x: u32, y: u32| (u64::from(x) << 32) + u64::from(y);
                pool.zip_into(&a, &b, &mut out, f).unwrap();
                for (i, &found) in out.as_slice().iter().enumerate() {
                    assert_eq!(found, f(at(&a, i, shape), at(&b, i, shape)), "{shape:?} {i}");
                }
            }
        }
    });
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    alone(|| {
        let pool = pool(1);
        let x = SharedArray::<f32>::zeroed([2, 3]).unwrap();
        let y = SharedArray::<f32>::zeroed([2]).unwrap();
        let mut out = SharedArray::<f32>::zeroed([3, 2]).unwrap();
        let refused = [
            pool.cast_into(&x, &mut out),
            pool.map_into(&x, &mut out, |x| x),
            pool.zip_into(&x, &x, &mut out, |x, _| x),
            pool.zip_into(&x, &y, &mut out, |x, _| x),
        ];
        for result in refused {
            assert!(matches!(result, Err(Error::ShapeMismatch { .. })), "{result:?}");
        }
    });
}

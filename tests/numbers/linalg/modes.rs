//! Floating-point modes and kernels of processes change no result.

use brigade::{Pool, SharedArray, Start};

use super::{definite, random};
use crate::common::alone::alone;
use crate::common::float::{MODES, under};

/// The elements of results of each kind of step.
fn results(pool: &Pool, a: &SharedArray<f64>, spd: &SharedArray<f64>) -> Vec<Vec<f64>> {
    let (lu, qr, svd) = (pool.lu(a).unwrap(), pool.qr(a).unwrap(), pool.svd(a).unwrap());
    let eigh = pool.eigh(spd).unwrap();
    let arrays = [
        &pool.solve(a, spd).unwrap(),
        &pool.system(a, spd).refine(1).run().unwrap(),
        lu.factors(),
        pool.cholesky(spd).unwrap().factor(),
        &lu.inverse(pool).unwrap(),
        &qr.r().unwrap(),
        &qr.q(pool).unwrap(),
        &qr.solve(pool, spd).unwrap(),
        svd.u(),
        svd.values(),
        &svd.pinv(pool, 0.0).unwrap(),
        eigh.values(),
        eigh.vectors(),
    ]
    .map(|array| array.as_slice().to_vec());
    arrays.into_iter().chain([vec![lu.det().unwrap(), lu.rcond().unwrap()]]).collect()
}

#[test]
fn the_host_s_floating_point_mode_changes_no_result() {
    alone(|| {
        let pool = Pool::builder().workers(2).build().unwrap();
        let (a, spd) = (random(150, 150, 3), definite(150));
        let expected = results(&pool, &a, &spd);
        let tiny = SharedArray::from_fn([2, 2], |[i, j]| if i == j { 1e-310 } else { 0.0 });
        let (tiny, b) = (tiny.unwrap(), SharedArray::from_slice(&[1e-310, 2e-310]).unwrap());
        for mode in MODES {
            let (found, x, values, sign) = under(mode, || {
                let found = results(&pool, &a, &spd);
                let (x, values) = (pool.solve(&tiny, &b), pool.singular_values(&tiny));
                let (sign, _) = pool.lu(&tiny).unwrap().sign_ln_det().unwrap();
                (found, x.unwrap(), values.unwrap(), sign)
            });
            assert!(found == expected, "{mode:x?}");
            let found: Vec<u64> = [&x, &values]
                .iter()
                .flat_map(|x| x.as_slice())
                .map(|x: &f64| x.to_bits())
                .collect();
            let tiny = 1e-310f64.to_bits();
            assert_eq!(found, [1f64.to_bits(), 2f64.to_bits(), tiny, tiny], "{mode:x?}");
            assert_eq!(sign, 1.0, "{mode:x?}");
        }
    });
}

#[test]
fn workers_take_the_kernel_of_the_host() {
    alone(|| {
        let (a, spd) = (random(300, 300, 3), definite(300));
        let host = Pool::builder().start(Start::InProcess).build().unwrap();
        let portable = Pool::builder().workers(2).env("BRIGADE_KERNEL", "portable");
        let portable = portable.build().unwrap();
        assert!(results(&portable, &a, &spd) == results(&host, &a, &spd));
    });
}

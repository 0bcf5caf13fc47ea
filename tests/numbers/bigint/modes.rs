//! Big numbers in every floating-point mode.

use brigade::{Pool, Start};

use super::{number, pool};
use crate::common::alone::alone_with;
use crate::common::float::{MODES, set_mode, under};

/// Computations in doubles need the standard floating-point mode, and user code may have set
/// another: an earlier task, or the host itself.
#[test]
fn products_and_digits_are_the_same_in_every_floating_point_mode() {
    alone_with(&[("BRIGADE_BIGINT", "fma")], || {
        let pool = pool(2);
        let numbers = [number(300, 1), number(900, 2), number(3500, 3), number(9000, 4)];
        let work = |pool: &Pool| {
            let [a, b, c, d] = &numbers;
            let products = [(a, a), (b, a), (c, b), (c, c), (d, c), (d, d)];
            let products = products.map(|(x, y)| pool.multiply(x, y).unwrap());
            let digits = [b.to_decimal(), pool.to_decimal(b).unwrap(), pool.to_decimal(d).unwrap()];
            (products, digits, [4000, 70_000].map(|n| pool.factorial(n).unwrap()))
        };
        let right = work(&pool);
        let here = Pool::builder().start(Start::InProcess).build().unwrap();
        for mode in MODES {
            // As many tasks as workers, which wait for each other.
            let met = brigade::shared::Barrier::new(2).unwrap();
            let tasks = [(); 2].map(|()| {
                let spoil = |(mode, met): (u32, brigade::shared::Barrier)| {
                    set_mode(mode);
                    met.wait().unwrap();
                };
                pool.submit(spoil, (mode, met.clone())).unwrap()
            });
            for task in tasks {
                task.join().unwrap();
            }
            assert!(work(&pool) == right, "tasks have set {mode:#x}");
            assert!(under(mode, || work(&pool)) == right, "the host has set {mode:#x}");
            assert!(under(mode, || work(&here)) == right, "in a process that has set {mode:#x}");
        }
    });
}

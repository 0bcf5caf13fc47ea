//! Big numbers by teams of workers.

use brigade::Pool;
use brigade::kernel::bigint;

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().unwrap()
}

#[test]
fn factorials_equal_those_of_one_process_for_any_number_of_workers() {
    for workers in [1, 2, 3, 5] {
        let pool = pool(workers);
        for n in [0, 1, 2, 3, 20, 21, 1000, 9999, 10_000, 19_999, 20_000, 20_001, 65_535, 65_536] {
            assert_eq!(pool.factorial(n).unwrap().limbs(), bigint::factorial(n), "{n}! {workers}");
        }
        for n in [131_071, 200_000, 300_001] {
            assert_eq!(pool.factorial(n).unwrap().limbs(), bigint::factorial(n), "{n}! {workers}");
        }
    }
}

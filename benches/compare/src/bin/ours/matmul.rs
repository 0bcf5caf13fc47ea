//! Brigade's matrix products.

use std::hint::black_box;
use std::path::PathBuf;

use brigade::{Pool, Scalar, SharedArray};
use brigade_compare::data::{Real, check_product, fill};
use brigade_compare::protocol::{Arguments, Repetition};
use brigade_compare::stopwatch::seconds_a_call;

use crate::tasks::build;

/// How fast does a pool multiply two shared arrays?
pub(crate) fn matmul(arguments: &Arguments) -> Repetition {
    match arguments.text("dtype") {
        "f32" => typed::<f32>(arguments),
        "f64" => typed::<f64>(arguments),
        other => panic!("dtype={other} is neither f32 nor f64"),
    }
}

fn typed<T: Scalar + Real>(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let [m, k, n] = ["m", "k", "n"].map(|side| arguments.number::<usize>(side));
    let (a, b) = (filled::<T>([m, k], 1), filled::<T>([k, n], 2));
    let mut c = SharedArray::<T>::zeroed([m, n]).expect("there is memory");
    multiply(&pool, &a, &b, &mut c);
    check_product(a.as_slice(), b.as_slice(), c.as_slice(), [m, k, n]);
    Box::new(move || {
        let seconds = seconds_a_call(budget, || multiply(&pool, &a, &b, &mut c));
        vec![("gflops", 2e-9 * (m * k * n) as f64 / seconds)]
    })
}

fn filled<T: Scalar + Real>(shape: [usize; 2], seed: u64) -> SharedArray<T> {
    let mut array = SharedArray::zeroed(shape).expect("there is memory");
    fill(array.as_mut_slice(), seed);
    array
}

fn multiply<T: Scalar>(
    pool: &Pool,
    a: &SharedArray<T>,
    b: &SharedArray<T>,
    c: &mut SharedArray<T>,
) {
    pool.product(a, b).run_into(c).expect("the product is made");
}

/// How long does it take from two `.npy` files to a third?
pub(crate) fn files(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let n: usize = arguments.number("n");
    let folder = std::env::temp_dir().join(format!("brigade-compare-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the files");
    let file = |name: &str| -> PathBuf { folder.join(name) };
    let (a, b, c) = (file("a.npy"), file("b.npy"), file("c.npy"));
    filled::<f64>([n, n], 1).to_npy(&a).expect("a file is written");
    filled::<f64>([n, n], 2).to_npy(&b).expect("a file is written");
    let folder = Folder(folder);
    Box::new(move || {
        let _ = &folder;
        let seconds = seconds_a_call(budget, || {
            let left = SharedArray::<f64>::from_npy(&a).expect("a file is read");
            let right = SharedArray::<f64>::from_npy(&b).expect("a file is read");
            let product = pool.matmul(&left, &right).expect("the product is made");
            black_box(product).to_npy(&c).expect("a file is written");
        });
        vec![("files_ms", seconds * 1e3)]
    })
}

/// A folder that is removed when it is dropped.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

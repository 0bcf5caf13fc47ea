//! Fourier transforms.

use brigade::{Complex, SharedArray};
use brigade_compare::arrays::SEED;
use brigade_compare::protocol::{Arguments, Repetition};

use crate::arrays::repeat;
use crate::tasks::build;

/// Transforms of arrays of f64, or of complex numbers of two of them.
pub(crate) fn transform(arguments: &Arguments) -> Repetition {
    let pool = build(arguments.number("workers"));
    let call = arguments.text("call").to_owned();
    let (_, shape) = call.split_once(' ').expect("call=NAME AxB");
    let mut shape: Vec<usize> =
        shape.split('x').map(|len| len.parse().expect("a length")).collect();
    if call.starts_with("rfft ") {
        let mut x = SharedArray::<f64>::zeroed(&shape[..]).expect("memory");
        pool.fill_uniform(&mut x, SEED).expect("it is filled");
        return repeat(arguments, move || pool.rfft(&x).run());
    }
    shape.push(2);
    let mut parts = SharedArray::<f64>::zeroed(&shape[..]).expect("memory");
    pool.fill_uniform(&mut parts, SEED).expect("it is filled");
    shape.pop();
    let mut x = SharedArray::<Complex<f64>>::zeroed(&shape[..]).expect("memory");
    for (z, parts) in x.as_mut_slice().iter_mut().zip(parts.as_slice().chunks(2)) {
        *z = Complex::new(parts[0], parts[1]);
    }
    match call.split(' ').next() {
        Some("fft") => repeat(arguments, move || pool.fft(&x).run()),
        Some("fft-axis0") => repeat(arguments, move || pool.fft(&x).axes(0).run()),
        Some("fft-in-place") => repeat(arguments, move || pool.fft_in_place(&mut x).run()),
        _ => panic!("call={call} is unknown"),
    }
}

//! Big integers of GMP, and of FLINT.

use std::ffi::{c_char, c_int};
use std::hint::black_box;

use brigade_compare::data::{MODULUS, check_limbs, factorial_residue, limbs};
use brigade_compare::protocol::{Arguments, Repetition};
use brigade_compare::stopwatch::seconds_a_call;
use libloading::Library;

use crate::library::{function, open};

/// An `mpz_t` or an `fmpz_t`: all zeros are a valid empty one, in GMP since 6.2.
#[repr(C)]
struct Number([u64; 2]);

/// The names of a library's functions.
struct Names {
    multiply_limbs: &'static str,
    factorial: &'static str,
    remainder: &'static str,
    clear: &'static str,
    size_in_base: &'static str,
    to_text: &'static str,
}

const GMP: Names = Names {
    multiply_limbs: "__gmpn_mul",
    factorial: "__gmpz_fac_ui",
    remainder: "__gmpz_fdiv_ui",
    clear: "__gmpz_clear",
    size_in_base: "__gmpz_sizeinbase",
    to_text: "__gmpz_get_str",
};

const FLINT: Names = Names {
    multiply_limbs: "flint_mpn_mul",
    factorial: "fmpz_fac_ui",
    remainder: "fmpz_fdiv_ui",
    clear: "fmpz_clear",
    size_in_base: "fmpz_sizeinbase",
    to_text: "fmpz_get_str",
};

/// How long does GMP take for one product?
pub(crate) fn gmp_product(arguments: &Arguments) -> Repetition {
    product(arguments, open(arguments), &GMP)
}

/// How long does GMP take for n!?
pub(crate) fn gmp_factorial(arguments: &Arguments) -> Repetition {
    factorial(arguments, open(arguments), &GMP)
}

/// How long does GMP take for the decimal digits of n!?
pub(crate) fn gmp_decimal(arguments: &Arguments) -> Repetition {
    decimal(arguments, open(arguments), &GMP)
}

/// How long does FLINT take for one product?
pub(crate) fn flint_product(arguments: &Arguments) -> Repetition {
    product(arguments, open_flint(arguments), &FLINT)
}

/// How long does FLINT take for n!?
pub(crate) fn flint_factorial(arguments: &Arguments) -> Repetition {
    factorial(arguments, open_flint(arguments), &FLINT)
}

/// How long does FLINT take for the decimal digits of n!?
pub(crate) fn flint_decimal(arguments: &Arguments) -> Repetition {
    decimal(arguments, open_flint(arguments), &FLINT)
}

fn open_flint(arguments: &Arguments) -> &'static Library {
    let library = open(arguments);
    // SAFETY: `void flint_set_num_threads(int)` in flint.h.
    let set: unsafe extern "C" fn(c_int) = unsafe { function(library, "flint_set_num_threads") };
    // SAFETY: nothing else uses the library yet.
    unsafe { set(arguments.number("workers")) };
    library
}

fn product(arguments: &Arguments, library: &'static Library, names: &Names) -> Repetition {
    type Multiply = unsafe extern "C" fn(*mut u64, *const u64, i64, *const u64, i64) -> u64;
    // SAFETY: `mpn_mul` in gmp.h and `flint_mpn_mul` in mpn_extras.h have this type.
    let multiply: Multiply = unsafe { function(library, names.multiply_limbs) };
    let (a, b) = (limbs(arguments.number("a"), 1), limbs(arguments.number("b"), 2));
    assert!(a.len() >= b.len() && !b.is_empty(), "the library wants the longer factor first");
    let (long, short) = (a.len() as i64, b.len() as i64);
    let multiply = move |a: &[u64], b: &[u64], c: &mut [u64]| {
        // SAFETY: `c` has room for the limbs of both, allocated so below, and overlaps neither.
        unsafe { multiply(c.as_mut_ptr(), a.as_ptr(), long, b.as_ptr(), short) };
    };
    let mut c = vec![0; a.len() + b.len()];
    multiply(&a, &b, &mut c);
    check_limbs(&a, &b, &c);
    let budget = arguments.budget();
    Box::new(move || {
        let seconds = seconds_a_call(budget, || multiply(&a, &b, &mut c));
        vec![("product_ms", seconds * 1e3)]
    })
}

fn factorial(arguments: &Arguments, library: &'static Library, names: &Names) -> Repetition {
    let (n, budget) = (arguments.number("n"), arguments.budget());
    let functions = Functions::of(library, names);
    let mut first = functions.factorial(n);
    assert_eq!(functions.residue(&mut first), factorial_residue(n), "{n}! is wrong");
    functions.clear(first);
    Box::new(move || {
        let seconds = seconds_a_call(budget, || functions.clear(functions.factorial(n)));
        vec![("factorial_ms", seconds * 1e3)]
    })
}

fn decimal(arguments: &Arguments, library: &'static Library, names: &Names) -> Repetition {
    let budget = arguments.budget();
    let functions = Functions::of(library, names);
    let mut number = functions.factorial(arguments.number("n"));
    Box::new(move || {
        let seconds = seconds_a_call(budget, || {
            black_box(functions.digits(&mut number));
        });
        vec![("decimal_ms", seconds * 1e3)]
    })
}

/// The functions of one library that the workloads call.
struct Functions {
    factorial: unsafe extern "C" fn(*mut Number, u64),
    remainder: unsafe extern "C" fn(*mut Number, u64) -> u64,
    clear: unsafe extern "C" fn(*mut Number),
    size_in_base: unsafe extern "C" fn(*mut Number, c_int) -> usize,
    to_text: unsafe extern "C" fn(*mut c_char, c_int, *mut Number) -> *mut c_char,
}

impl Functions {
    fn of(library: &'static Library, names: &Names) -> Functions {
        Functions {
            // SAFETY: gmp.h and fmpz.h: `void (mpz_t, ulong)`.
            factorial: unsafe { function(library, names.factorial) },
            // SAFETY: gmp.h and fmpz.h: `ulong (mpz_t, ulong)`.
            remainder: unsafe { function(library, names.remainder) },
            // SAFETY: gmp.h and fmpz.h: `void (mpz_t)`.
            clear: unsafe { function(library, names.clear) },
            // SAFETY: gmp.h and fmpz.h: `size_t (mpz_t, int)`.
            size_in_base: unsafe { function(library, names.size_in_base) },
            // SAFETY: gmp.h and fmpz.h: `char *(char *, int, mpz_t)`.
            to_text: unsafe { function(library, names.to_text) },
        }
    }

    fn factorial(&self, n: u64) -> Number {
        let mut number = Number([0; 2]);
        // SAFETY: all zeros are a valid number, as `Number` says.
        unsafe { (self.factorial)(&mut number, n) };
        number
    }

    fn residue(&self, number: &mut Number) -> u64 {
        // SAFETY: every `Number` is made by `factorial`, of the same library.
        unsafe { (self.remainder)(number, MODULUS) }
    }

    fn clear(&self, mut number: Number) {
        // SAFETY: every `Number` is made by `factorial`; it is moved in, so not cleared twice.
        unsafe { (self.clear)(&mut number) };
    }

    fn digits(&self, number: &mut Number) -> Vec<u8> {
        // SAFETY: every `Number` is made by `factorial`, of the same library.
        let digits = unsafe { (self.size_in_base)(number, 10) };
        // Room for a sign and the terminating zero byte.
        let mut text = vec![0u8; digits + 2];
        // SAFETY: the manuals of both require that much room.
        unsafe { (self.to_text)(text.as_mut_ptr().cast(), 10, number) };
        text
    }
}

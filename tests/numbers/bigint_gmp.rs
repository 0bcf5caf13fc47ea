//! Big numbers compared with GMP, through gmpy2.
//!
//! The interpreter is `$BRIGADE_PYTHON`, or `python3`. Without one, or without gmpy2 in it, this
//! test is skipped with a message.

use crate::common::alone::alone;
use std::process::Command;

use crate::common::skipped;
use brigade::{Pool, SharedBigUint};
use sha2::{Digest, Sha256};

/// The output of a script with gmpy2, if that can be run.
fn gmp(script: &str) -> Option<Vec<String>> {
    let python = std::env::var("BRIGADE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let probe = Command::new(&python).args(["-c", "import gmpy2"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        skipped(&format!("{python} cannot `import gmpy2`; set BRIGADE_PYTHON to one that can"));
        return None;
    }
    let script = format!(
        "import gmpy2, hashlib
def tell(x): print(hashlib.sha256(x.digits().encode()).hexdigest())
{script}"
    );
    let output = Command::new(python).args(["-c", &script]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect())
}

fn digest(pool: &Pool, number: &SharedBigUint) -> String {
    let digits = pool.to_decimal(number).unwrap();
    Sha256::digest(digits).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn factorials_binomials_and_primorials_have_the_digits_that_gmp_gives() {
    alone(|| {
        let script = "for n in (0, 1, 999, 65537, 700001): tell(gmpy2.fac(n))
for n, k in ((9, 10), (1000, 500), (1500000, 700001), (10**15, 3000)): tell(gmpy2.bincoef(n, k))
for n in (1, 97, 100000, 1000000): tell(gmpy2.primorial(n))";
        let Some(expected) = gmp(script) else { return };
        let pool = Pool::builder().workers(2).build().unwrap();
        let factorials = [0, 1, 999, 65_537, 700_001].map(|n| pool.factorial(n).unwrap());
        let binomials = [(9, 10), (1000, 500), (1_500_000, 700_001), (1_000_000_000_000_000, 3000)]
            .map(|(n, k)| pool.binomial(n, k).unwrap());
        let primorials = [1, 97, 100_000, 1_000_000].map(|n| pool.primorial(n).unwrap());
        let numbers = factorials.iter().chain(&binomials).chain(&primorials);
        let found: Vec<String> = numbers.map(|number| digest(&pool, number)).collect();
        assert_eq!(found, expected);
    });
}

#[test]
fn products_and_powers_have_the_digits_that_gmp_gives() {
    alone(|| {
        let script = "ones = lambda n: (gmpy2.mpz(1) << 64 * n) - 1
for a, b in ((100, 100), (300, 7), (20000, 20000), (90000, 1234)):
    tell(ones(a) * ones(b)); tell((ones(a) // 3) * (ones(b) // 7))
tell((ones(50) // 5) ** 777)";
        let Some(expected) = gmp(script) else { return };
        let pool = Pool::builder().workers(3).build().unwrap();
        // All ones, divided by long division.
        let filled = |limbs: usize, divisor: u64| {
            let mut rest = 0;
            let mut out = vec![0; limbs];
            for limb in out.iter_mut().rev() {
                let high = u128::from(rest) << 64 | u128::from(u64::MAX);
                *limb = u64::try_from(high / u128::from(divisor)).unwrap();
                rest = u64::try_from(high % u128::from(divisor)).unwrap();
            }
            SharedBigUint::from_limbs(&out).unwrap()
        };
        let mut found = Vec::new();
        for (a, b) in [(100, 100), (300, 7), (20_000, 20_000), (90_000, 1234)] {
            for (x, y) in [(filled(a, 1), filled(b, 1)), (filled(a, 3), filled(b, 7))] {
                found.push(digest(&pool, &pool.multiply(&x, &y).unwrap()));
            }
        }
        found.push(digest(&pool, &pool.pow(&filled(50, 5), 777).unwrap()));
        assert_eq!(found, expected);
    });
}

//! Workers that die while a system is solved.

use crate::common::alone::alone;
use crate::matmul::faults::with_a_worker_killed;
use std::time::Duration;

use brigade::Pool;

use super::{definite, random};

#[test]
fn a_factorisation_is_repeated_after_a_death_but_not_in_place() {
    alone(|| {
        let repeating = Pool::builder().workers(2).retries(3).build().unwrap();
        let (a, spd) = (random(700, 700, 1), definite(700));
        let expected = repeating.lu(&a).unwrap();
        let factor = repeating.cholesky(&spd).unwrap();
        let mut died = 0;
        for delay_us in [0, 300, 1000, 3000] {
            let delay = Duration::from_micros(delay_us);
            let (lu, _) = with_a_worker_killed(&repeating, delay, || repeating.lu(&a));
            let lu = lu.unwrap();
            assert_eq!(lu.pivots(), expected.pivots());
            assert!(lu.factors() == expected.factors(), "after {delay:?}");
            let (found, _) = with_a_worker_killed(&repeating, delay, || repeating.cholesky(&spd));
            assert!(found.unwrap().factor() == factor.factor(), "after {delay:?}");
            let mut own = a.try_clone().unwrap();
            let in_place = || repeating.lu_in_place(&mut own);
            let (outcome, _) = with_a_worker_killed(&repeating, delay, in_place);
            match outcome {
                Ok(pivots) => assert_eq!(pivots.as_slice(), expected.pivots()),
                Err(error) => {
                    assert!(error.death().is_some(), "{error}");
                    died += 1;
                }
            }
        }
        assert!(died > 0, "no kill hit a factorisation in place");
        assert!(repeating.stats().restarts > died, "no kill hit a factorisation of a copy");
    });
}

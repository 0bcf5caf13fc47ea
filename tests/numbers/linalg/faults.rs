//! Workers that die while a system is solved.

use crate::common::alone::alone;
use crate::matmul::faults::{with_a_worker_killed, with_deaths_in_it};
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
        with_deaths_in_it(&repeating, || {
            let lu = repeating.lu(&a).unwrap();
            assert_eq!(lu.pivots(), expected.pivots());
            assert!(lu.factors() == expected.factors());
        });
        with_deaths_in_it(&repeating, || {
            assert!(repeating.cholesky(&spd).unwrap().factor() == factor.factor());
        });
        let b = random(700, 1, 2);
        let system = || repeating.system(&a, &b).refine(1);
        let x = system().run().unwrap();
        with_deaths_in_it(&repeating, || {
            assert!(system().run().unwrap().as_slice() == x.as_slice());
        });
        let mut died = 0;
        for delay_us in [0, 300, 1000, 3000] {
            let delay = Duration::from_micros(delay_us);
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
    });
}

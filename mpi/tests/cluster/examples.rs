//! The examples, as a user runs them.

use std::path::PathBuf;

use crate::Test;
use crate::job::Job;

pub(crate) const TESTS: &[Test] = &[
    ("heat_has_the_same_result_on_any_number_of_ranks", heat, || ()),
    ("the_costs_of_calls_are_measured", costs, || ()),
    ("a_product_has_the_same_check_on_any_number_of_ranks", product, || ()),
];

/// An example that was built beside this test.
fn example(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(
        path.exists(),
        "build it in the profile of this test: cargo build -p brigade-mpi --examples"
    );
    path
}

fn heat() {
    let program = example("heat_cluster");
    let run = |ranks, workers: &str| {
        let arguments = ["--size", "30", "--steps", "200", "--workers", workers];
        Job::of(&[(ranks, &program)]).arguments(&arguments).succeed()
    };
    let expected = run(1, "1");
    assert!(expected.starts_with("30 by 30, 200 steps: sum of squares "), "{expected}");
    for (ranks, workers) in [(2, "1"), (3, "2"), (4, "1")] {
        assert_eq!(run(ranks, workers), expected, "{ranks} ranks");
    }
}

fn costs() {
    let program = example("cost_cluster");
    let arguments = ["--size", "300", "--tasks", "2000", "--mib", "2"];
    let output = Job::of(&[(2, &program)]).arguments(&arguments).succeed();
    assert!(output.contains("GFLOP/s") && output.starts_with("2 ranks"), "{output}");
    assert!(output.contains("item 1 on rank ") && output.ends_with("2 ranks go on\n"), "{output}");
}

fn product() {
    let program = example("matmul_cluster");
    let check = |ranks| {
        let arguments = ["--size", "90", "--repeat", "1"];
        let output = Job::of(&[(ranks, &program)]).arguments(&arguments).succeed();
        output.lines().find_map(|line| line.strip_prefix("check ")).map(str::to_owned).unwrap()
    };
    assert_eq!(check(3), check(1));
}

//! Distributed arrays: their parts, files, reductions and products.

use brigade::{Pool, SharedArray, Start};
use brigade_mpi::{Cluster, DistArray, Error};

use crate::Test;
use crate::job::Job;

pub(crate) const TESTS: &[Test] = &[
    ("an_array_that_is_scattered_and_gathered_is_the_same", each, scattered),
    ("a_halo_has_the_rows_of_all_neighbours", each, halos),
    ("an_array_is_written_and_read_by_all_ranks", || drop(Job::new(3).succeed()), files),
    (
        "a_file_that_cannot_be_written_is_an_error_on_every_rank",
        || drop(Job::new(3).succeed()),
        no_file,
    ),
    ("a_reduction_has_the_same_bits_on_any_number_of_ranks_and_workers", same_output, reduces),
    ("a_product_has_the_same_bits_on_any_number_of_ranks_and_workers", same_products, multiplies),
    ("a_factorial_is_that_of_one_pool", each, factorials),
    ("arguments_that_differ_are_an_error_on_every_rank", || drop(Job::new(3).succeed()), differ),
    ("ranks_that_gather_different_arrays_end_the_job", mixing, mix),
    (
        "a_reduction_without_memory_is_an_error_on_every_rank",
        || drop(Job::new(2).succeed()),
        exhausts,
    ),
    (
        "a_rank_without_memory_for_its_rows_is_named_on_the_others",
        || drop(Job::new(3).succeed()),
        no_rows,
    ),
    ("arrays_work_on_ranks_without_processes", in_process, without_processes),
    ("by_command_more_bytes_than_mpi_counts_arrive", || drop(Job::new(2).succeed()), moves_much),
    ("a_death_in_a_reduction_is_an_error_on_every_rank", || drop(Job::new(3).succeed()), fails),
];

/// Small pieces, so that every message of elements has several.
fn each() {
    for ranks in 1..=4 {
        Job::new(ranks).env("BRIGADE_MPI_PIECE_BYTES", 40).succeed();
    }
}

/// What rank 0 prints must not depend on ranks, workers or pieces.
fn same_output() {
    let expected = Job::new(1).env(WORKERS, 1).succeed();
    assert!(!expected.is_empty());
    for (ranks, workers, piece) in [(1, 3, 1 << 20), (2, 1, 1000), (3, 2, 1 << 20), (4, 1, 1 << 20)]
    {
        let job = Job::new(ranks).env(WORKERS, workers).env("BRIGADE_MPI_PIECE_BYTES", piece);
        assert_eq!(job.succeed(), expected, "{ranks} ranks with {workers} workers");
    }
}

/// The same, also on a grid of two by two and of two by three ranks.
fn same_products() {
    same_output();
    let expected = Job::new(1).env(WORKERS, 1).succeed();
    for (ranks, workers, piece) in [(4, 2, 1 << 20), (6, 1, 1000)] {
        let job = Job::new(ranks).env(WORKERS, workers).env("BRIGADE_MPI_PIECE_BYTES", piece);
        assert_eq!(job.env("BRIGADE_MPI_GRID_RANKS", 4).succeed(), expected, "{ranks} ranks");
    }
}

const WORKERS: &str = "BRIGADE_MPI_WORKERS";

fn cluster() -> Cluster {
    let workers = std::env::var(WORKERS).map_or(1, |text| text.parse().unwrap());
    Cluster::new(Pool::builder().workers(workers)).unwrap()
}

/// Numbers whose sums are not exact.
fn number(i: usize, j: usize) -> f64 {
    let mixed = (i * 2_654_435_761 + j * 40_503) % 10_007;
    mixed as f64 / 97.0 - 50.0
}

fn whole(cluster: &Cluster, shape: [usize; 2]) -> Option<SharedArray<f64>> {
    let make = || SharedArray::from_fn(shape, |[i, j]| number(i, j)).unwrap();
    (cluster.rank() == 0).then(make)
}

/// Blocks in which some ranks have nothing and others much.
fn uneven(rows: usize, ranks: usize) -> Vec<usize> {
    let start =
        |rank: usize| if rank % 2 == 1 { rows * rank / (ranks + 1) } else { rows * rank / ranks };
    let mut starts: Vec<usize> = (0..=ranks).map(start).collect();
    starts[ranks] = rows;
    starts.sort_unstable();
    starts
}

fn scattered() {
    let cluster = cluster();
    for shape in [[0, 3], [1, 1], [3, 5], [100, 7], [5, 0]] {
        let given = whole(&cluster, shape);
        let array = DistArray::scatter(&cluster, given.as_ref()).unwrap();
        let starts = uneven(shape[0], cluster.size());
        let moved = array.redistribute(&cluster, &starts, 0).unwrap();
        assert_eq!(moved.starts(), starts);
        for array in [&array, &moved] {
            let rows = array.rows().flat_map(|i| (0..shape[1]).map(move |j| number(i, j)));
            assert!(rows.eq(array.as_slice().iter().copied()), "{shape:?}");
            let back = array.gather(&cluster).unwrap();
            let (back, given) = (back.as_ref(), given.as_ref());
            assert_eq!(back.map(|a| a.as_slice()), given.map(|a| a.as_slice()));
        }
    }
    let none = DistArray::<f64>::scatter(&cluster, None);
    assert!(matches!(none, Err(Error::InvalidArgument { .. })));
    let array = DistArray::<u8>::zeroed(&cluster, &[3], 0).unwrap();
    let wrong = array.redistribute(&cluster, &vec![0; cluster.size() + 1], 0);
    assert!(matches!(wrong, Err(Error::InvalidArgument { .. })));
}

fn halos() {
    let cluster = cluster();
    for (rows, halo) in [(0, 1), (2, 1), (9, 2), (9, 20), (40, 3)] {
        let mut array = DistArray::<f64>::zeroed(&cluster, &[rows, 3], halo).unwrap();
        let own = array.rows().flat_map(|i| (0..3).map(move |j| number(i, j)));
        array.as_mut_slice().iter_mut().zip(own).for_each(|(to, from)| *to = from);
        array.exchange_halo(&cluster).unwrap();
        let check = |array: &DistArray<f64>| {
            let held = array.local_rows().flat_map(|i| (0..3).map(move |j| number(i, j)));
            assert!(held.eq(array.local().as_slice().iter().copied()), "{rows} rows, halo {halo}");
        };
        check(&array);
        let starts = uneven(rows, cluster.size());
        check(&array.redistribute(&cluster, &starts, halo + 1).unwrap());
    }
}

/// The directory of a job's files; every rank has the same parent.
fn directory() -> std::path::PathBuf {
    std::env::temp_dir().join(format!("brigade-mpi-files-{}", std::os::unix::process::parent_id()))
}

fn files() {
    let cluster = cluster();
    let directory = directory();
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("array.npy");
    for shape in [[10, 4], [2, 3], [0, 2]] {
        let given = whole(&cluster, shape);
        let array = DistArray::scatter(&cluster, given.as_ref()).unwrap();
        // The rows of a halo are not the rank's own.
        let (even, starts) = (array.starts(), uneven(shape[0], cluster.size()));
        let written = [
            array.redistribute(&cluster, even, 2).unwrap(),
            array.redistribute(&cluster, &starts, 0).unwrap(),
            array.redistribute(&cluster, &starts, 1).unwrap(),
        ];
        for written in &written {
            written.write_npy(&cluster, &path).unwrap();
            if let Some(given) = &given {
                let plain = SharedArray::<f64>::from_npy(&path).unwrap();
                assert_eq!((plain.shape(), plain.as_slice()), (given.shape(), given.as_slice()));
            }
            cluster.all_gather(()).unwrap();
        }
        array.write_npy(&cluster, &path).unwrap();
        // SAFETY: no other program knows the file.
        let read = unsafe { DistArray::<f64>::read_npy(&cluster, &path, 1) }.unwrap();
        assert_eq!(read.as_slice(), array.as_slice());
        let held = read.local_rows().flat_map(|i| (0..shape[1]).map(move |j| number(i, j)));
        assert!(held.eq(read.local().as_slice().iter().copied()));
        if let Some(given) = given {
            let plain = SharedArray::<f64>::from_npy(&path).unwrap();
            assert_eq!((plain.shape(), plain.as_slice()), (given.shape(), given.as_slice()));
        }
    }
    // SAFETY: as above.
    let other = unsafe { DistArray::<f32>::read_npy(&cluster, &path, 0) };
    assert!(other.unwrap_err().to_string().contains("f8"));
    cluster.all_gather(()).unwrap();
    if cluster.rank() == 0 {
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1, "no partial file");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}

fn no_file() {
    let cluster = cluster();
    let array = DistArray::<f64>::zeroed(&cluster, &[4, 4], 0).unwrap();
    let error = array.write_npy(&cluster, "/nowhere/array.npy").unwrap_err().to_string();
    assert!(error.contains("/nowhere"), "{error}");
}

fn reduces() {
    let cluster = cluster();
    for rows in [0, 1, 2, 10, 1000] {
        let given = whole(&cluster, [rows, 3]);
        let array = DistArray::scatter(&cluster, given.as_ref()).unwrap();
        let starts = uneven(rows, cluster.size());
        let moved = array.redistribute(&cluster, &starts, 2).unwrap();
        for group in [1, 3, 7, 64, 5000] {
            let sum = |rows: &[f64]| rows.iter().map(|x| x * x).sum::<f64>();
            let plain = array.map_reduce(&cluster, group, sum, -0.5, |a, b| a + b).unwrap();
            let again = moved.map_reduce(&cluster, group, sum, -0.5, |a, b| a + b).unwrap();
            assert_eq!(plain.to_bits(), again.to_bits());
            if let Some(given) = &given {
                let pool = cluster.pool();
                let squares = pool.par_rows(given, group).map(move |rows| sum(rows.as_slice()));
                assert_eq!(squares.reduce(-0.5, |a, b| a + b).unwrap().to_bits(), plain.to_bits());
                println!("{rows} {group} {:x}", plain.to_bits());
            }
        }
    }
    let array = DistArray::<f64>::zeroed(&cluster, &[5, 0], 0).unwrap();
    let count = array.map_reduce(&cluster, 2, |rows| rows.len() + 1, 0, |a, b| a + b).unwrap();
    assert_eq!(count, 3, "groups of rows without elements");
    let array = DistArray::<f64>::zeroed(&cluster, &[4], 0).unwrap();
    assert!(array.map_reduce(&cluster, 0, |_| 0, 0, |a, b| a + b).is_err());
}

fn multiplies() {
    let cluster = cluster();
    let shapes = [
        [1, 1, 1],
        [3, 2, 5],
        [0, 4, 2],
        [2, 0, 2],
        [3, 600, 0],
        [40, 600, 1],
        [5, 1100, 33],
        [70, 1537, 200],
        [9, 700, 193],
    ];
    for [m, k, n] in shapes {
        let (a, b) = (whole(&cluster, [m, k]), whole(&cluster, [k, n]));
        let distributed = |array: &Option<_>| DistArray::scatter(&cluster, array.as_ref()).unwrap();
        let (x, y) = (distributed(&a), distributed(&b));
        let c = cluster.matmul(&x, &y).unwrap().gather(&cluster).unwrap();
        let moved = x.redistribute(&cluster, &uneven(m, cluster.size()), 1).unwrap();
        let below = y.redistribute(&cluster, &uneven(k, cluster.size()), 2).unwrap();
        let again = cluster.matmul(&moved, &below).unwrap().gather(&cluster).unwrap();
        let (Some(a), Some(b), Some(c), Some(again)) = (a, b, c, again) else { continue };
        assert_eq!(c.as_slice(), again.as_slice());
        let plain = cluster.pool().matmul(&a, &b).unwrap();
        // A sum of k products, each at most 2500 in size.
        let tolerance = 1e-15 * 2500.0 * k as f64 * k as f64;
        let is_near = |(x, y): (&f64, &f64)| (x - y).abs() <= tolerance;
        assert!(c.as_slice().iter().zip(plain.as_slice()).all(is_near));
        let mix = |hash: u64, x: &f64| (hash ^ x.to_bits()).wrapping_mul(0x100_0000_01b3);
        println!("{m} {k} {n} {:x}", c.as_slice().iter().fold(7, mix));
    }
    let array = DistArray::<f64>::zeroed(&cluster, &[4, 3], 0).unwrap();
    let wrong = cluster.matmul(&array, &array).unwrap_err().to_string();
    assert!(wrong.contains("4 x 3 and 4 x 3"), "{wrong}");
}

fn fails() {
    let cluster = cluster();
    let mut array = DistArray::<f64>::zeroed(&cluster, &[30, 2], 0).unwrap();
    if cluster.rank() == 1 {
        array.as_mut_slice()[5] = 1.0;
    }
    let die = |rows: &[f64]| if rows.contains(&1.0) { std::process::abort() } else { 0.0 };
    match array.map_reduce(&cluster, 1, die, 0.0, |a: f64, b| a + b) {
        Err(Error::Brigade(error)) if cluster.rank() == 1 => assert!(error.death().is_some()),
        Err(Error::RankFailed { rank: 1, message, .. }) => assert!(message.contains("SIGABRT")),
        other => panic!("{other:?}"),
    }
    // The cluster goes on.
    assert_eq!(cluster.all_gather(1).unwrap().len(), 3);
}

fn differ() {
    let cluster = cluster();
    let rank = cluster.rank();
    let array = DistArray::<u8>::zeroed(&cluster, &[9], 0).unwrap();
    let starts = if rank == 1 { [0, 2, 5, 9] } else { [0, 3, 5, 9] };
    let outcomes = [
        DistArray::<u8>::zeroed(&cluster, &[9 + rank / 2], 0),
        DistArray::<u8>::zeroed(&cluster, &[9], usize::from(rank < 2)),
        array.redistribute(&cluster, &starts, 0),
    ];
    for (outcome, (name, other)) in
        outcomes.into_iter().zip([("the shape", 2), ("the halo", 2), ("the first rows", 1)])
    {
        match outcome {
            Err(Error::Disagreement { what, rank, .. }) => {
                assert!(what.starts_with(name) && rank == other, "{what} of {rank}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(DistArray::<u8>::zeroed(&cluster, &[9], 0).is_ok());
}

fn mixing() {
    Job::new(2).run().expect_failure(&["rank 0 on", "make different calls"]);
}

fn mix() {
    let cluster = cluster();
    let long = DistArray::<u8>::zeroed(&cluster, &[10], 0).unwrap();
    let short = DistArray::<u8>::zeroed(&cluster, &[8], 0).unwrap();
    drop(if cluster.rank() == 0 { long.gather(&cluster) } else { short.gather(&cluster) });
}

/// A group of rows lies on both ranks, and rank 0 has no memory for the part of rank 1.
fn exhausts() {
    let cluster = cluster();
    let array = DistArray::<u8>::zeroed(&cluster, &[32, 1 << 20], 0).unwrap();
    if cluster.rank() == 0 {
        brigade::set_memory_limit(24 << 20);
    }
    let sum = |rows: &[u8]| rows.len();
    match array.map_reduce(&cluster, 32, sum, 0, |a, b| a + b) {
        Err(Error::Brigade(error)) if cluster.rank() == 0 => {
            assert!(matches!(error, brigade::Error::NoSpace { .. }), "{error}");
        }
        Err(Error::RankFailed { rank: 0, .. }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(cluster.all_gather(1).unwrap().len(), 2);
}

fn factorials() {
    let cluster = cluster();
    for n in [0, 1, 3, 20, 30_000] {
        let number = cluster.factorial(n).unwrap();
        assert_eq!(number.is_some(), cluster.rank() == 0);
        let Some(number) = number else { continue };
        assert_eq!(number.limbs(), cluster.pool().factorial(n).unwrap().limbs(), "{n}!");
    }
}

/// Rank 1 has no memory for its part.
fn no_rows() {
    let cluster = cluster();
    if cluster.rank() == 1 {
        brigade::set_memory_limit(24 << 20);
    }
    let make = || DistArray::<f64>::zeroed(&cluster, &[6 << 10, 2 << 10], 0);
    match make() {
        Err(Error::Brigade(error)) if cluster.rank() == 1 => {
            assert!(matches!(error, brigade::Error::NoSpace { .. }), "{error}");
        }
        Err(Error::RankFailed { rank: 1, host, message }) => {
            assert_eq!(host, cluster.hosts()[1]);
            assert!(message.contains("the cap set by the program"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    brigade::set_memory_limit(u64::MAX);
    assert_eq!(make().unwrap().shape(), [6 << 10, 2 << 10]);
}

/// More bytes in one exchange than a call of MPI counts; in each rank's memory once.
fn moves_much() {
    let cluster = cluster();
    let len = (1 << 31) + (64 << 20);
    let pattern: Vec<u8> = (0..251).collect();
    let array = DistArray::<u8>::zeroed(&cluster, &[len], 0).unwrap();
    let mut array = array.redistribute(&cluster, &[0, len, len], 0).unwrap();
    let parts = array.as_mut_slice().chunks_mut(pattern.len());
    parts.for_each(|part| part.copy_from_slice(&pattern[..part.len()]));
    let moved = array.redistribute(&cluster, &[0, 0, len], 0).unwrap();
    assert_eq!(moved.as_slice().len(), if cluster.rank() == 1 { len } else { 0 });
    let mut parts = moved.as_slice().chunks(pattern.len());
    assert!(parts.all(|part| *part == pattern[..part.len()]));
}

fn in_process() {
    for ranks in 1..=3 {
        Job::new(ranks).succeed();
    }
}

/// No rank has a worker; a rank computes by itself.
fn without_processes() {
    let cluster = Cluster::new(Pool::builder().start(Start::InProcess)).unwrap();
    let (a, b) = (whole(&cluster, [5, 700]), whole(&cluster, [700, 3]));
    let [x, y] = [&a, &b].map(|array| DistArray::scatter(&cluster, array.as_ref()).unwrap());
    let sum = |rows: &[f64]| rows.iter().sum::<f64>();
    let total = x.map_reduce(&cluster, 2, sum, 0.0, |a, b| a + b).unwrap();
    let product = cluster.matmul(&x, &y).unwrap().gather(&cluster).unwrap();
    let factorial = cluster.factorial(100).unwrap();
    let (Some(a), Some(b), Some(product)) = (a, b, product) else { return };
    assert!((total - sum(a.as_slice())).abs() <= 1e-9, "{total}");
    let exact = |i: usize, j: usize| (0..700).map(|k| a[[i, k]] * b[[k, j]]).sum::<f64>();
    for (at, &element) in product.as_slice().iter().enumerate() {
        let exact = exact(at / 3, at % 3);
        assert!((element - exact).abs() <= 1e-6, "{element} instead of {exact}");
    }
    assert_eq!(factorial.unwrap().limbs(), cluster.pool().factorial(100).unwrap().limbs());
}

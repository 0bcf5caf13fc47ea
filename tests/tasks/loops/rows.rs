//! Loops over rows, tiles and records, and their operands.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::alone::alone;
use crate::common::unique;
use brigade::shared::Event;
use brigade::{Boundary, Error, Halo, Pool, SharedArray, Subsampled, Whole};

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().unwrap()
}

/// A row-major array in which all elements differ.
fn numbered(shape: [usize; 2]) -> SharedArray<u32> {
    SharedArray::from_fn(shape, |[i, j]| u32::try_from(i * shape[1] + j).unwrap()).unwrap()
}

fn low_byte(x: u32) -> u8 {
    x.to_le_bytes()[0]
}

#[test]
fn rows_of_several_lengths_and_types_are_taken_in_step() {
    alone(|| {
        for workers in [1, 2, 3, 7] {
            let pool = pool(workers);
            for (m, n, rows) in [(0, 3, 2), (1, 1, 5), (7, 3, 2), (100, 17, 8), (64, 5, 64)] {
                let a = numbered([m, n]);
                let mut sums = SharedArray::<u64>::zeroed([m]).unwrap();
                let mut ends = SharedArray::<u8>::zeroed([m, 2]).unwrap();
                pool.par_rows(&a, rows)
                    .zip(&mut sums)
                    .zip(&mut ends)
                    .for_each(|((a, sums), mut ends)| {
                        assert_eq!((a.len(), a.first()), (ends.len(), ends.first()));
                        let rows = a.iter().zip(sums.into_slice()).zip(ends.iter_mut());
                        for ((row, sum), ends) in rows {
                            *sum = row.iter().map(|&x| u64::from(x)).sum();
                            ends.copy_from_slice(&[low_byte(row[0]), low_byte(row[row.len() - 1])]);
                        }
                    })
                    .unwrap();
                for i in 0..m {
                    let row = &a.as_slice()[i * n..][..n];
                    assert_eq!(sums[[i]], row.iter().map(|&x| u64::from(x)).sum::<u64>());
                    assert_eq!(
                        (ends[[i, 0]], ends[[i, 1]]),
                        (low_byte(row[0]), low_byte(row[n - 1]))
                    );
                }
            }
        }
    });
}

#[test]
fn rows_without_elements_are_rows_all_the_same() {
    alone(|| {
        let pool = pool(2);
        let mut empty = SharedArray::<u64>::zeroed([5, 0, 3]).unwrap();
        let mut counts = SharedArray::<usize>::zeroed([5]).unwrap();
        pool.par_rows_mut(&mut empty, 2)
            .zip(&mut counts)
            .for_each(|(mut empty, counts)| {
                let row_len = empty.row_len();
                let read = empty.iter().len();
                let rows = read + empty.iter_mut().len();
                counts.into_slice().fill(100 * rows + row_len);
            })
            .unwrap();
        assert_eq!(counts.as_slice(), [400, 400, 400, 400, 200]);
    });
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    alone(|| {
        let pool = pool(2);
        let (a, b) = (numbered([6, 4]), numbered([5, 4]));
        let error = pool.par_rows(&a, 2).zip(&b).for_each(|_| ()).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::ShapeMismatch { .. }), "{text}");
        assert!(
            text.contains("[6, 4]") && text.contains("[5, 4]") && text.contains("rows"),
            "{text}"
        );
        let error = pool.par_tiles(&a, [2, 2]).zip(&b).for_each(|_| ()).unwrap_err();
        assert!(matches!(error, Error::ShapeMismatch { .. }), "{error}");
        let sub = |every, rows| {
            pool.par_rows(&a, rows).zip(Subsampled(&b, every)).for_each(|_| ()).unwrap_err()
        };
        // The ratio was not named, and neither was the array that has other rows than the loop.
        let does_not_fit = "is [5, 4] with `Subsampled` by 2, but must be of 3 rows, one for \
                            each 2 of the 6 of [6, 4]";
        assert!(sub(2, 2).to_string().ends_with(does_not_fit), "{}", sub(2, 2));
        let first = pool.par_rows(Subsampled(&b, 2), 2).zip(&a).for_each(|_| ()).unwrap_err();
        assert!(first.to_string().ends_with(does_not_fit), "{first}");
        assert!(sub(0, 2).to_string().contains("ratio"), "{}", sub(0, 2));
        let half = numbered([3, 1]);
        let three = pool.par_rows(Subsampled(&half, 2), 2).zip(&a).zip(&b);
        let text = three.for_each(|_| ()).unwrap_err().to_string();
        assert!(text.contains("shapes [6, 4] and [5, 4] do not fit"), "{text}");
        let huge = pool.par_rows(Subsampled(&half, usize::MAX), usize::MAX).for_each(|_| ());
        assert!(matches!(huge.unwrap_err(), Error::InvalidArgument { .. }));
        let odd = pool.par_rows(&a, 3).zip(Subsampled(&half, 2)).for_each(|_| ()).unwrap_err();
        assert!(odd.to_string().contains("multiple of the ratio"), "{odd}");
        let scalar = SharedArray::<u8>::zeroed([0usize; 0]).unwrap();
        for error in [
            pool.par_rows(&scalar, 1).for_each(|_| ()).unwrap_err(),
            pool.par_axis(&a, 2, 1).for_each(|_| ()).unwrap_err(),
            pool.par_rows(&a, 0).for_each(|_| ()).unwrap_err(),
            pool.par_tiles(&a, [0, 3]).for_each(|_| ()).unwrap_err(),
            pool.par_tiles(&scalar, [1, 1]).for_each(|_| ()).unwrap_err(),
            pool.par_chunks(Whole(&a), 1).for_each(|_| ()).unwrap_err(),
        ] {
            assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
        }
    });
}

#[test]
fn a_subsampled_operand_has_a_row_for_several() {
    alone(|| {
        let pool = pool(3);
        for (height, every) in [(8, 2), (9, 2), (1, 2), (10, 3), (11, 3), (12, 3)] {
            let luma = numbered([height, 2]);
            let mut sums = SharedArray::<u32>::zeroed([height.div_ceil(every)]).unwrap();
            let chunk = 2 * every;
            pool.par_rows(&luma, chunk)
                .zip(Subsampled(&mut sums, every))
                .with(every)
                .for_each(|&every, (luma, sums)| {
                    assert_eq!(sums.first() * every, luma.first());
                    for (rows, sum) in luma.as_slice().chunks(2 * every).zip(sums.into_slice()) {
                        *sum = rows.iter().sum();
                    }
                })
                .unwrap();
            let expected: Vec<u32> =
                luma.as_slice().chunks(2 * every).map(|rows| rows.iter().sum()).collect();
            assert_eq!(sums.as_slice(), expected, "{height} by {every}");
        }
    });
}

#[test]
fn a_subsampled_operand_with_a_halo_has_the_rows_around_its_own() {
    alone(|| {
        let pool = pool(3);
        for (height, every, rows) in [(8, 2, 2), (9, 2, 4), (1, 2, 2), (11, 3, 3), (20, 1, 5)] {
            let n = usize::div_ceil(height, every);
            let luma = numbered([height, 2]);
            let chroma = numbered([n, 3]);
            let mut seen = SharedArray::<u32>::zeroed([n, 5]).unwrap();
            let halo = Halo(&chroma, 2, Boundary::Constant(99));
            pool.par_rows(&luma, rows)
                .zip(Subsampled(&mut seen, every))
                .zip(Subsampled(halo, every))
                .for_each(|((_, mut seen), chroma)| {
                    assert_eq!((chroma.first(), chroma.len()), (seen.first(), seen.len()));
                    for (i, seen) in (0..).zip(seen.iter_mut()) {
                        for (row, seen) in (i - 2..).zip(seen) {
                            *seen = chroma.row(row)[1];
                        }
                    }
                })
                .unwrap();
            for (i, seen) in (0..).zip(seen.as_slice().chunks(5)) {
                let row = |row: isize| chroma.get([row.cast_unsigned(), 1]).copied().unwrap_or(99);
                assert_eq!(seen, [-2, -1, 0, 1, 2].map(|k| row(i + k)), "{height} by {every}");
            }
        }
    });
}

#[test]
fn a_halo_gives_what_the_boundary_says() {
    alone(|| {
        let pool = pool(3);
        for n in [1usize, 2, 3, 7, 20] {
            let a = numbered([n, 3]);
            for boundary in [
                Boundary::Clamp,
                Boundary::Reflect,
                Boundary::Mirror,
                Boundary::Wrap,
                Boundary::Constant(77),
                Boundary::Shrink,
            ] {
                for (rows, reach) in [(1, 1), (2, 3), (5, 0), (30, 2)] {
                    let mut seen = SharedArray::<u32>::zeroed([n, 2 * reach + 1]).unwrap();
                    pool.par_rows_mut(&mut seen, rows)
                        .zip(Halo(&a, reach, boundary))
                        .for_each(|(mut seen, a)| {
                            let reach = seen.row_len().cast_signed() / 2;
                            for (i, seen) in (0..).zip(seen.iter_mut()) {
                                for (offset, seen) in (-reach..).zip(seen) {
                                    *seen = a.get(i + offset).map_or(99, |row| row[1]);
                                }
                            }
                        })
                        .unwrap();
                    for i in 0..n {
                        for k in 0..=2 * reach {
                            let row = (i + k).cast_signed() - reach.cast_signed();
                            let expected = match (boundary.index(row, n), boundary) {
                                (Some(row), _) => a[[row, 1]],
                                (None, Boundary::Constant(value)) => value,
                                (None, _) => 99,
                            };
                            assert_eq!(seen[[i, k]], expected, "{n} {boundary:?} {rows} {row}");
                        }
                    }
                }
            }
        }
        let a = numbered([4, 3]);
        let far = pool.par_rows(Halo(&a, 1, Boundary::Clamp), 2).for_each(|a| {
            let _ = a.row(-2);
        });
        let text = far.unwrap_err().to_string();
        assert!(text.contains("row -2 of a chunk of 2 rows, with a halo of 1"), "{text}");
    });
}

#[test]
fn tiles_cover_a_matrix_once() {
    alone(|| {
        for workers in [1, 2, 3] {
            let pool = pool(workers);
            for (shape, tile) in
                [([0, 4], [2, 2]), ([5, 0], [1, 1]), ([1, 1], [9, 9]), ([7, 10], [3, 4])]
            {
                let a = numbered(shape);
                let mut b = SharedArray::<u32>::zeroed(shape).unwrap();
                pool.par_tiles(&mut b, tile)
                    .zip(&a)
                    .zip(Halo(&a, 1, Boundary::Constant(0)))
                    .for_each(|((mut b, a), halo)| {
                        assert_eq!((b.rows(), b.columns()), (halo.rows(), halo.columns()));
                        let (rows, left) = (b.rows().len(), halo.left());
                        for i in 0..rows {
                            assert_eq!(
                                a.row(i),
                                &halo.row(i.cast_signed())[left..][..a.row(i).len()]
                            );
                            let row = b.row_mut(i);
                            for (j, b) in (0..).zip(row) {
                                let i = i.cast_signed();
                                *b += a.row(i.cast_unsigned())[usize::try_from(j).unwrap()]
                                    + halo.at(i - 1, j)
                                    + halo.at(i, j + 1);
                            }
                        }
                    })
                    .unwrap();
                for i in 0..shape[0] {
                    for j in 0..shape[1] {
                        let above = if i > 0 { a[[i - 1, j]] } else { 0 };
                        let right = if j + 1 < shape[1] { a[[i, j + 1]] } else { 0 };
                        assert_eq!(b[[i, j]], a[[i, j]] + above + right, "{shape:?} {i} {j}");
                    }
                }
            }
        }
    });
}

#[test]
fn tiles_and_halos_are_formatted_as_the_rows_that_a_call_sees() {
    alone(|| {
        let pool = pool(1);
        let (a, mut b) = (numbered([4, 3]), numbered([4, 3]));
        let halo = || Halo(&a, 1, Boundary::Wrap);
        let rows = pool.par_rows(halo(), 2).map(|rows| format!("{rows:?}")).collect().unwrap();
        assert_eq!(rows[1], "[[3, 4, 5], [6, 7, 8], [9, 10, 11]]");
        let tiles = pool.par_tiles(&a, [2, 2]).zip(halo()).zip(&mut b);
        let tiles = tiles.map(|((tile, halo), own)| {
            [format!("{tile:?}"), format!("{own:?}"), format!("{halo:?}")]
        });
        let tiles = tiles.collect().unwrap();
        assert_eq!(tiles[3], ["[[8], [11]]", "[[8], [11]]", "[[4, 5], [7, 8], [10, 11]]"]);
    });
}

#[test]
fn scratch_is_made_once_a_task_and_given_again() {
    alone(|| {
        let pool = pool(2);
        let x = numbered([1000, 1]);
        let calls = pool.par_chunks(&x, 1).scratch(|| 0u32).map(|calls, _| {
            *calls += 1;
            *calls
        });
        let calls = calls.collect().unwrap();
        let firsts = calls.iter().filter(|&&calls| calls == 1).count();
        assert!((1..=2).contains(&firsts), "{firsts}");
        let nobody = SharedArray::<u32>::zeroed([0]).unwrap();
        let made = pool.par_chunks(&nobody, 1).scratch(|| -> u8 { panic!("made for no call") });
        made.for_each(|_, _| ()).unwrap();
        let sums = pool.par_rows(&x, 10).with(vec![1u32, 2]).scratch(|start| start).map(|s, x| {
            s.truncate(2);
            s.extend(x.as_slice());
            s.iter().sum::<u32>()
        });
        assert_eq!(sums.reduce(0, |a, b| a + b).unwrap(), 499_500 + 300);
    });
}

#[test]
fn the_first_match_is_the_lowest_and_ends_the_loop_early() {
    alone(|| {
        let x = SharedArray::from_fn([100_000], |[i]| u32::try_from(i * 7919 % 100_003).unwrap())
            .unwrap();
        for workers in [1, 2, 4] {
            let pool = pool(workers);
            for limit in [50_000, 10, 0] {
                let found = pool.par_chunks(&x, 10).enumerate().with(limit).find_map_first(
                    |limit, (chunk, x)| {
                        let at = x.iter().position(|x| x < limit)?;
                        Some(10 * chunk + at)
                    },
                );
                let expected = x.as_slice().iter().position(|&x| x < limit);
                assert_eq!(found.unwrap(), expected, "{limit} by {workers}");
            }
        }
        let pool = pool(1);
        let mut seen = SharedArray::<u8>::zeroed([100_000]).unwrap();
        let ended = pool.par_chunks_mut(&mut seen, 1).enumerate().try_for_each(|(i, seen)| {
            seen[0] = 1;
            if i == 70_000 { Err(i) } else { Ok(()) }
        });
        assert_eq!(ended.unwrap(), Err(70_000));
        assert!(seen.as_slice()[..=70_000].iter().all(|&seen| seen == 1));
        assert!(seen.as_slice().contains(&0), "chunks behind the failure were given out");
    });
}

// The worker that finds a match dies before it has returned it.
#[test]
fn a_match_whose_worker_died_is_found_again() {
    static HAS_FOUND: AtomicBool = AtomicBool::new(false);
    alone(|| {
        let pool = pool(2);
        let x = numbered([1000, 1]);
        let mark = std::env::temp_dir().join(unique("match"));
        let chunks = pool.par_chunks(&x, 1).retries(1).with((mark.clone(), Event::new().unwrap()));
        let found = chunks.find_map_first(|(mark, has_died), x| {
            // Each worker has a static of its own, and the mark is made once: exactly one dies.
            if HAS_FOUND.load(Ordering::Relaxed) && std::fs::File::create_new(mark).is_ok() {
                has_died.set().unwrap();
                std::process::abort();
            }
            match x[0] {
                // Its worker leaves the other chunks below 400 to the one that finds the match.
                0 => has_died.wait().unwrap(),
                400 => HAS_FOUND.store(true, Ordering::Relaxed),
                _ => {}
            }
            (x[0] == 400).then_some(400)
        });
        std::fs::remove_file(&mark).expect("a worker has died");
        assert_eq!(found.unwrap(), Some(400));
        assert_eq!(pool.stats().restarts, 1);
    });
}

#[test]
fn records_are_never_cut() {
    alone(|| {
        let text = (0..2000u32).map(|i| "x".repeat(i as usize % 97) + "\n").collect::<String>();
        let text = text + "last";
        let bytes = SharedArray::from_slice(text.as_bytes()).unwrap();
        for (workers, target) in [(1, 1), (2, 10), (3, 1000), (2, 1 << 20)] {
            let pool = pool(workers);
            let lines = pool.par_records(&bytes, b'\n', target).map(|piece| {
                str::from_utf8(piece).unwrap().lines().map(str::len).collect::<Vec<_>>()
            });
            let lines = lines.collect().unwrap().concat();
            assert_eq!(lines, text.lines().map(str::len).collect::<Vec<_>>(), "{target}");
        }
    });
}

#[test]
fn results_come_as_an_array_in_order() {
    alone(|| {
        let pool = pool(3);
        let x = numbered([1003, 1]);
        let sums = pool.par_chunks(&x, 10).map(|x| x.iter().sum::<u32>()).collect_array().unwrap();
        let expected: Vec<u32> = x.as_slice().chunks(10).map(|x| x.iter().sum()).collect();
        assert_eq!(sums.as_slice(), expected);
        let empty = SharedArray::<u32>::zeroed([0]).unwrap();
        let none = pool.par_chunks(&empty, 10).map(|x| x.len()).collect_array().unwrap();
        assert_eq!(none.len(), 0);
    });
}

#[test]
fn a_death_in_a_loop_over_rows_names_the_torn_rows() {
    alone(|| {
        let pool = pool(2);
        let mut a = SharedArray::<u8>::zeroed([100, 7]).unwrap();
        let error = pool.par_rows_mut(&mut a, 10).for_each(|rows| {
            if rows.first() == 50 {
                std::process::abort();
            }
            rows.into_slice().fill(1);
        });
        let error = error.unwrap_err();
        assert_eq!(error.death().unwrap().torn, std::slice::from_ref(&(50..60)), "{error}");
        let whole = a.as_slice().iter().filter(|&&x| x == 1).count();
        assert_eq!(whole, 7 * 90);
        let text = SharedArray::from_slice(b"frozen").unwrap().freeze();
        let lengths = pool.map([1usize, 2], usize::count_ones).unwrap().count();
        let seen = pool.with(text.clone()).map([0usize, 5], |text, i| text[[i]]).unwrap();
        assert_eq!((lengths, seen.collect::<Vec<_>>()), (2, vec![b'f', b'n']));
        let found =
            pool.par_chunks(&text, 2).zip(Whole(&text)).map(|(part, all)| (part.len(), all.len()));
        assert_eq!(found.collect().unwrap(), [(2, 6); 3]);
    });
}

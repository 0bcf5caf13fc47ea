//! One picture, divided between workers that may die.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use brigade::Pool;
use brigade::batch::Key;
use clap::Parser;
use image::{DynamicImage, ImageFormat, Luma, Rgba, RgbaImage};
use images::arguments::Arguments;
use images::task::{Job, process};
use images::tiles::{Outcome, run};
use support::{Directory, encoded, gradient, turned};

/// A picture with edges and alpha, of sizes that no chunk divides.
fn picture() -> RgbaImage {
    let smooth = gradient(1003, 777, 40);
    RgbaImage::from_fn(1003, 777, |x, y| {
        let [r, g, b] = smooth.get_pixel(x, y).0;
        let is_inside = (x / 97 + y / 61) % 2 == 0;
        Rgba([r, if is_inside { 255 - g } else { g }, b, if x < 300 { 128 } else { 255 }])
    })
}

fn arguments(words: &[&str]) -> Arguments {
    Arguments::parse_from([&["images"], words, &["--tiles"]].concat())
}

fn tiles(pool: &Pool, directory: &Path, options: &[&str], output: &str) -> Outcome {
    let at = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let (input, output) = (at("in/picture.png"), at(output));
    run(pool, &arguments(&[&[input.as_str(), output.as_str()], options].concat())).unwrap()
}

fn with_picture() -> Directory {
    let directory = Directory::new();
    let path = directory.folder("in").join("picture.png");
    fs::write(path, encoded(picture(), ImageFormat::Png)).unwrap();
    directory
}

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).retries(8).build().unwrap()
}

const OPTIONS: [&[&str]; 4] = [
    &["--blur", "3"],
    &["--size", "400", "--blur", "1.5", "--grey"],
    &["--edges"],
    &["--size", "900", "--edges", "--blur", "2"],
];

#[test]
fn the_result_is_the_same_for_any_number_of_workers() {
    let directory = with_picture();
    for options in OPTIONS {
        let results = [1, 2, 3].map(|workers| {
            let name = format!("{workers}.png");
            let outcome = tiles(&pool(workers), &directory.0, options, &name);
            let bytes = fs::read(directory.0.join(name)).unwrap();
            assert_eq!(outcome.bytes, bytes.len() as u64);
            bytes
        });
        assert!(results[0] == results[1] && results[0] == results[2], "{options:?}");
    }
}

/// The greatest difference of two pictures.
fn difference(a: &DynamicImage, b: &DynamicImage) -> u8 {
    assert_eq!((a.width(), a.height(), a.color()), (b.width(), b.height(), b.color()));
    a.as_bytes().iter().zip(b.as_bytes()).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[test]
fn a_divided_picture_is_that_of_the_batch() {
    let directory = with_picture();
    for options in [
        &["--size", "400"][..],
        &["--size", "123", "--grey"],
        &["--size", "1003"],
        &["--size", "400", "--blur", "0.7"],
        &["--size", "400", "--blur", "9.5", "--grey"],
        &["--size", "123", "--blur", "200"],
    ] {
        tiles(&pool(2), &directory.0, options, "tiles.png");
        let recipe = arguments(&[&["in", "out"], options].concat()).recipe();
        let job = Job::new(directory.0.join("in"), directory.0.join("out"), recipe);
        process(&job, &Key::from("picture.png")).unwrap();
        let open = |name: &str| image::open(directory.0.join(name)).unwrap();
        let found = difference(&open("tiles.png"), &open("out/picture.png"));
        assert!(found <= 1, "{options:?}: {found}");
    }
}

#[test]
fn edges_are_where_the_picture_changes() {
    let directory = Directory::new();
    let path = directory.folder("in").join("picture.png");
    let step = image::GrayImage::from_fn(300, 200, |x, _| Luma([if x < 150 { 0 } else { 255 }]));
    fs::write(path, encoded(step, ImageFormat::Png)).unwrap();
    tiles(&pool(2), &directory.0, &["--edges"], "edges.bmp");
    let found = image::open(directory.0.join("edges.bmp")).unwrap().to_luma8();
    for (x, y, pixel) in found.enumerate_pixels() {
        assert_eq!(pixel[0], if x == 149 || x == 150 { 255 } else { 0 }, "{x}, {y}");
    }
}

#[test]
fn the_size_is_that_of_the_turned_picture() {
    let directory = Directory::new();
    let jpeg = turned(&encoded(gradient(90, 60, 7), ImageFormat::Jpeg), 6);
    fs::write(directory.folder("in").join("picture.png"), jpeg).unwrap();
    let found = tiles(&pool(1), &directory.0, &["--size", "30"], "small.png");
    let made = image::open(directory.0.join("small.png")).unwrap();
    assert_eq!((found.width, found.height), (20, 30));
    assert_eq!((made.width(), made.height()), (20, 30));
}

/// The processes whose name begins so.
fn named(start: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let is_named = |pid: &String| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.starts_with(start)
    };
    pids.filter(is_named).collect()
}

/// Ends the killer of workers, also if an assertion fails.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn workers_that_are_killed_change_nothing() {
    const KILLS: u64 = 2;
    const ROUNDS_MAX: u32 = 100;
    let directory = with_picture();
    let options = &["--size", "900", "--blur", "6"][..];
    tiles(&pool(2), &directory.0, options, "calm.png");
    let calm = fs::read(directory.0.join("calm.png")).unwrap();

    let name = format!("t{}", std::process::id());
    let pool = Pool::builder().workers(2).name(&name).retries(8).build().unwrap();
    let start = format!("{name}-");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        // Each kill is noticed before the next.
        scope.spawn(|| {
            for kill in 0..KILLS {
                while pool.stats().restarts_by.died < kill || pool.stats().running == 0 {
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    thread::yield_now();
                }
                if let Some(pid) = named(&start).first() {
                    let _ = Command::new("kill").args(["-KILL", pid]).status();
                }
            }
        });
        let _ending = Ending(&is_over);
        // A worker may die between two loops, where it has nothing to lose.
        for round in 0.. {
            if pool.stats().restarts_by.died >= KILLS {
                break;
            }
            assert!(round < ROUNDS_MAX, "{:?}", pool.stats());
            tiles(&pool, &directory.0, options, "killed.png");
            assert!(fs::read(directory.0.join("killed.png")).unwrap() == calm);
        }
    });
}

#[test]
fn a_picture_that_cannot_be_read_or_written_is_named() {
    let directory = with_picture();
    let program = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_images"));
        let output = command.args(words).arg("--tiles").current_dir(&directory.0).output();
        let output = output.unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let whole = fs::read(directory.0.join("in/picture.png")).unwrap();
    fs::write(directory.0.join("cut.png"), &whole[..whole.len() / 2]).unwrap();
    for (words, expected, why) in [
        (&["cut.png", "out.png"][..], 1, "images: cut.png: "),
        (&["in/picture.png", "in/picture.png"], 1, "is the input itself"),
        (&["in/picture.png", "/proc/out.png"], 1, "/proc/out.png"),
        (&["in/picture.png", "out.png", "--max-megapixels", "0"], 2, "max-megapixels"),
    ] {
        let (code, text) = program(words);
        assert!(code == Some(expected) && text.contains(why), "{words:?}: {code:?} {text}");
    }
    assert!(!directory.0.join("out.png").exists());
    let (code, text) = program(&["in/picture.png", "out.jpg", "--json"]);
    assert_eq!((code, text.as_str()), (Some(0), ""));
    assert_eq!(image::open(directory.0.join("out.jpg")).unwrap().width(), 1003);
}

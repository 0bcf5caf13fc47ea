//! Files that the tests make, compared with a simple oracle.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use brigade::Pool;
use stations::generate;
use stations::group::{Failure, TextFile, WrongLines};
use stations::line::Fault;
use stations::report;
use stations::table::Table;
use tempfile::TempDir;

fn new_folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().unwrap()
}

fn open(path: &Path) -> Result<TextFile, Failure> {
    // SAFETY: no other program knows the file. A test that changes it does so while only workers
    // read it, by instructions that a change cannot lead to another error than wrong bytes.
    unsafe { TextFile::open(path) }
}

fn group(
    folder: &TempDir,
    text: &[u8],
    workers: usize,
    wrong: WrongLines,
) -> Result<Table, Failure> {
    let path = folder.path().join("text");
    fs::write(&path, text).unwrap();
    open(&path)?.group(&pool(workers), wrong, |_| {})
}

/// The classical form, by the rules of the format alone.
fn oracle(text: &str) -> String {
    let mut groups: BTreeMap<&[u8], Vec<i64>> = BTreeMap::new();
    for line in text.lines() {
        let (name, value) = line.split_once(';').unwrap();
        groups.entry(name.as_bytes()).or_default().push(value.replace('.', "").parse().unwrap());
    }
    let shown = groups.into_iter().map(|(name, values)| {
        let (min, max) = (values.iter().min().unwrap(), values.iter().max().unwrap());
        let twice = 2 * values.iter().sum::<i64>() + values.len() as i64;
        let mean = twice.div_euclid(2 * values.len() as i64);
        let [min, mean, max] = [*min, mean, *max].map(report::decimal);
        format!("{}={min}/{mean}/{max}", str::from_utf8(name).unwrap())
    });
    format!("{{{}}}\n", shown.collect::<Vec<_>>().join(", "))
}

fn text_of(table: &Table) -> String {
    let mut out = Vec::new();
    report::write_text(table, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_generated_file_is_grouped_alike_by_any_number_of_workers_a_plain_loop_and_an_oracle() {
    let folder = new_folder();
    let path = folder.path().join("generated");
    let mut text = Vec::new();
    // Some pieces of a mebibyte.
    generate::write(&mut text, 300_000, 7).unwrap();
    fs::write(&path, &text).unwrap();
    let expected = oracle(str::from_utf8(&text).unwrap());
    assert_eq!(expected.matches('=').count(), 413);
    let file = open(&path).unwrap();
    for workers in [1, 2, 5] {
        let table = file.group(&pool(workers), WrongLines::Refuse, |_| {}).unwrap();
        assert_eq!((table.lines(), table.wrong()), (300_000, 0));
        assert_eq!(text_of(&table), expected);
    }
    let plain = file.group_plainly(WrongLines::Refuse).unwrap();
    assert_eq!(text_of(&plain), expected);
}

#[test]
fn the_same_seed_gives_the_same_file_and_another_seed_another() {
    let lines = |seed| {
        let mut text = Vec::new();
        generate::write(&mut text, 1000, seed).unwrap();
        text
    };
    assert_eq!(lines(1), lines(1));
    assert_ne!(lines(1), lines(2));
}

#[test]
fn many_long_names_in_utf8_and_crlf_are_grouped_as_by_the_oracle() {
    let folder = new_folder();
    let mut text = String::new();
    for row in 0..200_000_u32 {
        // 5000 names of 2 to 100 bytes, most of them not ASCII; many begin with the same 16 bytes.
        let name = row.wrapping_mul(2_654_435_761) % 5000;
        let padding = "\u{e9}".repeat(name as usize % 48);
        let end = if row % 3 == 0 { "\r\n" } else { "\n" };
        let tenths = row % 1999;
        let value = report::decimal(i64::from(tenths) - 999);
        text += &format!("{padding}{name};{value}{end}");
    }
    let text = text.trim_end();
    let table = group(&folder, text.as_bytes(), 3, WrongLines::Refuse).unwrap();
    assert_eq!(table.sorted().len(), 5000);
    assert_eq!(text_of(&table), oracle(text));
}

#[test]
fn means_are_rounded_half_up_and_signs_are_kept() {
    let folder = new_folder();
    let text = "a;0.1\na;0.2\nb;-0.1\nb;-0.2\nc;-0.5\nd;-0.0\ne;-99.9\ne;99.9\nf;0.0\nf;-0.1\n";
    let table = group(&folder, text.as_bytes(), 2, WrongLines::Refuse).unwrap();
    let expected = "{a=0.1/0.2/0.2, b=-0.2/-0.1/-0.1, c=-0.5/-0.5/-0.5, d=0.0/0.0/0.0, \
                    e=-99.9/0.0/99.9, f=-0.1/0.0/0.0}\n";
    assert_eq!(text_of(&table), expected);
}

#[test]
fn an_empty_file_has_no_stations() {
    let folder = new_folder();
    let table = group(&folder, b"", 2, WrongLines::Refuse).unwrap();
    assert_eq!((text_of(&table).as_str(), table.lines()), ("{}\n", 0));
}

#[test]
fn the_first_wrong_line_is_named_by_its_number_wherever_the_file_is_cut() {
    let folder = new_folder();
    let mut lines: Vec<&[u8]> = vec![b"Oslo;-1.5"; 400_000];
    lines[312_345] = b"Oslo -1.5";
    lines[399_000] = b"Oslo;1.55";
    let text = lines.join(&b'\n');
    let Err(Failure::Line { first, others }) = group(&folder, &text, 3, WrongLines::Refuse) else {
        panic!("a wrong line is an error");
    };
    assert_eq!((first.number, first.fault, others), (312_346, Fault::NoSeparator, 1));
    let message = Failure::Line { first, others }.to_string();
    assert!(message.starts_with("line 312346 is \"Oslo -1.5\", but must have"), "{message}");

    let table = group(&folder, &text, 3, WrongLines::Skip).unwrap();
    assert_eq!((table.lines(), table.wrong()), (400_000, 2));
    assert_eq!(table.sorted()[0].1.count, 399_998);
}

#[test]
fn bytes_that_are_no_text_are_a_wrong_line_and_no_crash() {
    let folder = new_folder();
    let mut bytes = vec![0u8; 3 << 20];
    let mut state = 1u32;
    for byte in &mut bytes {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24) as u8;
    }
    for text in [&bytes[..], &vec![0; 3 << 20], &vec![b'\n'; 3 << 20], &vec![b';'; 3 << 20]] {
        let Err(Failure::Line { first, .. }) = group(&folder, text, 2, WrongLines::Refuse) else {
            panic!("a wrong line is an error");
        };
        assert_eq!(first.number, 1);
        let file = open(&folder.path().join("text")).unwrap();
        let skipped = file.group(&pool(2), WrongLines::Skip, |_| {}).unwrap();
        let plain = file.group_plainly(WrongLines::Skip).unwrap();
        assert_eq!(skipped.sorted(), plain.sorted());
        assert_eq!((skipped.lines(), skipped.wrong()), (plain.lines(), plain.wrong()));
        assert_eq!(skipped.first_wrong(), plain.first_wrong());
    }
}

/// The workers map the file when the loop starts, so it may be short before, during or after that:
/// an error in every case, and the pool works on.
#[test]
fn a_file_that_shrinks_after_it_was_opened_is_an_error_at_any_time() {
    let folder = new_folder();
    let text = b"Oslo;-1.5\n".repeat(800_000);
    let path = folder.path().join("shrinks");
    let pool = pool(2);
    for round in 0..6u32 {
        fs::write(&path, &text).unwrap();
        let file = open(&path).unwrap();
        let shrink = || fs::File::options().write(true).open(&path).unwrap().set_len(4096).unwrap();
        let grouped = if round == 0 {
            shrink();
            file.group(&pool, WrongLines::Refuse, |_| {})
        } else {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    // Another moment in each round.
                    (0..round * 40_000).for_each(|_| std::hint::spin_loop());
                    shrink();
                });
                file.group(&pool, WrongLines::Refuse, |_| {})
            })
        };
        // Only a read that ended before the change, and was compared before it, may succeed.
        match grouped {
            Err(Failure::Changed) => {}
            Ok(table) => assert_eq!((round > 0, table.lines()), (true, 800_000)),
            Err(other) => panic!("{other:?}"),
        }
    }
    fs::write(&path, "a;1.0\n").unwrap();
    let table = open(&path).unwrap().group(&pool, WrongLines::Refuse, |_| {}).unwrap();
    assert_eq!(table.lines(), 1);
}

//! Files that the tests make, compared with `csv-core` alone.
#![allow(unsafe_code)]

use std::fs;
use std::path::Path;

use brigade::Pool;
use csv_core::{ReadRecordResult, Reader};
use table::header::HeaderFault;
use table::read::{self, Failure, Numbers, Options, Table};
use table::report::group;
use table::summary::{Number, summaries};
use tempfile::TempDir;

fn new_folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().unwrap()
}

fn read(pool: &Pool, path: &Path, options: &Options) -> Result<Table, Failure> {
    // SAFETY: no other program knows the file. A test that changes it does so while only workers
    // read it, by instructions that a change cannot lead to another error than wrong bytes.
    unsafe { read::read(pool, path, options) }
}

fn read_text(folder: &TempDir, text: &[u8], options: &Options) -> Result<Table, Failure> {
    let path = folder.path().join("text.csv");
    fs::write(&path, text).unwrap();
    read(&pool(2), &path, options)
}

/// The bits of a column's numbers.
fn bits(table: &Table, name: &str) -> Vec<u64> {
    let column = table.columns.iter().find(|column| column.name == name).unwrap();
    match &column.numbers {
        Numbers::Integers(numbers) => {
            numbers.as_slice().iter().map(|x| x.cast_unsigned()).collect()
        }
        Numbers::Floats(numbers) => numbers.as_slice().iter().map(|x| x.to_bits()).collect(),
    }
}

fn floats(table: &Table, name: &str) -> Vec<f64> {
    bits(table, name).into_iter().map(f64::from_bits).collect()
}

/// All records of a text by csv-core alone, one after another.
fn records(text: &[u8]) -> Vec<Vec<String>> {
    let (mut reader, mut rest, mut found) = (Reader::new(), text, Vec::new());
    let (mut out, mut ends) = (vec![0; text.len() + 1], vec![0; 100]);
    let (mut written, mut ended) = (0, 0);
    loop {
        let (result, read, wrote, more) =
            reader.read_record(rest, &mut out[written..], &mut ends[ended..]);
        (rest, written, ended) = (&rest[read..], written + wrote, ended + more);
        match result {
            ReadRecordResult::InputEmpty => continue,
            ReadRecordResult::Record => {
                let field = |index: usize| {
                    let start = if index == 0 { 0 } else { ends[index - 1] };
                    String::from_utf8(out[start..ends[index]].to_vec()).unwrap()
                };
                found.push((0..ended).map(field).collect());
                (written, ended) = (0, 0);
            }
            _ => return found,
        }
    }
}

/// Rows with quotes that have newlines, doubled quotes and delimiters, and odd numbers.
fn odd_rows(rows: usize, end: &str) -> String {
    let mut text = format!("id,note,x,\"the \"\"y\"\"\"{end}");
    for row in 0..rows {
        let note = match row % 7 {
            0 => "\"a \"\"quoted\"\", word\"".to_owned(),
            1 => format!("\"two{end}lines, {row}\""),
            2 => "\"\"\"\"".to_owned(),
            3 => String::new(),
            4 => format!("5\" pipe {row}"),
            _ => format!("plain {row}"),
        };
        let x = f64::from(u32::try_from(row).unwrap()) * 0.37 - 1000.0;
        let y = match row % 5 {
            0 => "\"1e3\"".to_owned(),
            1 => String::new(),
            2 => "-0".to_owned(),
            _ => format!("{row}"),
        };
        text += &format!("{},{note},{x},{y}{end}", row % 1000);
    }
    text
}

#[test]
fn every_field_is_what_csv_core_reads_for_any_number_of_workers() {
    let folder = new_folder();
    // Some groups of 4 MiB, and many blocks, which begin anywhere.
    for end in ["\n", "\r\n"] {
        let text = odd_rows(300_000, end);
        let expected = records(text.as_bytes());
        assert_eq!(expected.len(), 300_001);
        let column = |index: usize| {
            let fields = expected[1..].iter().map(move |record| record[index].as_str());
            fields.map(|field| if field.is_empty() { f64::NAN } else { field.parse().unwrap() })
        };
        let path = folder.path().join("odd.csv");
        fs::write(&path, text.trim_end()).unwrap();
        for workers in [1, 3] {
            let table = read(&pool(workers), &path, &Options::default()).unwrap();
            assert_eq!((table.rows, table.skipped), (300_000, 0));
            assert_eq!(table.texts, ["note"]);
            let ids = expected[1..].iter().map(|record| record[0].parse().unwrap());
            let ids: Vec<u64> = ids.collect();
            assert!(bits(&table, "id") == ids);
            for (name, index) in [("x", 2), ("the \"y\"", 3)] {
                let found = floats(&table, name);
                let same =
                    |(a, b): (&f64, f64)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
                assert!(
                    found.len() == 300_000 && found.iter().zip(column(index)).all(same),
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn types_are_inferred_widened_and_given() {
    let folder = new_folder();
    let mut text = "a,b,c\n".to_owned();
    (0..2000).for_each(|row| text += &format!("{row},{row},-{row}\n"));
    text += "1,2.5,9223372036854775808\n,3,-9223372036854775808\n";
    let table = read_text(&folder, text.as_bytes(), &Options::default()).unwrap();
    let kinds = |table: &Table| -> Vec<bool> {
        let columns = table.columns.iter();
        columns.map(|column| matches!(column.numbers, Numbers::Integers(_))).collect()
    };
    assert_eq!(kinds(&table), [false, false, false]);
    assert!(floats(&table, "a")[2001].is_nan());
    assert_eq!((floats(&table, "b")[2000], floats(&table, "c")[2000]), (2.5, -(i64::MIN as f64)));

    let given = Options {
        integers: vec!["a".to_owned()],
        floats: vec!["c".to_owned()],
        ..Default::default()
    };
    let Err(Failure::Row { first, others }) = read_text(&folder, text.as_bytes(), &given) else {
        panic!("an empty field of a column of integers");
    };
    assert_eq!((first.line, others), (2003, 0));
    assert!(
        first.reason.contains("field 1 is \"\", but must be a whole number"),
        "{}",
        first.reason
    );
    let skipping = Options { skip_bad: true, ..given };
    let table = read_text(&folder, text.as_bytes(), &skipping).unwrap();
    assert_eq!((kinds(&table), table.rows, table.skipped), (vec![true, false, false], 2001, 1));

    let only = Options { columns: Some(vec!["b".to_owned()]), ..Default::default() };
    let table = read_text(&folder, b"a,b\nx,9223372036854775807\ny, -5 \n", &only).unwrap();
    assert_eq!(bits(&table, "b"), [i64::MAX.cast_unsigned(), (-5i64).cast_unsigned()]);
}

#[test]
fn wrong_rows_are_named_by_their_line_or_skipped_and_counted() {
    let folder = new_folder();
    // Lines that are no records count as lines.
    let mut text = "# \"a comment,\n\nx,y\n".to_owned();
    (0..700_000).for_each(|row| text += &format!("{row},{row}.5\n"));
    let wrong = ["1\n", "1,2,3\n", "\"1\n2\",3\n", "one,1\n", "1,0x10\n"];
    let right_at_end = "# more\n\n5,6\n";
    wrong.iter().for_each(|row| text += row);
    text += right_at_end;
    let lines_before = 3 + 700_000;
    let Err(Failure::Row { first, others }) =
        read_text(&folder, text.as_bytes(), &Options::default())
    else {
        panic!("wrong rows are an error");
    };
    assert_eq!((first.line, others), (lines_before + 1, 4));
    let skipping = Options { skip_bad: true, ..Default::default() };
    let table = read_text(&folder, text.as_bytes(), &skipping).unwrap();
    assert_eq!((table.rows, table.skipped), (700_001, 5));
    let x: Vec<u64> = (0..700_000).chain([5]).collect();
    assert!(bits(&table, "x") == x);

    for (row, (line, words)) in wrong.iter().zip([
        (1, "it has 1 fields, but must have 2"),
        (1, "it has 3 fields"),
        (1, "field 1 is \"1\\n2\", but must be a number"),
        (1, "field 1 is \"one\""),
        (1, "field 2 is \"0x10\""),
    ]) {
        let text = format!("x,y\n1,2.5\n\n2,3\n{row}3,4\n");
        let Err(failure) = read_text(&folder, text.as_bytes(), &Options::default()) else {
            panic!("{row:?}");
        };
        let message = failure.to_string();
        assert!(message.starts_with(&format!("line {}: ", 4 + line)), "{message}");
        assert!(message.contains(words) && message.contains("--skip-bad"), "{message}");
    }
}

#[test]
fn small_and_odd_files_are_read_or_refused_with_a_reason() {
    let folder = new_folder();
    let default = Options::default();
    let refused = |text: &[u8]| read_text(&folder, text, &default).unwrap_err();
    assert!(matches!(refused(b""), Failure::Header(HeaderFault::Empty)));
    assert!(matches!(refused(b"\n# only\n"), Failure::Header(HeaderFault::Empty)));
    assert!(matches!(refused(b"a,b\0\n1,2\n"), Failure::NoText));
    assert!(matches!(refused(b"\xff,b\n1,2\n"), Failure::Header(HeaderFault::NoText)));
    assert!(matches!(refused(b"a,a\n1,2\n"), Failure::Header(HeaderFault::Twice(_))));
    assert!(matches!(refused(b"a\nx\ny\n"), Failure::NoNumbers));
    assert!(matches!(refused(b"a,b\n1,2\n3,\"4\n5,6\n"), Failure::OpenQuote { line: 2 }));
    assert!(matches!(refused(&vec![b'x'; 3 << 20]), Failure::Header(HeaderFault::TooLong)));
    let unknown = Options { columns: Some(vec!["c".to_owned()]), ..Options::default() };
    let failure = read_text(&folder, b"a,b\n1,2\n", &unknown).unwrap_err().to_string();
    assert!(failure.contains("no column \"c\"") && failure.contains("[\"a\", \"b\"]"), "{failure}");

    let table = read_text(&folder, b"\xef\xbb\xbfa,b", &default).unwrap();
    assert_eq!((table.rows, table.columns.len(), table.columns[0].name.as_str()), (0, 2, "a"));
    let plain = Options { has_names: false, ..Options::default() };
    let table = read_text(&folder, b"1;2\n", &plain);
    assert!(matches!(table.unwrap_err(), Failure::NoNumbers));
    let semicolons =
        Options { format: table::read::Format { delimiter: b';', comment: None }, ..plain };
    let table = read_text(&folder, b"1;2\r\n3;4", &semicolons).unwrap();
    assert_eq!((bits(&table, "1"), bits(&table, "2")), (vec![1, 3], vec![2, 4]));
}

/// The file may be short before, while or after the workers read it: an error, or the whole file.
#[test]
fn a_file_that_shrinks_while_it_is_read_is_an_error_at_any_time() {
    let folder = new_folder();
    let text = format!("x,y\n{}", "1,2.5\n".repeat(1_000_000));
    let path = folder.path().join("shrinks.csv");
    let pool = pool(2);
    for round in 0..6u32 {
        fs::write(&path, &text).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (0..round * 100_000).for_each(|_| std::hint::spin_loop());
                fs::File::options().write(true).open(&path).unwrap().set_len(8192).unwrap();
            });
            match read(&pool, &path, &Options::default()) {
                Err(Failure::Changed) => {}
                // It was opened after the change, or read before it; a row may be cut.
                Ok(table) => assert!(table.rows == 1_000_000 || table.rows < 1400),
                Err(Failure::Row { first, .. }) => assert!(first.line > 1300, "{first:?}"),
                Err(other) => panic!("{other:?}"),
            }
        });
    }
    fs::write(&path, "x\n1\n").unwrap();
    assert_eq!(read(&pool, &path, &Options::default()).unwrap().rows, 1);
}

#[test]
fn whole_numbers_keep_all_their_digits() {
    let folder = new_folder();
    let table = read_text(&folder, b"id,k\n9007199254740993,1\n-5,1\n", &Options::default());
    let (table, pool) = (table.unwrap(), pool(2));
    let found = &summaries(&pool, &table).unwrap()[0];
    let expected = (Number::Integer(-5), Number::Integer(9_007_199_254_740_993));
    assert_eq!((found.min, found.max), expected);
    assert_eq!(found.max.to_string(), "9007199254740993");
    let groups = group(&pool, &table, "k").unwrap().unwrap();
    assert_eq!((groups.columns[0].min[0], groups.columns[0].max[0]), expected);
}

#[test]
fn a_byte_order_mark_before_a_quoted_name_is_no_part_of_it() {
    let folder = new_folder();
    let text = b"\xef\xbb\xbf\"a\nb\",c\n1,2\n";
    let table = read_text(&folder, text, &Options::default()).unwrap();
    assert_eq!((table.columns[0].name.as_str(), bits(&table, "c")), ("a\nb", vec![2]));
    let wrong = read_text(&folder, b"\xef\xbb\xbfa\n\n1\nx\n", &Options::default());
    assert!(wrong.unwrap_err().to_string().contains("line 4"), "the mark has no line");
}

#[test]
fn a_row_that_is_left_out_says_nothing_of_the_types() {
    let folder = new_folder();
    let options = Options { skip_bad: true, ..Options::default() };
    let mut text = b"a,b\n".to_vec();
    text.extend(b"1,2\n".repeat(1000));
    text.extend(b"1.5,x\n");
    let table = read_text(&folder, &text, &options).unwrap();
    assert!(table.columns.iter().all(|column| matches!(column.numbers, Numbers::Integers(_))));
    assert_eq!((table.rows, table.skipped), (1000, 1));
}

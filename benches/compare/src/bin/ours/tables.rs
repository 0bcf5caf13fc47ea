//! Tables: grouping a text by name, reading a CSV file.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use brigade_compare::protocol::{Arguments, Repetition};
use brigade_compare::stopwatch::seconds_a_call;
use stations::group::{TextFile, WrongLines};
use table::read::{Options, read};

use crate::tasks::build;

/// A file that the rivals read too; it is removed at the end.
struct SharedFile(PathBuf);

impl SharedFile {
    fn new(workload: &str, rows: u64, write: impl FnOnce(&mut BufWriter<fs::File>)) -> SharedFile {
        let name = format!("brigade-compare-{workload}-{rows}.txt");
        let file = SharedFile(std::env::temp_dir().join(name));
        let mut out = BufWriter::new(fs::File::create(&file.0).expect("a new file"));
        write(&mut out);
        out.flush().expect("room on the disk");
        file
    }
}

impl Drop for SharedFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// How fast are lines grouped by name?
pub(crate) fn stations(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let rows = arguments.number("rows");
    let file = SharedFile::new("stations", rows, |out| {
        stations::generate::write(out, rows, 1).expect("room on the disk");
    });
    Box::new(move || {
        let seconds = seconds_a_call(budget, || {
            // SAFETY: this program made the file, and changes it no more.
            let text = unsafe { TextFile::open(&file.0) }.expect("the file");
            let table = text.group(&pool, WrongLines::Refuse, |_| {}).expect("it is grouped");
            assert_eq!(table.lines(), rows, "lines are missing");
        });
        vec![("call_ms", seconds * 1e3)]
    })
}

/// How fast is a CSV file of two columns of integers and six of floats read?
pub(crate) fn csv(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let rows: u64 = arguments.number("rows");
    let file = SharedFile::new("csv", rows, |out| {
        writeln!(out, "id,group,a,b,c,d,e,f").expect("room on the disk");
        let mut state = 1u64;
        for row in 0..rows {
            let mut random = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 11) as f64 / (1u64 << 53) as f64
            };
            let group = (random() * 1000.0) as u64;
            let [a, b, c, d, e, f] = [1.0, 1e3, 1e6, 10.0, 1e-3, 1e4].map(|s| (random() - 0.5) * s);
            writeln!(out, "{row},{group},{a:.6},{b:.3},{c:.2},{d:.4},{e:e},{f:.1}")
                .expect("room on the disk");
        }
    });
    Box::new(move || {
        let seconds = seconds_a_call(budget, || {
            // SAFETY: this program made the file, and changes it no more.
            let table = unsafe { read(&pool, &file.0, &Options::default()) }.expect("it is read");
            assert_eq!((table.rows as u64, table.columns.len()), (rows, 8), "numbers are missing");
        });
        vec![("call_ms", seconds * 1e3)]
    })
}

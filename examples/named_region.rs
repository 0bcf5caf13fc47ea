//! Two programs share an array by name.

mod support;

use std::process::{Command, ExitCode};

use brigade::{Error, SharedArray};
use support::arguments::{Arguments, Stop, run};

const USAGE: &str = "\
named_region: two processes share an array under /dev/shm

  --name NAME         its name [brigade-example-PID]
  --attach NAME       be the second process: double what is there";

fn main() -> ExitCode {
    run(USAGE, |arguments| match arguments.text("attach") {
        Some(name) => double(name),
        None => share(&arguments),
    })
}

/// The first process: makes the array, starts the second, and checks the result.
fn share(arguments: &Arguments) -> Result<(), Stop> {
    let own = format!("brigade-example-{}", std::process::id());
    let name = arguments.text("name").unwrap_or(&own);
    let mut matrix = SharedArray::<f64>::named(name, [2, 3])?;
    matrix.copy_from_slice(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?;
    println!("/dev/shm/{name} holds {:?}", matrix.copy_to_vec());
    println!("in Python: numpy.load(\"/dev/shm/{name}\", mmap_mode=\"r+\")");

    let program = std::env::current_exe().map_err(Stop::usage)?;
    let status = Command::new(program).args(["--attach", name]).status().map_err(Stop::usage)?;
    assert!(status.success(), "the second process: {status}");

    println!("/dev/shm/{name} holds {:?}", matrix.copy_to_vec());
    assert_eq!(matrix.copy_to_vec(), [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
    drop(matrix);
    assert!(matches!(SharedArray::<f64>::open(name), Err(Error::NotFound { .. })));
    println!("the name went with its creator");
    Ok(())
}

/// The second process: knows only the name.
fn double(name: &str) -> Result<(), Stop> {
    let mut matrix = SharedArray::<f64>::open(name)?;
    let doubled: Vec<f64> = matrix.copy_to_vec().iter().map(|x| 2.0 * x).collect();
    matrix.copy_from_slice(&doubled)?;
    println!("process {} found shape {} and doubled it", std::process::id(), matrix.shape());
    Ok(())
}

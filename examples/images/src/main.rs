//! Resizes folders of pictures: `images --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    images::program(images::task::process)
}

//! Folders of pictures, resized by processes that crash alone.
//!
//! [`program`] is the whole program; `main.rs` runs it with [`task::process`].

use std::fmt;
use std::io;
use std::process::ExitCode;

use brigade::batch::Key;
use clap::Parser;

pub mod arguments;
pub mod batch;
pub mod blur;
pub mod decode;
pub mod encode;
pub mod failure;
pub mod folder;
mod jpeg;
mod large;
pub mod light;
pub mod picture;
pub mod recipe;
pub mod report;
pub mod task;
pub mod tiles;
mod turbo;

use arguments::Arguments;
use report::Stop;
use task::Job;

/// Runs the program with the command line of this process, and `function` for each file.
pub fn program<E: fmt::Display>(
    function: impl Fn(&Job, &Key) -> Result<u64, E> + Copy + Send + 'static,
) -> ExitCode {
    match run(&Arguments::parse(), function) {
        Ok(code) => ExitCode::from(code),
        Err(stop) => {
            report::say(format_args!("{stop}"));
            ExitCode::from(stop.code())
        }
    }
}

fn run<E: fmt::Display>(
    arguments: &Arguments,
    function: impl Fn(&Job, &Key) -> Result<u64, E> + Copy + Send + 'static,
) -> Result<u8, Stop> {
    if arguments.tiles {
        let outcome = tiles::run(&batch::pool(arguments)?, arguments)?;
        outcome.print(arguments.json, io::stdout().lock())?;
        return Ok(0);
    }
    let outcome = batch::run(arguments, function)?;
    outcome.print(arguments.json, io::stdout().lock())?;
    Ok(outcome.exit_code())
}

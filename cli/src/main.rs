//! The command `brigade`: regions, pools, and computations on `.npy` files.
#![cfg(not(loom))]

mod arguments;
mod compute;
mod error;
mod json;
mod regions;
mod table;
mod top;

use std::io::{self, Write};
use std::process::ExitCode;

use arguments::{Arguments, Command};
use clap::{CommandFactory, Parser};
use error::CommandError;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(answer) => {
            // Help, the version, or what is wrong with the command line. A closed output changes
            // nothing.
            let _ = answer.print();
            return ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(2));
        }
    };
    let mut out = io::stdout().lock();
    let done = run(arguments, &mut out).and_then(|()| Ok(out.flush()?));
    let (text, code) = match done {
        Ok(()) | Err(CommandError::Unread) => return ExitCode::SUCCESS,
        Err(CommandError::Failure(text)) => (text, 1),
        Err(CommandError::Usage(text)) => (text, 2),
    };
    // Standard error may be closed; the exit code is the same.
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let _ = writeln!(io::stderr(), "brigade: {text}");
    ExitCode::from(code)
}

fn run(Arguments { json, command }: Arguments, out: &mut impl Write) -> Result<(), CommandError> {
    match command {
        Command::Ls => regions::list(json, out),
        Command::Top { once } => top::run(json, once, out),
        Command::Inspect { name } => regions::inspect(&name, json, out),
        Command::Rm { name, force } => regions::remove(&name, force, json, out),
        Command::Gc { dry_run } => regions::collect(dry_run, json, out),
        Command::Matmul { a, b, output, workers } => {
            compute::matmul(&a, &b, &output.output, &workers.pool()?, json, out)
        }
        Command::Factorial { n, output, workers } => {
            compute::factorial(n, output.as_deref(), &workers.pool()?, json, out)
        }
        Command::Sort { input, output, workers } => {
            compute::sort(&input, &output.output, &workers.pool()?, json, out)
        }
        Command::Stats { input, all, workers } => {
            compute::stats(&input, all, &workers.pool()?, json, out)
        }
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "brigade", out);
            Ok(())
        }
        Command::Man { command } => manual(command.as_deref(), out),
    }
}

/// Prints the manual page of the program, or of one of its commands.
fn manual(command: Option<&str>, out: &mut impl Write) -> Result<(), CommandError> {
    let mut program = Arguments::command();
    program.build();
    let page = match command {
        None => program,
        Some(name) => {
            let found = program.find_subcommand(name).cloned();
            let missing =
                || CommandError::Usage(format!("no command {name:?}; see brigade --help"));
            found.ok_or_else(missing)?
        }
    };
    Ok(clap_mangen::Man::new(page).render(out)?)
}

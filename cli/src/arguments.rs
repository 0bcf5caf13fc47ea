//! The command line of `brigade`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

/// What the states of a region mean.
const STATES: &str = "\
States of a region:
  live     a process holds brigade's lock on it, or has it mapped
  kept     no process has it; it stays until it is removed
  dead     no process has it: programs that died left it; gc removes it
  foreign  no process has it; another user's, or not made by brigade (a copy); gc keeps it

Exit codes: 0 success, 1 failure, 2 wrong command line.";

/// The regions and pools of this machine, and computations on .npy files
///
/// Regions are the arrays, queues and locks under /dev/shm that brigade's programs share by name.
/// Pools are the worker processes of running programs.
#[derive(Debug, Parser)]
#[command(name = "brigade", version, after_long_help = STATES)]
pub(crate) struct Arguments {
    /// Print the answer as one line of JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List regions: state, kind, size, owner, holders. As text, list this user's pools too
    #[command(after_help = STATES)]
    Ls,
    /// Show what the pools of this user do, once a second
    ///
    /// On a terminal this is a view; elsewhere it is a block of text each time, or a line with
    /// --json.
    Top {
        /// Show it once
        #[arg(long)]
        once: bool,
    },
    /// Show all that is known of one region
    Inspect {
        /// The name; `brigade ls` lists them
        name: String,
    },
    /// Remove a name that no process holds
    Rm {
        /// The name; `brigade ls` lists them
        name: String,
        /// Remove it whoever holds or owns it
        #[arg(long)]
        force: bool,
    },
    /// Remove what dead programs have left
    Gc {
        /// List it, and remove nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Multiply two matrices, of f32 or f64
    Matmul {
        /// A, a .npy file of m rows and k columns
        a: PathBuf,
        /// B, a .npy file of k rows and n columns, of the same dtype
        b: PathBuf,
        #[command(flatten)]
        output: OutputFile,
        #[command(flatten)]
        workers: Workers,
    },
    /// Compute n!, and print its digits
    ///
    /// On a terminal, digits in the middle of a long number are left out; --output or a pipe gets
    /// all of them. With --json, no digits are printed.
    Factorial {
        /// The number n
        n: u64,
        /// Write the digits to this file
        #[arg(short, long)]
        output: Option<PathBuf>,
        #[command(flatten)]
        workers: Workers,
    },
    /// Sort an array of one dimension; NaN comes last
    Sort {
        /// A .npy file of integers or floats
        input: PathBuf,
        #[command(flatten)]
        output: OutputFile,
        #[command(flatten)]
        workers: Workers,
    },
    /// Print count, minimum, quartiles, maximum, mean and standard deviation
    ///
    /// A table of two dimensions has one line for each column, an array of any other number of
    /// dimensions has one line for all elements. The standard deviation is that of a sample
    /// (divided by the count less 1). Quartiles are interpolated, as by NumPy; they are NaN if an
    /// element is NaN.
    Stats {
        /// A .npy file of integers or floats
        input: PathBuf,
        /// One line for all elements, also of a table
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        workers: Workers,
    },
    /// Print the completions of this command for a shell
    ///
    /// For bash: brigade completions bash > ~/.local/share/bash-completion/completions/brigade
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, or that of one command: brigade man | man -l -
    Man {
        /// The command
        command: Option<String>,
    },
}

/// Where the result of a computation goes.
#[derive(Debug, Args)]
pub(crate) struct OutputFile {
    /// The .npy file for the result; it appears when it is complete, and replaces an older file
    #[arg(short, long)]
    pub(crate) output: PathBuf,
}

/// The worker processes of a computation.
#[derive(Debug, Args)]
pub(crate) struct Workers {
    /// Worker processes [default: one for each processor]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) workers: Option<u16>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn of(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(["brigade"].into_iter().chain(line.split_whitespace()))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn options_may_be_anywhere_and_a_name_after_two_dashes_may_begin_with_a_dash() {
        let request = of("--json rm --force x").unwrap();
        assert!(request.json);
        assert!(matches!(request.command, Command::Rm { name, force: true } if name == "x"));
        let request = of("rm --force --json -- -x").unwrap();
        assert!(request.json);
        assert!(matches!(request.command, Command::Rm { name, force: true } if name == "-x"));
        assert!(matches!(of("gc --dry-run").unwrap().command, Command::Gc { dry_run: true }));
        assert!(matches!(of("top --once").unwrap().command, Command::Top { once: true }));
    }

    #[test]
    fn a_wrong_command_line_is_a_usage_error() {
        for line in [
            "",
            "--json",
            "list",
            "ls x",
            "inspect",
            "inspect a b",
            "rm",
            "gc --force",
            "top x",
            "ls --once",
            "ls --json --json",
            "rm -x",
            "ls --json=1",
            "matmul a b",
            "sort a",
            "factorial -1",
            "factorial 1.5",
            "stats",
            "sort a -o b --workers 0",
            "completions",
        ] {
            assert_eq!(of(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}

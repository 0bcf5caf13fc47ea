//! The command line of an example.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;
use std::str::FromStr;

use brigade::{Error, Pool, Start};

/// Why an example ends early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The command line is wrong: exit code 2.
    Usage(String),
    /// Something failed, or a result is wrong: exit code 1.
    Failure(String),
    /// The user asked for help: exit code 0.
    Help,
}

impl Stop {
    pub(crate) fn usage(text: impl Display) -> Stop {
        Stop::Usage(text.to_string())
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        let text = error.to_string();
        match error {
            Error::Task(_)
            | Error::Broken { .. }
            | Error::Closed { .. }
            | Error::Corrupt { .. }
            | Error::MultiThreaded { .. }
            | Error::Spawn { .. } => Stop::Failure(text),
            _ => Stop::Usage(text),
        }
    }
}

/// Runs an example: `main` gets the command line, and its errors become one line on stderr.
pub(crate) fn run(
    usage: &'static str,
    main: impl FnOnce(Arguments) -> Result<(), Stop>,
) -> ExitCode {
    let name = usage.split(':').next().unwrap_or("example");
    end_if_nothing_can_be_printed(name);
    let (text, code) = match Arguments::parse(usage, std::env::args().skip(1)).and_then(main) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Stop::Help) => {
            println!("{usage}");
            return ExitCode::SUCCESS;
        }
        Err(Stop::Usage(text)) => (text, 2),
        Err(Stop::Failure(text)) => (text, 1),
    };
    eprintln!("{name}: {}", text.replace('\n', " "));
    ExitCode::from(code)
}

/// The exit code, in a shell, of a program that SIGPIPE has ended.
const NOBODY_READS: i32 = 128 + 13;

/// Makes `println!` and `eprintln!` end the program without a backtrace if they cannot print: with
/// one line, or without any if nobody reads.
fn end_if_nothing_can_be_printed(name: &'static str) {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| match panic.payload().downcast_ref::<String>() {
        Some(text) if text.starts_with("failed printing to ") => {
            if text.contains("Broken pipe") {
                std::process::exit(NOBODY_READS);
            }
            // A panic here would abort.
            let _ = writeln!(std::io::stderr(), "{name}: {text}");
            std::process::exit(1);
        }
        _ => usual(panic),
    }));
}

/// The options given, by name without dashes.
#[derive(Debug)]
pub(crate) struct Arguments {
    given: BTreeMap<String, String>,
}

impl Arguments {
    /// Parses `--name value`, `--name=value` and `--name` for the options that `usage` lists: a
    /// word that begins with `--` (perhaps after `[`), followed by a value in capitals, or none.
    pub(crate) fn parse(
        usage: &str,
        words: impl IntoIterator<Item = String>,
    ) -> Result<Arguments, Stop> {
        let mut given = BTreeMap::new();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let Some(option) = word.strip_prefix("--") else {
                return Err(Stop::usage(format!("{word:?} is no option; try --help")));
            };
            if option == "help" {
                return Err(Stop::Help);
            }
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (option, None),
            };
            let value = match (takes_value(usage, name), value) {
                (None, _) => return Err(Stop::usage(format!("no option --{name}; try --help"))),
                (Some(false), Some(_)) => {
                    return Err(Stop::usage(format!("--{name} takes no value")));
                }
                (Some(false), None) => String::new(),
                (Some(true), Some(value)) => value,
                (Some(true), None) => words
                    .next()
                    .ok_or_else(|| Stop::usage(format!("--{name} needs a value after it")))?,
            };
            if given.insert(name.to_owned(), value).is_some() {
                return Err(Stop::usage(format!("--{name} is given twice")));
            }
        }
        Ok(Arguments { given })
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.given.get(name).map(String::as_str)
    }

    /// A number of at least `min`, or `None` if the option is not given.
    pub(crate) fn number<N>(&self, name: &str, min: N) -> Result<Option<N>, Stop>
    where
        N: FromStr + PartialOrd + Display,
    {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.parse::<N>() {
            Ok(number) if number >= min => Ok(Some(number)),
            found => {
                let is_number = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty();
                let expected = match is_number && found.is_err() {
                    true => "a smaller whole number".to_owned(),
                    false => format!("a whole number of at least {min}"),
                };
                Err(Stop::usage(format!("--{name} is {text:?}, but must be {expected}")))
            }
        }
    }

    /// Prints a line for people, unless `--json` asks for one line of JSON.
    pub(crate) fn say(&self, line: impl Display) {
        if !self.has("json") {
            println!("{line}");
        }
    }

    /// One of `choices`; the first of them if the option is not given.
    pub(crate) fn choice<'c>(&self, name: &str, choices: &[&'c str]) -> Result<&'c str, Stop> {
        let Some(text) = self.text(name) else { return Ok(choices[0]) };
        choices.iter().find(|choice| **choice == text).copied().ok_or_else(|| {
            Stop::usage(format!("--{name} is {text:?}, but must be {}", choices.join(" or ")))
        })
    }

    /// The pool that `--workers` and `--start` request, and the name of its start.
    pub(crate) fn pool(&self) -> Result<(Pool, &'static str), Stop> {
        let start = self.choice("start", &["forkserver", "inprocess"])?;
        let mut builder = Pool::builder().start(match start {
            "inprocess" => Start::InProcess,
            _ => Start::ForkServer,
        });
        if let Some(workers) = self.number("workers", 1)? {
            builder = builder.workers(workers);
        }
        Ok((builder.build()?, start))
    }
}

/// Whether an option takes a value; `None` if there is no such option.
fn takes_value(usage: &str, name: &str) -> Option<bool> {
    let mut words = usage.split_whitespace();
    words.find(|word| word.trim_start_matches('[').trim_end_matches(']') == format!("--{name}"))?;
    Some(words.next().is_some_and(|word| word.starts_with(|c: char| c.is_ascii_uppercase())))
}

//! The command line of `brigade`.

use std::ffi::OsString;

use crate::CommandError;

/// The command, with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    Version,
    List,
    Inspect(String),
    Remove { name: String, force: bool },
    Collect { dry_run: bool },
    Top { once: bool },
}

/// The format of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    Text,
    Json,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) command: Command,
    pub(crate) output: Output,
}

/// Parses the arguments: a command, its names and its options, in any order. All arguments after
/// `--` are names.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Request, CommandError> {
    let (mut options, mut names) = (Vec::new(), Vec::new());
    let mut only_names = false;
    for word in words {
        let Ok(word) = word.into_string() else {
            return usage("an argument is not valid UTF-8".to_owned());
        };
        match word.as_str() {
            "--" if !only_names => only_names = true,
            option if option.starts_with('-') && option.len() > 1 && !only_names => {
                if options.contains(&word) {
                    return usage(format!("{word} occurs twice"));
                }
                options.push(word);
            }
            _ => names.push(word),
        }
    }
    let mut take = |option: &str| {
        let found = options.iter().position(|given| given == option);
        found.map(|at| options.remove(at)).is_some()
    };
    if take("--help") || take("-h") {
        return Ok(Request { command: Command::Help, output: Output::Text });
    }
    if take("--version") || take("-V") {
        return Ok(Request { command: Command::Version, output: Output::Text });
    }
    let output = if take("--json") { Output::Json } else { Output::Text };
    let mut names = names.into_iter();
    let Some(word) = names.next() else {
        return usage("no command: use ls, top, inspect, rm or gc".to_owned());
    };
    let mut name = || {
        let missing =
            || CommandError::Usage(format!("{word} needs a name; `brigade ls` lists them"));
        names.next().ok_or_else(missing)
    };
    let command = match word.as_str() {
        "help" => Command::Help,
        "ls" => Command::List,
        "inspect" => Command::Inspect(name()?),
        "rm" => Command::Remove { name: name()?, force: take("--force") },
        "top" => Command::Top { once: take("--once") },
        "gc" => Command::Collect { dry_run: take("--dry-run") },
        other => return usage(format!("no command {other:?}: use ls, top, inspect, rm or gc")),
    };
    if let Some(option) = options.first() {
        return usage(format!("{word} has no option {option}"));
    }
    if let Some(name) = names.next() {
        return usage(format!("{word} takes no further argument: {name:?}"));
    }
    Ok(Request { command, output })
}

fn usage(text: String) -> Result<Request, CommandError> {
    Err(CommandError::Usage(format!("{text}; see brigade --help")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Request, CommandError> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn options_may_be_anywhere_and_a_name_after_two_dashes_may_begin_with_a_dash() {
        let remove = |name: &str| Command::Remove { name: name.to_owned(), force: true };
        let request = of("--json rm --force x").unwrap();
        assert_eq!(request, Request { command: remove("x"), output: Output::Json });
        assert_eq!(of("rm --force -- -x").unwrap().command, remove("-x"));
        assert_eq!(of("gc --dry-run").unwrap().command, Command::Collect { dry_run: true });
        assert_eq!(of("top --once --json").unwrap().command, Command::Top { once: true });
        assert_eq!(of("ls --help").unwrap().command, Command::Help);
        assert_eq!(of("-V").unwrap().command, Command::Version);
    }

    #[test]
    fn an_invalid_command_line_is_a_usage_error() {
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
            "ls --dry-run",
            "ls --json --json",
            "rm -x",
            "--",
            "ls --json=1",
        ] {
            assert!(matches!(of(line), Err(CommandError::Usage(_))), "{line}");
        }
    }
}

//! `brigade factorial`.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Instant;

use brigade::Pool;
use brigade::batch::OutputFile;

use super::progress::bar;
use crate::error::CommandError;
use crate::json::Json;

/// On a terminal, a number with more digits is shortened to its first and last digits.
const DIGITS_SHOWN_MAX: usize = 2000;
/// How many digits are shown at either end of such a number.
const DIGITS_SHOWN: usize = 40;

/// Prints the digits of n!, or writes them to `output`.
pub(crate) fn factorial(
    n: u64,
    output: Option<&Path>,
    pool: &Pool,
    json: bool,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    // Before the work, so that a path that cannot be written to is reported at once.
    let file = output.map(OutputFile::create).transpose()?;
    let progress = bar(json, "{bar:40} {percent} % {msg} {elapsed}");
    progress.set_message("multiplying");
    let started = Instant::now();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100")]
    let number = pool.factorial_watched(n, |done| progress.set_position((100.0 * done) as u64))?;
    progress.set_message("converting to decimal digits");
    let digits = pool.to_decimal(&number)?;
    let seconds = started.elapsed().as_secs_f64();
    progress.finish_and_clear();
    if let Some(mut file) = file {
        // An error is kept, and returned by `commit`.
        let _ = file.write_all(digits.as_bytes()).and_then(|()| file.write_all(b"\n"));
        file.commit()?;
    }
    if json {
        let line = Json::Object(vec![
            ("n", Json::Number(n)),
            ("digits", Json::Number(digits.len() as u64)),
            ("bits", Json::Number(number.bits())),
            ("workers", Json::Number(pool.workers() as u64)),
            ("seconds", Json::Float(seconds)),
        ]);
        return Ok(writeln!(out, "{line}")?);
    }
    match output {
        Some(path) => {
            let count = digits.len();
            writeln!(out, "{}: {count} digits of {n}!, in {seconds:.3} s", path.display())?;
        }
        None if io::stdout().is_terminal() => writeln!(out, "{}", shortened(&digits))?,
        None => writeln!(out, "{digits}")?,
    }
    Ok(())
}

/// The digits, or those at both ends if there are many.
fn shortened(digits: &str) -> String {
    if digits.len() <= DIGITS_SHOWN_MAX {
        return digits.to_owned();
    }
    let (first, last) = (&digits[..DIGITS_SHOWN], &digits[digits.len() - DIGITS_SHOWN..]);
    let count = digits.len();
    format!("{first} ... {last}\n({count} digits; --output FILE writes all of them)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_number_is_shortened_in_the_middle() {
        assert_eq!(shortened("3628800"), "3628800");
        let text = format!("{}{}{}", "1".repeat(40), "0".repeat(1921), "9".repeat(40));
        let expected = format!("{} ... {}\n(2001 digits", "1".repeat(40), "9".repeat(40));
        assert!(shortened(&text).starts_with(&expected), "{}", shortened(&text));
    }
}

//! Text, written as a JSON string.

use std::fmt::{self, Write};

/// Displays text as a JSON string: in quotes, with control characters escaped.
pub(crate) struct JsonText<'a>(pub(crate) &'a str);

impl fmt::Display for JsonText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for character in self.0.chars() {
            match character {
                '"' | '\\' => write!(f, "\\{character}")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                control if control.is_control() => write!(f, "\\u{:04x}", u32::from(control))?,
                other => f.write_char(other)?,
            }
        }
        f.write_str("\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_parser_reads_the_same_text() {
        let text = "a \"b\" \\ \n \r \t \u{1} \u{7f} \u{9b}2J \u{202e} \u{e9} \u{1f600}";
        let quoted = JsonText(text).to_string();
        assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), text);
        assert!(!quoted.contains(char::is_control), "{quoted:?}");
    }
}

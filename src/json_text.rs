//! Text, written as a JSON string.

use std::fmt;

/// Displays text as a JSON string: in quotes, with control characters escaped.
pub(crate) struct JsonText<'a>(pub(crate) &'a str);

impl fmt::Display for JsonText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        let mut rest = self.0;
        while let Some(at) = rest.find(is_escaped) {
            let (plain, from) = rest.split_at(at);
            f.write_str(plain)?;
            let mut characters = from.chars();
            match characters.next().unwrap_or_default() {
                character @ ('"' | '\\') => write!(f, "\\{character}")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                control => write!(f, "\\u{:04x}", u32::from(control))?,
            }
            rest = characters.as_str();
        }
        f.write_str(rest)?;
        f.write_str("\"")
    }
}

fn is_escaped(character: char) -> bool {
    matches!(character, '"' | '\\') || character.is_control()
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

//! A JSON value, written on one line.

use std::fmt;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(u64),
    /// A number that is not finite is written as null.
    Float(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(&'static str, Json)>),
}

impl Json {
    pub(crate) fn text(text: impl fmt::Display) -> Json {
        Json::Text(text.to_string())
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::Null => f.write_str("null"),
            Json::Bool(value) => write!(f, "{value}"),
            Json::Number(number) => write!(f, "{number}"),
            // `Debug` writes 1e300 and 0.5 as JSON does, and every number so that it reads back.
            Json::Float(number) if number.is_finite() => write!(f, "{number:?}"),
            Json::Float(_) => f.write_str("null"),
            Json::Text(text) => quoted(text, f),
            Json::List(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if at == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Json::Object(members) => {
                f.write_str("{")?;
                for (at, (key, value)) in members.iter().enumerate() {
                    write!(f, "{}\"{key}\": {value}", if at == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
        }
    }
}

fn quoted(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            ' '..='~' => write!(f, "{c}")?,
            // Names of files and processes may contain any character: terminal controls (C0, DEL,
            // C1), and characters that reverse or hide their neighbours.
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(f, "\\u{unit:04x}")?;
                }
            }
        }
    }
    f.write_str("\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_parser_reads_the_same_value() {
        let strange = "a \"b\" \\ \n \u{1} \u{7f} \u{9b}2J \u{202e} \u{e9} \u{1f600}";
        let value = Json::Object(vec![
            ("none", Json::Null),
            ("yes", Json::Bool(true)),
            ("floats", Json::List([0.1, -1e300, 5e-324, 2.0, f64::NAN].map(Json::Float).to_vec())),
            ("list", Json::List(vec![Json::Number(u64::MAX), Json::text(strange)])),
            ("empty", Json::List(vec![])),
        ]);
        let read: serde_json::Value = serde_json::from_str(&value.to_string()).unwrap();
        let expected = serde_json::json!({
            "none": null, "yes": true, "floats": [0.1, -1e300, 5e-324, 2.0, null],
            "list": [u64::MAX, strange], "empty": [],
        });
        assert_eq!(read, expected);
        assert!(value.to_string().bytes().all(|byte| matches!(byte, b' '..=b'~')), "{value}");
    }
}

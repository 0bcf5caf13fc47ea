//! The greatest number of lines of each top module of `src/`.

use std::collections::BTreeMap;

use super::source::sources;
use super::{assert_none, is_renewed, listed, place};

/// The file of the numbers, from the root of the repository.
const LIST: &str = "tests/tidy/lines.txt";
/// How far a module's lines may fall below its number before the number must be lowered.
const SLACK: usize = 100;

#[test]
fn no_module_grows_unless_its_number_does() {
    let mut lines = BTreeMap::new();
    for source in sources(&["src"]) {
        *lines.entry(place(&source.path).0.to_owned()).or_insert(0) += source.text.lines().count();
    }
    let text: String = lines.iter().map(|(module, lines)| format!("{module} {lines}\n")).collect();
    if is_renewed(LIST, &text) {
        return;
    }
    let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
    let Some(list) = listed(LIST) else { return };
    for line in list {
        let (module, number) = line.split_once(' ').expect("a module and its number");
        numbers.insert(module.to_owned(), number.parse().expect("a number"));
    }
    let mut found = Vec::new();
    for (module, &lines) in &lines {
        match numbers.remove(module) {
            None => found.push(format!("{module}: {lines} lines, and no number")),
            Some(number) if lines > number => {
                found.push(format!("{module}: {lines} lines, {number} allowed: is it worth it?"));
            }
            Some(number) if lines + SLACK < number => {
                found.push(format!("{module}: {lines} lines, lower its number {number}"));
            }
            Some(_) => {}
        }
    }
    found.extend(numbers.into_keys().map(|module| format!("{module}: there is no such module")));
    let rule = "the lines of each module; BRIGADE_RENEW=1 cargo test --test tidy writes the list:";
    assert_none(found, &format!("{LIST}: {rule}"));
}

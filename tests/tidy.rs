//! The rules for the sources, checked by a test.

use std::collections::BTreeSet;
use std::fs;

#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/interface.rs"]
mod interface;
#[path = "tidy/modules.rs"]
mod modules;
#[path = "tidy/ratchet.rs"]
mod ratchet;
#[path = "tidy/source.rs"]
mod source;
use source::{Source, Token, closing, files, is_word, root, sources, tokens};

/// The line of each module of `src/`. A module uses only modules on a lower line.
const LAYERS: [&[&str]; 9] = [
    &["atomics", "exit", "json_text", "shape"],
    &["error"],
    &["kernel", "sys"],
    &["process", "region", "sync"],
    &["object"],
    &["array"],
    &["worker"],
    &["channel", "pool", "shared", "spawn"],
    &["batch", "compute", "fuzz_entry", "guide"],
];

/// Crates that only `src/sys/` names.
const SYSTEM_CRATES: [&str; 5] = ["libc", "nix", "rustix", "memmap2", "shared_memory"];

/// Files that may let time pass, and why.
const MAY_PAUSE: [(&str, &str); 12] = [
    ("tests/common/time.rs", "the pause between two checks, and the duration of a task's work"),
    ("tests/common/alone.rs", "the watchdog of a test"),
    ("src/sys/process.rs", "nothing tells when a joined thread is no longer listed"),
    ("cli/src/top.rs", "shows what changes with time"),
    ("examples/overhead.rs", "measures what an idle pool costs"),
    ("benches/three_ways.rs", "its server answers each question after a while"),
    ("benches/compare/src/stopwatch.rs", "lets the machine settle between two measurements"),
    ("mpi/src/backoff.rs", "MPI offers no event to wait for"),
    ("mpi/tests/cluster/job.rs", "the pause between two checks of a job"),
    ("mpi/tests/cluster/batch.rs", "the pause between two looks for a file"),
    ("mpi/tests/cluster/deaths.rs", "the same, and how long a rank is stopped"),
    ("mpi/tests/cluster/farm.rs", "the same, and an iterator that is slow"),
];

const ALL: [&str; 6] = ["src", "tests", "cli", "examples", "benches", "mpi"];

/// Fails with one line for each thing found.
fn assert_none(found: Vec<String>, rule: &str) {
    assert!(found.is_empty(), "{rule}\n{}\n{} in all", found.join("\n"), found.len());
}

/// The lines of a list of this test; `None` if it does not exist yet.
fn listed(path: &str) -> Option<BTreeSet<String>> {
    let text = fs::read_to_string(root().join(path)).ok()?;
    Some(text.lines().map(str::to_owned).collect())
}

/// Writes `text` to a list of this test if `BRIGADE_RENEW` is set; returns whether it is set.
fn is_renewed(path: &str, text: &str) -> bool {
    let is_set = std::env::var_os("BRIGADE_RENEW").is_some();
    if is_set {
        fs::write(root().join(path), text).unwrap();
    }
    is_set
}

/// The line of a module; those that may use anything have none.
fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

/// The top module of a file in `src/`, and its depth in modules.
fn place(path: &str) -> (&str, usize) {
    let inside = path.strip_prefix("src/").unwrap().strip_suffix(".rs").unwrap();
    let inside = inside.strip_suffix("/mod").unwrap_or(inside);
    (inside.split('/').next().unwrap(), inside.split('/').count())
}

/// What a file uses of the crate's root: the first name of each such path, and its line.
fn uses(source: &Source) -> Vec<(String, usize)> {
    let tokens = tokens(&source.code);
    let (_, depth) = place(&source.path);
    let mut inline_ends = Vec::new();
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        inline_ends.retain(|&end| end > at);
        let text = |offset: usize| tokens.get(at + offset).map_or("", |token| token.text);
        if text(0) == "mod" && text(2) == "{" {
            inline_ends.extend(closing(&tokens, at + 2));
        }
        let after = match text(0) {
            "crate" => Some(at + 1),
            "super" if at < 2 || tokens[at - 2].text != ":" || tokens[at - 1].text != ":" => {
                let supers = tokens[at..].chunks(3).take_while(|t| t[0].text == "super").count();
                // Paths relative to the crate's root, however they are spelled.
                (supers == depth + inline_ends.len()).then_some(at + 3 * supers - 2)
            }
            _ => None,
        };
        if let Some(after) = after.filter(|&after| is_path(&tokens, after)) {
            names_of_group(&tokens, after + 2, &mut found);
        }
    }
    found
}

fn is_path(tokens: &[Token<'_>], at: usize) -> bool {
    tokens.len() > at + 2 && tokens[at].text == ":" && tokens[at + 1].text == ":"
}

/// The name at `at`, or the first names of the paths in a group there.
fn names_of_group(tokens: &[Token<'_>], at: usize, found: &mut Vec<(String, usize)>) {
    if tokens[at].text != "{" {
        found.push((tokens[at].text.to_owned(), tokens[at].line));
        return;
    }
    let end = closing(tokens, at).expect("braces that match");
    let mut depth = 0;
    for inner in at..end {
        match tokens[inner].text {
            "{" => depth += 1,
            "}" => depth -= 1,
            text if depth == 1 && is_word(text) && matches!(tokens[inner - 1].text, "{" | ",") => {
                found.push((text.to_owned(), tokens[inner].line));
            }
            _ => {}
        }
    }
}

/// The uses of a file that do not point down.
fn upward(source: &Source) -> Vec<String> {
    let (module, _) = place(&source.path);
    let Some(own) = layer(module) else { return Vec::new() };
    let is_down = |name: &str| name == module || layer(name).is_some_and(|line| line < own);
    uses(source)
        .into_iter()
        .filter(|(name, _)| !is_down(name))
        .map(|(name, line)| format!("{}:{line}: {module} uses {name}", source.path))
        .collect()
}

#[test]
fn modules_use_only_modules_on_a_lower_line() {
    let found = sources(&["src"]).iter().flat_map(upward).collect();
    assert_none(found, "a module uses only modules on a lower line (ARCHITECTURE.md):");
}

#[test]
fn every_module_has_a_line() {
    let top = sources(&["src"]).into_iter().map(|source| place(&source.path).0.to_owned());
    let unknown = top.filter(|name| layer(name).is_none());
    let unknown = unknown.filter(|name| name != "lib" && name != "bin").collect::<BTreeSet<_>>();
    assert_none(unknown.into_iter().collect(), "modules that tests/tidy.rs gives no line:");
}

#[test]
fn a_use_that_points_up_is_noticed() {
    let up = |path, text| upward(&Source::new(path, text)).len();
    assert_eq!(up("src/sys/mmap.rs", "use crate::error::Error;"), 0);
    assert_eq!(up("src/sys/mmap.rs", "use crate::region::Arena;"), 1);
    assert_eq!(up("src/sys/mmap.rs", "use crate::Error;"), 1);
    assert_eq!(up("src/sys/mmap.rs", "use super::super::pool::Pool;"), 1);
    assert_eq!(up("src/sys/mmap.rs", "use super::shm::Shm; mod tests { use super::super::*; }"), 0);
    assert_eq!(up("src/region/mod.rs", "use crate::{error::Error, sync::{self, Lock}, sys};"), 1);
    assert_eq!(up("src/region/mod.rs", "// crate::pool\nfn f() { crate::process::start() }"), 1);
    assert_eq!(up("src/error.rs", "mod tests { use super::*; use super::super::pool; }"), 1);
}

#[test]
fn only_sys_names_the_crates_that_call_the_system() {
    let mut found = Vec::new();
    for source in sources(&["src"]) {
        for token in tokens(&source.code) {
            let is_system = SYSTEM_CRATES.contains(&token.text) && !source.path.contains("/sys/");
            let is_raw = token.text == "raw_sync" && !source.path.starts_with("src/sync/");
            if is_system || is_raw {
                found.push(format!("{}:{}: {}", source.path, token.line, token.text));
            }
        }
    }
    assert_none(found, "only src/sys/ names these crates, and only src/sync/ raw_sync:");
}

#[test]
fn files_are_small() {
    let mut found = Vec::new();
    for source in sources(&ALL) {
        let lines_max = if source.path.starts_with("src/kernel/") { 800 } else { 500 };
        let lines = source.text.lines().count();
        if lines > lines_max {
            found.push(format!("{}: {lines} lines, at most {lines_max}", source.path));
        }
    }
    assert_none(found, "files have at most 500 lines, kernels 800:");
}

#[test]
fn functions_are_short() {
    let mut found = Vec::new();
    for source in sources(&ALL) {
        let long = source.functions().into_iter().filter(|&(_, lines)| lines > 70);
        found.extend(long.map(|(at, lines)| format!("{}:{at}: {lines} lines", source.path)));
    }
    assert_none(found, "functions have at most 70 lines:");
}

#[test]
fn lines_fit_and_are_ascii() {
    let mut found = Vec::new();
    for source in sources(&ALL) {
        for (at, line) in (1..).zip(source.text.lines()) {
            // The row of a table cannot be broken.
            let is_row = ["/// |", "//! |"].iter().any(|row| line.trim_start().starts_with(row));
            let columns_max = if is_row { 120 } else { 100 };
            if line.len() > columns_max || !line.is_ascii() {
                found.push(format!("{}:{at}: {} bytes", source.path, line.len()));
            }
        }
    }
    for path in files(&["."], "md") {
        let text = fs::read_to_string(root().join(&path)).unwrap();
        let wide = (1..).zip(text.lines()).filter(|(_, line)| !line.is_ascii());
        found.extend(wide.map(|(at, _)| format!("{path}:{at}: not ASCII")));
    }
    assert_none(found, "lines have at most 100 characters, all of them ASCII:");
}

#[test]
fn every_file_begins_by_saying_what_it_is() {
    let mut found = Vec::new();
    for source in sources(&ALL) {
        let first = source.text.lines().next().unwrap_or_default();
        let words = first.strip_prefix("//! ").map(|text| text.split_whitespace().count());
        if words.is_none_or(|words| words >= 12) {
            found.push(format!("{}: {first}", source.path));
        }
    }
    assert_none(found, "the first line is `//!` and says in under 12 words what the file is:");
}

#[test]
fn no_module_is_a_drawer_for_what_belongs_nowhere() {
    let drawers = ["util", "utils", "common", "helper", "helpers", "misc"];
    let is_drawer =
        |path: &String| path.trim_end_matches(".rs").split('/').any(|part| drawers.contains(&part));
    let found = files(&["src"], "rs").into_iter().filter(is_drawer).collect();
    assert_none(found, "name a module for what is in it:");
}

#[test]
fn nothing_is_left_for_later() {
    let mut found = Vec::new();
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    for source in sources(&ALL) {
        for (at, line) in (1..).zip(source.text.lines()) {
            if marks.iter().any(|mark| line.contains(mark)) {
                found.push(format!("{}:{at}: {}", source.path, line.trim()));
            }
        }
    }
    assert_none(found, "finish it, or leave it out:");
}

#[test]
fn nobody_sleeps_to_synchronise() {
    const PAUSES: [&str; 5] = ["usleep", "nanosleep", "sleep_ms", "park_timeout", "sleep_until"];
    let mut found = Vec::new();
    let mut excused: BTreeSet<&str> = MAY_PAUSE.iter().map(|&(path, _)| path).collect();
    for source in sources(&ALL) {
        for pair in tokens(&source.code).windows(3) {
            let [before, _, token] = pair else { continue };
            let is_call = token.text == "sleep" && before.text == ":";
            if !is_call && !PAUSES.contains(&token.text) {
                continue;
            }
            excused.remove(source.path.as_str());
            if MAY_PAUSE.iter().all(|&(path, _)| path != source.path) {
                found.push(format!("{}:{}", source.path, token.line));
            }
        }
    }
    found.extend(excused.into_iter().map(|path| format!("{path}: needs no exception")));
    assert_none(found, "wait for what is to happen, not for time to pass:");
}

/// The number of unsafe sites in a file, and the number of SAFETY comments.
fn unsafe_sites(source: &Source) -> (usize, usize) {
    let tokens = tokens(&source.code);
    let sites = tokens
        .windows(2)
        .filter(|pair| pair[0].text == "unsafe" && matches!(pair[1].text, "{" | "impl"))
        .count();
    let reasons = source.text.lines().filter(|line| {
        let comment = line.trim_start().strip_prefix("// ");
        comment.is_some_and(|comment| comment.starts_with(concat!("SAFE", "TY:")))
    });
    (sites, reasons.count())
}

#[test]
fn every_unsafe_site_says_why_it_is_sound() {
    let mut found = Vec::new();
    for source in sources(&ALL) {
        let (sites, reasons) = unsafe_sites(&source);
        if sites != reasons {
            found.push(format!("{}: {sites} sites, {reasons} reasons", source.path));
        }
    }
    assert_none(found, "each unsafe block and impl has one comment of its own:");
}

#[test]
fn no_static_is_a_lock_that_a_forked_child_could_wait_for() {
    const WAITS: [&str; 5] = ["Mutex", "RwLock", "Condvar", "OnceLock", "LazyLock"];
    // Children fill these in, which have one thread then; they do not take part in a start.
    const ALLOWED: [&str; 3] = ["src/kernel/", "src/worker/child.rs", "src/fuzz_entry.rs"];
    let mut found = Vec::new();
    for source in sources(&["src"]) {
        if ALLOWED.iter().any(|start| source.path.starts_with(start)) {
            continue;
        }
        for (line, text) in (1..).zip(source.code.lines()) {
            let kind = text.trim_start().trim_start_matches("pub(super) ").strip_prefix("static ");
            let kind = kind.and_then(|rest| rest.split_once(": ")).map_or("", |(_, kind)| kind);
            if WAITS.iter().any(|lock| kind.starts_with(lock)) {
                found.push(format!("{}:{line}: {}", source.path, text.trim()));
            }
        }
    }
    assert_none(found, "a lock in a static is in a `PerProcess` (src/sys/per_process.rs):");
}

#[test]
fn files_with_unsafe_code_are_listed_and_no_others() {
    let sources = sources(&["src"]);
    let is_unsafe = |source: &Source| tokens(&source.code).iter().any(|t| t.text == "unsafe");
    let needless = sources.iter().filter(|s| s.code.contains("(unsafe_code") && !is_unsafe(s));
    let needless = needless.map(|source| format!("{}: allows what it does not use", source.path));
    let needing = sources.iter().filter(|source| is_unsafe(source));
    let needing: BTreeSet<String> = needing.map(|source| source.path.clone()).collect();
    let text = fs::read_to_string(root().join("docs/internals/safety.md")).unwrap();
    let listed = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let listed: BTreeSet<String> = listed.map(|path| format!("src/{path}")).collect();
    let missing = needing.difference(&listed).map(|path| format!("{path}: not listed"));
    let extra = listed.difference(&needing).map(|path| format!("{path}: has no unsafe code"));
    let found = missing.chain(extra).chain(needless).collect();
    assert_none(found, "docs/internals/safety.md lists every file that may:");
}

/// The documentation pages, with their paths.
fn pages() -> Vec<(String, String)> {
    let paths = files(&["."], "md").into_iter();
    paths.map(|path| (path.clone(), fs::read_to_string(root().join(path)).unwrap())).collect()
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut found = Vec::new();
    for (path, text) in pages() {
        let directory = root().join(&path).parent().unwrap().to_owned();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            let is_elsewhere = target.is_empty() || target.contains(':') || target.contains(' ');
            if !is_elsewhere && !directory.join(target).exists() {
                found.push(format!("{path}: {target}"));
            }
        }
    }
    assert_none(found, "pages link to files that are not there:");
}

#[test]
fn tests_that_pages_name_exist() {
    let tests: String = sources(&ALL).into_iter().map(|source| source.code).collect();
    let mut found = Vec::new();
    for (path, text) in pages().into_iter().filter(|(path, _)| !path.starts_with("benches/")) {
        for name in text.split('`').skip(1).step_by(2) {
            let is_sentence = name.matches('_').count() >= 3
                && name
                    .split('_')
                    .all(|word| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase()));
            if is_sentence && !tests.contains(&format!("fn {name}(")) {
                found.push(format!("{path}: {name}"));
            }
        }
    }
    assert_none(found, "no test has the name that a page gives it:");
}

//! Circles of files in a module or a small crate.

use std::collections::{BTreeMap, BTreeSet};

use super::assert_none;
use super::modules::Modules;
use super::source::{Source, sources};

/// The other files that each file uses, with the line of one such use.
type Uses = BTreeMap<usize, BTreeMap<usize, usize>>;

/// What the files of each top module use of it.
fn uses_within_modules(modules: &Modules) -> Uses {
    let top = |at: usize| modules.all[at].path.first();
    uses(modules, |from, to| top(from) == top(to))
}

/// The uses that `counts`, given from which file to which; those of the root do not count.
fn uses(modules: &Modules, counts: impl Fn(usize, usize) -> bool) -> Uses {
    let takes_part =
        |at: usize| !modules.all[at].only_declares() && !modules.all[at].path.is_empty();
    let mut found = Uses::new();
    for at in (0..modules.all.len()).filter(|&at| takes_part(at)) {
        let mut used = modules.used_by(at);
        used.retain(|&to, _| takes_part(to) && counts(at, to));
        found.insert(at, used);
    }
    found
}

/// Groups of files that use each other, directly or indirectly.
fn circles(uses: &Uses) -> BTreeSet<BTreeSet<usize>> {
    let reached = |from: usize| {
        let (mut seen, mut left) = (BTreeSet::new(), vec![from]);
        while let Some(at) = left.pop() {
            left.extend(uses[&at].keys().filter(|&&to| seen.insert(to)));
        }
        seen
    };
    let reached: BTreeMap<usize, BTreeSet<usize>> =
        uses.keys().map(|&at| (at, reached(at))).collect();
    let circular = reached.iter().filter(|(at, there)| there.contains(at));
    circular
        .map(|(at, there)| there.iter().copied().filter(|to| reached[to].contains(at)).collect())
        .collect()
}

/// Describes a circle file by file: what each uses of the others.
fn describe(modules: &Modules, uses: &Uses, circle: &BTreeSet<usize>) -> String {
    let mut text = format!("{} files:", circle.len());
    for &at in circle {
        let used = uses[&at].iter().filter(|(to, _)| circle.contains(to));
        for (&to, line) in used {
            let (from, to) = (&modules.all[at].file, &modules.all[to].file);
            text.push_str(&format!("\n  {from}:{line} uses {to}"));
        }
    }
    text
}

#[test]
fn files_of_a_module_import_in_one_direction() {
    let modules = Modules::read();
    let uses = uses_within_modules(&modules);
    let found = circles(&uses).iter().map(|circle| describe(&modules, &uses, circle)).collect();
    assert_none(found, "files of a module use each other in one direction:");
}

#[test]
fn files_of_the_command_and_of_the_mpi_crate_import_in_one_direction() {
    let mut found = Vec::new();
    for (root, directory) in [("cli/src/main.rs", "cli/src"), ("mpi/src/lib.rs", "mpi/src")] {
        let modules = Modules::of(root, sources(&[directory]));
        assert!(modules.all.len() > 10, "{root} has {} modules", modules.all.len());
        let uses = uses(&modules, |_, _| true);
        found.extend(circles(&uses).iter().map(|circle| describe(&modules, &uses, circle)));
    }
    assert_none(found, "files of a crate use each other in one direction:");
}

#[test]
fn a_circle_is_noticed_however_it_is_spelled() {
    let count = |files: &[(&str, &str)]| {
        let lib = Source::new("src/lib.rs", "mod m;");
        let sources = files.iter().map(|(path, text)| Source::new(*path, *text));
        let modules = Modules::of("src/lib.rs", sources.chain([lib]).collect());
        circles(&uses_within_modules(&modules)).len()
    };
    let with = |top: &str, a: &str, b: &str| {
        count(&[("src/m/mod.rs", top), ("src/m/a.rs", a), ("src/m/b.rs", b)])
    };
    let plain = "mod a; mod b; pub use a::A;";
    assert_eq!(with(plain, "use super::b::B; struct A;", "struct B;"), 0);
    assert_eq!(with(plain, "use super::b::B; struct A;", "use super::a::A; struct B;"), 1);
    assert_eq!(with(plain, "use super::b::B; struct A;", "struct B(crate::m::a::A);"), 1);
    assert_eq!(with(plain, "use super::b::B; struct A;", "use super::A; struct B;"), 1);
    assert_eq!(
        with(plain, "use super::b; struct A(b::B);", "use crate::m::{a::{A}}; struct B;"),
        1
    );
    let tested = "#[cfg(test)] mod tests { use super::super::a::A; } struct B;";
    assert_eq!(with(plain, "use super::b::B; struct A;", tested), 0);
    let full = "mod a; mod b; pub use a::A; struct M;";
    assert_eq!(with(full, "struct A;", "use super::A; struct B;"), 0);
    assert_eq!(with(full, "use super::M; struct A;", "struct B;"), 1);
}

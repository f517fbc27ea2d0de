//! The layers of the crate, checked from its own source: nobody imports upwards, names of operating systems and `unsafe` stay in `arch/`, the map holds no logic.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// From the ground to the roof; those of one floor may know each other, except on the last.
const FLOORS: [&[&str]; 11] = [
    &["token", "interest", "time", "error", "storage"],
    &["readiness", "gates", "deadline"],
    &["poll_desc"],
    &["table"],
    &["arch"],
    &["breaker"],
    &["poller"],
    &["source", "stream"],
    &["descriptor"],
    &["frame"],
    &["net", "os", "linux", "reactor"],
];

/// All that a back-end knows of the crate.
const VALUE_TYPES: [&str; 5] = ["readiness", "token", "interest", "time", "error"];

/// Reading a clock is a system call, and `Clock` is a value: the one import that goes upwards.
const EXCEPTION: (&str, &str) = ("time", "arch");

fn floor(module: &str) -> usize {
    FLOORS.iter().position(|floor| floor.contains(&module)).unwrap_or_else(|| panic!("{module}: on which floor is it?"))
}

/// Module and text of each source file.
fn files() -> Vec<(String, PathBuf, String)> {
    fn walk(directory: &Path, module: Option<&str>, found: &mut Vec<(String, PathBuf, String)>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let module = module.unwrap_or(&name);
            if path.is_dir() {
                walk(&path, Some(module), found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((module.to_owned(), path.clone(), code(&fs::read_to_string(&path).unwrap())));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    walk(&root.join("src"), None, &mut found);
    walk(&root.join("arch"), Some("arch"), &mut found);
    found
}

/// The text without comments and strings, and without the unit tests at its foot.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let mut code = String::new();
    for line in text.lines() {
        let mut quoted = false;
        let mut rest = line.char_indices().peekable();
        while let Some((at, character)) = rest.next() {
            match character {
                '\\' if quoted => drop(rest.next()),
                // A quotation mark as a character is none.
                '"' if !line[..at].ends_with('\'') => quoted = !quoted,
                '/' if !quoted && line[at..].starts_with("//") => break,
                _ if quoted => {}
                _ => code.push(character),
            }
        }
        code.push('\n');
    }
    code
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|character: char| !(character.is_alphanumeric() || character == '_')).filter(|word| !word.is_empty())
}

/// What follows each `crate::`: the first name of each path, also of those in braces.
fn crate_paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, prefix) in code.match_indices("crate::") {
        let rest = &code[at + prefix.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.extend(words(rest).next().map(str::to_owned));
            continue;
        };
        let (mut depth, mut starts) = (0, true);
        for (at, character) in group.char_indices() {
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => starts = true,
                _ if starts && !character.is_whitespace() => {
                    found.extend(words(&group[at..]).next().map(str::to_owned));
                    starts = false;
                }
                _ => {}
            }
        }
    }
    found
}

/// Names that the map re-exports, and the modules they come from.
fn exports(map: &str) -> BTreeMap<String, String> {
    let mut exports = BTreeMap::new();
    for statement in map.split(';').filter_map(|statement| statement.split_once("pub use ")) {
        let mut names = words(statement.1);
        let module = names.next().unwrap();
        exports.extend(names.map(|name| (name.to_owned(), module.to_owned())));
    }
    exports
}

/// Why `module` may not contain `code`.
fn violations(module: &str, code: &str, exports: &BTreeMap<String, String>) -> Vec<String> {
    let mut violations = Vec::new();
    for path in crate_paths(code) {
        // Types may be named by their short names, which stand for their modules.
        let target = exports.get(&path).map_or(path.as_str(), String::as_str);
        if target == module || target == "rustix" || (module, target) == EXCEPTION {
            continue;
        }
        let wrong = match module {
            "arch" => !VALUE_TYPES.contains(&target),
            "net" | "os" | "linux" | "reactor" => floor(target) >= floor(module),
            _ => floor(target) > floor(module),
        };
        if wrong {
            violations.push(format!("{module} imports {target} ({path})"));
        }
    }
    if module != "arch" {
        if words(code).any(|word| word == "unsafe") {
            violations.push(format!("{module} has unsafe code"));
        }
        if words(code).any(|word| matches!(word, "target_os" | "target_vendor" | "target_family" | "unix" | "windows")) {
            violations.push(format!("{module} asks for the operating system"));
        }
    }
    violations
}

// "A test reads the `use` lines and fails when a file imports upwards"; and operating systems and `unsafe` are known under `arch/` only.
#[test]
fn nobody_imports_upwards() {
    let files = files();
    let exports = exports(&files.iter().find(|(module, ..)| module == "lib").unwrap().2);
    let mut modules = Vec::new();
    let mut wrong = Vec::new();
    for (module, path, code) in &files {
        if module == "lib" {
            continue;
        }
        modules.push(module.as_str());
        wrong.extend(violations(module, code, &exports).into_iter().map(|violation| format!("{}: {violation}", path.display())));
    }
    assert_eq!(wrong, [] as [String; 0]);
    // Every floor is there, and nothing was overlooked.
    for module in FLOORS.into_iter().flatten() {
        assert!(modules.contains(module), "{module}");
    }
    assert!(exports.len() > 20 && files.len() > 15);
}

// The map has attributes, documentation, `mod` and `use`, and what carries the README's examples into the documentation tests; no logic.
#[test]
fn the_map_holds_no_logic() {
    let map = files().into_iter().find(|(module, ..)| module == "lib").unwrap().2;
    // The crate's own attributes end where a line closes them.
    let mut lines = map.lines().map(str::trim).filter(|line| !line.starts_with("#[doc ="));
    let mut statements = String::new();
    while let Some(line) = lines.next() {
        if line.starts_with("#!") {
            let mut end = line;
            while !end.ends_with(")]") && !end.ends_with("no_std]") {
                end = lines.next().unwrap();
            }
        } else {
            statements += line;
            statements += "\n";
        }
    }
    for statement in statements.split(';').map(str::trim).filter(|statement| !statement.is_empty()) {
        let bare = statement.lines().filter(|line| !line.starts_with("#["));
        let bare = bare.collect::<Vec<_>>().join("\n");
        let kinds = ["mod ", "pub mod ", "pub(crate) mod ", "use ", "pub use ", "extern crate "];
        let is_carrier = statement.starts_with("#[cfg(doctest)]\nstruct ") && !bare.contains('{');
        assert!(is_carrier || kinds.iter().any(|kind| bare.starts_with(kind)), "{statement}");
    }
    assert!(words(&map).any(|word| word == "forbid") && words(&map).any(|word| word == "unsafe_code"));
}

// This check finds what it is there to find.
#[test]
fn violations_are_found() {
    let exports = BTreeMap::from([("Reactor".to_owned(), "reactor".to_owned()), ("Token".to_owned(), "token".to_owned())]);
    let bad = [
        ("token", "use crate::table::Gate;"),
        ("table", "use crate::poller::Io;"),
        ("time", "fn now() { crate::poller::now() }"),
        ("error", "use crate::arch::Selector;"),
        ("arch", "use crate::table::Table;"),
        ("arch", "use crate::deadline;"),
        ("breaker", "use crate::{token::{Token, self}, poller};"),
        ("poller", "fn f(_: crate::Reactor) {}"),
        ("source", "use crate::net::TcpStream;"),
        ("net", "use crate::reactor::Context;"),
        ("reactor", "use crate::{token::Token,\n    net::TcpStream};"),
        ("poller", "unsafe { () }"),
        ("net", "#[cfg(target_os = \"linux\")]"),
        ("net", "if cfg!(unix) {}"),
    ];
    for (module, text) in bad {
        assert_eq!(violations(module, &code(text), &exports).len(), 1, "{module}: {text}");
    }
    let good = [
        (
            "net",
            "use crate::{poller::Io, source::Source, Token};\n// crate::reactor\n/// unsafe target_os\nfn f() { \"unsafe crate::reactor\"; }",
        ),
        ("time", "crate::arch::monotonic()"),
        ("arch", "use crate::time::Instant; #[cfg(target_os = \"linux\")] unsafe fn f() {}"),
        ("table", "use crate::time::Instant;\n#[cfg(test)]\nmod tests {\n    use crate::reactor::Reactor;\n}"),
    ];
    for (module, text) in good {
        assert_eq!(violations(module, &code(text), &exports), [] as [String; 0], "{module}: {text}");
    }
}

//! The table of Go's manners names tests that there are.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// `file::test` of every test in `tests/`.
fn tests() -> BTreeSet<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut tests = BTreeSet::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let (file, text) = (path.file_stem().unwrap().to_str().unwrap(), fs::read_to_string(&path).unwrap());
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            match line.strip_prefix("fn ") {
                // One for each kind of stream is a test of several names.
                Some(name) if is_test || name.contains("<S: Stream>()") => {
                    tests.insert(format!("{file}::{}", name.split(['(', '<']).next().unwrap()));
                    is_test = false;
                }
                Some(_) => is_test = false,
                None => is_test |= line == "#[test]",
            }
        }
    }
    tests
}

#[test]
fn every_row_names_its_test() {
    let tests = tests();
    let table = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/net/manners.md")).unwrap();
    let mut rows = 0;
    for row in table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what is said")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 4, "{row}");
        let named: Vec<&str> = cells[3].split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "{row}");
        for name in named {
            assert!(tests.contains(name), "no test {name}: {row}");
        }
        rows += 1;
    }
    assert!(rows > 40, "{rows} rows");
}

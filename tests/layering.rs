//! Imports point down only. Reads every `use` line and every `crate::…` path of `src/` and fails on one that runs up.
//!
//! The ranks below are the layers of `docs/design.md`; within a layer a module may import what stands before it and
//! has a lower rank. `testkit` builds on the whole and is imported by tests alone; tests may also name tokio.

#[path = "layering/source.rs"]
mod source;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use source::{Import, imports};

/// A module of the crate, and its height.
const RANKS: &[(&str, u8)] = &[
    ("event", 10),
    ("codec", 11),
    ("config", 11),
    ("ports", 20),
    ("handler", 21),
    ("effects", 30),
    ("telemetry", 40),
    ("kafka", 41),
    ("adapters", 41),
    ("runtime", 50),
    ("dead_letters", 51),
    ("testkit", 55),
    ("console", 60),
    ("cli", 61),
    ("main", 62),
    ("lib", 62),
];

/// From here up tokio may be named.
const TOKIO_FROM: u8 = 40;

#[test]
fn no_import_of_the_crate_runs_upwards() -> Result<(), Box<dyn Error>> {
    let src = root().join("src");
    let mut complaints = Vec::new();
    let files = rust_files(&src)?;
    assert!(files.len() > 10, "only {} files under {}", files.len(), src.display());

    for file in files {
        let module = module_path(file.strip_prefix(&src)?);
        complaints.extend(check(&module, &fs::read_to_string(&file)?));
    }

    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
    Ok(())
}

#[test]
fn the_core_depends_on_nothing() -> Result<(), Box<dyn Error>> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "-p", "postroom-core", "-e", "normal"])
        .current_dir(root())
        .output()?;

    let tree = String::from_utf8(output.stdout)?;

    assert_eq!(
        tree.lines().count(),
        1,
        "cargo tree says:\n{tree}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(tree.starts_with("postroom-core "), "{tree}");
    Ok(())
}

#[test]
fn an_import_that_runs_up_is_found_however_it_is_written() {
    for source in [
        "use crate::runtime::Driver;",
        "pub(crate) use crate::runtime;",
        "use crate::{event::Envelope, runtime::{Driver}};",
        "use super::super::runtime::Driver;",
        "fn f() { crate::runtime::start(); }",
        "type T = Vec<crate::runtime::Driver>;",
        "mod inner { use super::super::super::runtime::Driver; }",
        "use crate as postroom;",
        "use {crate::runtime};",
        "fn f() -> impl Sized + use<> { crate::runtime::start() }",
    ] {
        let found = check(&path("codec::frame"), source);
        assert_eq!(found.len(), 1, "{source}: {found:?}");
    }
}

#[test]
fn an_import_that_runs_down_or_stays_passes() {
    for source in [
        "use crate::event::RawRecord; use crate::codec::frame; use super::frame; use self::inner::X;",
        "// use crate::runtime::Driver;\n/* use crate::runtime; /* nested */ */",
        "const TEXT: &str = \"use crate::runtime::Driver; \\\" crate::runtime\";",
        "const RAW: &str = r#\"crate::runtime \" \"#; const C: char = '\"'; fn f<'a>(x: &'a str) {}",
        "use postroom_core::Offset; use std::{fmt, io::{self, Read}};",
        "#[cfg(test)] mod tests { use super::*; use crate::testkit::Store; use tokio::time; }",
        "macro_rules! m { () => { $crate::codec::frame() } }",
    ] {
        let found = check(&path("codec::frame"), source);
        assert!(found.is_empty(), "{source}: {found:?}");
    }
}

#[test]
fn foreign_crates_stay_where_they_belong() {
    for (module, source, complaints) in [
        ("ports::edge", "use rdkafka::Offset;", 1),
        ("runtime", "use rdkafka::Offset;", 1),
        ("runtime", "use postroom_dequeue::Dequeue;", 1),
        ("kafka::consumer", "use postroom_dequeue::Dequeue;", 0),
        ("kafka::consumer", "use rdkafka::{Offset, consumer::BaseConsumer};", 0),
        ("effects::project", "use tokio::sync::mpsc;", 1),
        ("runtime::driver", "use tokio::sync::mpsc;", 0),
        ("kafka::consumer", "use tokio::sync::oneshot;", 0),
        ("codec", "fn f() { tokio::spawn(async {}); }", 1),
        ("adapters::store", "use rusqlite::Connection;", 0),
        ("effects::notify", "fn f(c: &rusqlite::Connection) {}", 1),
        ("cli", "use crate::testkit::TestBench;", 1),
    ] {
        let found = check(&path(module), source);
        assert_eq!(found.len(), complaints, "{module}: {source}: {found:?}");
    }
}

#[test]
fn a_module_without_a_layer_is_named() {
    let found = check(&path("misc"), "use std::fmt;");

    assert_eq!(
        found,
        ["src/misc: the module has no layer: give it one in tests/layering.rs and docs/design.md"]
    );
}

/// Returns one line for each import that the layers forbid.
fn check(module: &[String], source: &str) -> Vec<String> {
    let place = format!("src/{}", module.join("/"));
    let Some((own, rank)) = module.first().and_then(|name| layer(name)) else {
        return vec![format!(
            "{place}: the module has no layer: give it one in tests/layering.rs and docs/design.md"
        )];
    };

    imports(module, source)
        .iter()
        .filter_map(|import| verdict(own, rank, import).map(|why| (import, why)))
        .map(|(import, why)| format!("{place}:{}: {}: {why}", import.line, import.path.join("::")))
        .collect()
}

/// Says why an import may not be, if so.
fn verdict(own: &str, rank: u8, import: &Import) -> Option<String> {
    let mut segments = import.path.iter().map(String::as_str);
    match segments.next()? {
        "crate" => match segments.next() {
            None | Some("*") if own == "lib" || own == "main" => None,
            None | Some("*") => Some("names the whole crate, which hides what is imported".to_owned()),
            Some(name) if name == own || own == "lib" || own == "main" => None,
            Some("testkit") if import.in_test => None,
            Some("testkit") => {
                Some("`testkit` is for tests: nothing of the product may lean on it".to_owned())
            }
            Some(name) => match layer(name) {
                Some((_, other)) if other < rank => None,
                Some(_) => Some(format!("`{own}` may not import `{name}`: imports point down only")),
                // An item that stands at the crate's root, such as a re-export: its home is what counts.
                None => Some(format!("`{name}` is no module with a layer: import it from its own module")),
            },
        },
        name @ ("rdkafka" | "postroom_dequeue") if own != "kafka" => {
            Some(format!("{name} is named in `kafka` only"))
        }
        "rusqlite" if own != "adapters" => Some("rusqlite is named in `adapters` only".to_owned()),
        "tokio" if rank < TOKIO_FROM && !import.in_test => {
            Some("tokio is named from layer 4 up only".to_owned())
        }
        _ => None,
    }
}

fn layer(name: &str) -> Option<(&'static str, u8)> {
    RANKS.iter().find(|(module, _)| *module == name).copied()
}

fn module_path(file: &Path) -> Vec<String> {
    let mut path: Vec<String> = file
        .with_extension("")
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    if path.len() > 1 && path.last().is_some_and(|last| last == "mod") {
        path.pop();
    }
    path
}

fn path(module: &str) -> Vec<String> {
    module.split("::").map(str::to_owned).collect()
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

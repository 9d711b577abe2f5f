//! The documents say what is so: their examples are the ones that are compiled, their commands run.
//!
//! `POSTROOM_WRITE_DOCS=1 cargo test --test readme` writes the examples into the documents anew.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

type Checked = Result<(), Box<dyn Error>>;

/// Documents that show an example behind the line `<!-- example: NAME -->`.
const WITH_EXAMPLES: [&str; 2] = ["README.md", "docs/handlers.md"];

/// Each command of the README, and who runs it.
const COMMANDS: &[(&str, Runner)] = &[
    ("cargo build --release", Runner::Elsewhere("bench/run builds in release")),
    ("scripts/demo", Runner::Elsewhere("the stage `first command` of scripts/test")),
    ("scripts/test", Runner::Elsewhere("CI")),
    ("target/debug/postroom dlq ls", Runner::Demo),
    ("target/debug/postroom emit", Runner::Demo),
    ("target/debug/postroom show", Runner::Demo),
    ("target/debug/postroom status", Runner::Demo),
    ("target/debug/postroom tail", Runner::Demo),
    ("target/release/postroom check", Runner::Elsewhere("the_configuration_of_the_readme_passes_its_check")),
    ("target/release/postroom run", Runner::Elsewhere("tests/python/e2e_independent.py")),
    ("target/release/postroom topics apply", Runner::Elsewhere("tests/python/e2e_independent.py")),
    ("target/release/postroom topics plan", Runner::Elsewhere("tests/python/e2e_independent.py")),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runner {
    /// tests/readme_demo.rs, beside a running demo.
    Demo,
    /// Somebody else, and who.
    Elsewhere(&'static str),
}

#[test]
fn examples_in_the_documents_are_the_compiled_ones() -> Checked {
    for document in WITH_EXAMPLES {
        let path = root().join(document);
        let text = fs::read_to_string(&path)?;
        let expected = with_examples(&text)?;
        if std::env::var_os("POSTROOM_WRITE_DOCS").is_some() {
            fs::write(&path, &expected)?;
            continue;
        }
        assert!(
            text == expected,
            "{document}: POSTROOM_WRITE_DOCS=1 cargo test --test readme writes it anew"
        );
        assert!(text.contains("<!-- example: "), "{document} shows no example");
    }
    Ok(())
}

#[test]
fn stages_in_the_documents_are_those_of_the_script() -> Checked {
    let path = root().join("docs/testing.md");
    let text = fs::read_to_string(&path)?;
    let script = fs::read_to_string(root().join("scripts/test"))?;
    let (before, rest) =
        text.split_once("<!-- stages -->\n").ok_or("docs/testing.md has no place for the stages")?;
    let (_, after) = rest.split_once("<!-- end of stages -->\n").ok_or("the stages do not end")?;

    let expected = format!("{before}<!-- stages -->\n{}<!-- end of stages -->\n{after}", stages(&script)?);

    if std::env::var_os("POSTROOM_WRITE_DOCS").is_some() {
        fs::write(&path, expected)?;
        return Ok(());
    }
    assert!(
        text == expected,
        "docs/testing.md: POSTROOM_WRITE_DOCS=1 cargo test --test readme writes it anew"
    );
    Ok(())
}

#[test]
fn every_command_of_the_readme_has_somebody_who_runs_it() -> Checked {
    let readme = fs::read_to_string(root().join("README.md"))?;
    let mut shown = Vec::new();

    for command in commands(&readme) {
        let known = COMMANDS
            .iter()
            .filter(|(start, _)| command.starts_with(start))
            .max_by_key(|(start, _)| start.len());
        match known {
            Some((start, _)) => shown.push(*start),
            None => return Err(format!("the README shows a command that nobody runs: {command}").into()),
        }
    }

    let unused: Vec<_> =
        COMMANDS.iter().map(|(start, _)| *start).filter(|start| !shown.contains(start)).collect();
    assert!(unused.is_empty(), "the README shows them no longer: {unused:?}");
    Ok(())
}

#[test]
fn links_of_the_documents_lead_somewhere() -> Checked {
    let mut documents = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    for entry in fs::read_dir(root().join("docs"))? {
        documents.push(entry?.path());
    }
    let mut broken = Vec::new();

    for document in
        documents.iter().filter(|path| path.extension().is_some_and(|extension| extension == "md"))
    {
        let folder = document.parent().ok_or("a document lies in a folder")?;
        for link in links(&fs::read_to_string(document)?) {
            let file = link.split('#').next().unwrap_or_default();
            if !link.contains("://") && !file.is_empty() && !folder.join(file).exists() {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }

    assert!(broken.is_empty(), "{broken:#?}");
    Ok(())
}

#[test]
fn the_configuration_of_the_readme_passes_its_check() -> Checked {
    let readme = fs::read_to_string(root().join("README.md"))?;
    let block = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    let block = block.ok_or("the README shows no configuration")?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("postroom.toml");
    fs::write(&file, block)?;
    let passes = postroom(folder.path()).arg("check").arg("-c").arg(&file).output()?;
    fs::write(&file, block.replace("brokers", "brokres"))?;
    let refused = postroom(folder.path()).arg("check").arg("-c").arg(&file).output()?;

    assert!(passes.status.success(), "{passes:?}");
    assert_eq!(refused.status.code(), Some(78), "{refused:?}");
    Ok(())
}

/// The binary, in a home of its own.
fn postroom(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postroom"));
    command.env_clear().env("HOME", home).env("NO_COLOR", "1").current_dir(home).stdin(Stdio::null());
    command
}

/// Returns the stages of `scripts/test` as a table, with their sum.
fn stages(script: &str) -> Result<String, Box<dyn Error>> {
    let mut table = "| stage | budget |\n|---|---|\n".to_owned();
    let mut sum = 0;
    for line in script.lines() {
        let Some(rest) = line.trim_start().strip_prefix("stage \"") else { continue };
        let Some((name, rest)) = rest.split_once("\" ").filter(|(name, _)| !name.contains('$')) else {
            continue;
        };
        let seconds: u32 = rest.split(' ').next().unwrap_or_default().parse()?;
        sum += seconds;
        table.push_str(&format!("| {name} | {seconds} s |\n"));
    }
    assert!(sum <= 35 * 60, "the budgets add up to {sum} s, more than 35 minutes");
    table.push_str(&format!("| all | {} min |\n", sum.div_ceil(60)));
    Ok(table)
}

/// Returns the lines of the `sh` blocks, without the comments behind them.
fn commands(document: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut inside = false;
    for line in document.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside && !line.trim().is_empty() => {
                commands.push(line.split(" #").next().unwrap_or(line).trim_end().to_owned());
            }
            _ => {}
        }
    }
    commands
}

/// Returns the targets of `[text](target)`.
fn links(document: &str) -> Vec<String> {
    let targets = document.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_owned()).collect()
}

/// Puts each example behind its marker.
fn with_examples(document: &str) -> Result<String, Box<dyn Error>> {
    let mut result = String::new();
    let mut lines = document.lines().peekable();
    let mut sources: BTreeMap<String, String> = BTreeMap::new();
    while let Some(line) = lines.next() {
        result.push_str(line);
        result.push('\n');
        let Some(name) = line.strip_prefix("<!-- example: ").and_then(|rest| rest.strip_suffix(" -->"))
        else {
            continue;
        };
        if lines.next_if_eq(&"```rust").is_some() {
            while lines.next().is_some_and(|line| line != "```") {}
        }
        let code = match sources.get(name) {
            Some(code) => code.clone(),
            None => example(name)?,
        };
        result.push_str(&format!("```rust\n{code}```\n"));
        sources.insert(name.to_owned(), code);
    }
    Ok(result)
}

/// Returns an example's code without its head.
fn example(name: &str) -> Result<String, Box<dyn Error>> {
    let path: PathBuf = root().join("examples").join(format!("{name}.rs"));
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let code: Vec<&str> =
        text.lines().skip_while(|line| line.starts_with("//!") || line.is_empty()).collect();
    Ok(code.join("\n") + "\n")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

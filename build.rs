//! Writes into the binary what it was built from.

use std::process::Command;

fn main() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_unset| "rustc".to_owned());
    let version = said_by(Command::new(rustc).arg("--version"));
    // Outside of a checkout, as in an archive, there is no revision.
    let revision = said_by(Command::new("git").args(["rev-parse", "--short=12", "HEAD"]));
    println!("cargo:rustc-env=POSTROOM_RUSTC={}", version.split(' ').nth(1).unwrap_or("unknown"));
    println!("cargo:rustc-env=POSTROOM_REVISION={revision}");
    println!("cargo:rerun-if-changed=build.rs");
    if std::path::Path::new(REFLOG).exists() {
        println!("cargo:rerun-if-changed={REFLOG}");
    }
}

fn said_by(command: &mut Command) -> String {
    let output = command.output().ok().filter(|output| output.status.success());
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}

/// It changes with every commit and checkout.
const REFLOG: &str = ".git/logs/HEAD";

//! The commands that the README shows beside a running demo are run beside a running demo.
#![cfg(unix)]

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

type Checked<T = ()> = Result<T, Box<dyn Error>>;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn commands_of_the_readme_work_beside_a_running_demo() -> Checked {
    let home = tempfile::tempdir()?;
    let demo = Demo::start(home.path())?;
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"))?;
    let shown: Vec<String> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("target/debug/postroom "))
        .map(|line| line.split("  #").next().unwrap_or(line).trim().to_owned())
        .collect();
    assert!(shown.len() >= 4, "{shown:?}");

    for words in &shown {
        let output = run(home.path(), words)?;
        let said = String::from_utf8(output.stdout)?;
        assert!(output.status.success(), "`postroom {words}`: {}", String::from_utf8_lossy(&output.stderr));
        match words.split(' ').next() {
            Some("status") => assert!(said.contains("project") && said.contains("notify"), "{said}"),
            Some("dlq") => assert!(said.contains("undecodable"), "{said}"),
            Some("emit") => {}
            Some("show") => assert!(said.contains("what each group did"), "{said}"),
            Some("tail") => assert!(said.contains("comment."), "{said}"),
            other => return Err(format!("no expectation for `postroom {other:?}`").into()),
        }
    }

    demo.stop()
}

/// A demo that has shown its results and stays up.
struct Demo {
    child: Child,
}

impl Demo {
    fn start(home: &Path) -> Checked<Self> {
        let mut child = postroom(home).arg("demo").stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let lines = lines_of(&mut child)?;
        let demo = Self { child };
        let mut said = Vec::new();
        loop {
            let line =
                lines.recv_timeout(PATIENCE).map_err(|_| format!("the demo says no more than {said:?}"))?;
            let over = line.contains("postroom dlq");
            said.push(line);
            if over {
                return Ok(demo);
            }
        }
    }

    /// SIGTERM drains and ends with 0.
    fn stop(mut self) -> Checked {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status()?;
        let status = self.child.wait()?;
        assert!(status.success(), "the demo ended with {status}");
        Ok(())
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Ended already where all went well.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs a command to its end; its words as the shell would read them.
fn run(home: &Path, words: &str) -> Checked<Output> {
    Ok(shell(home, words).output()?)
}

fn lines_of(child: &mut Child) -> Checked<mpsc::Receiver<String>> {
    let (tell, lines) = mpsc::channel();
    let output = child.stdout.take().ok_or("no output")?;
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // The pipe is read to its end, whoever listens: the process must not wait for us.
            drop(tell.send(line));
        }
    });
    Ok(lines)
}

fn shell(home: &Path, words: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("exec \"$POSTROOM\" {words}"));
    dressed(command, home)
}

fn postroom(home: &Path) -> Command {
    dressed(Command::new(env!("CARGO_BIN_EXE_postroom")), home)
}

fn dressed(mut command: Command, home: &Path) -> Command {
    command
        .env_clear()
        .env("HOME", home)
        .env("NO_COLOR", "1")
        .env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("POSTROOM", env!("CARGO_BIN_EXE_postroom")).current_dir(home).stdin(Stdio::null());
    command
}

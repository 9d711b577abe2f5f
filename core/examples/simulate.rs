//! Runs the simulation over many seeds.
//!
//! ```text
//! cargo run -p postroom-core --features simulation --example simulate -- \
//!     [--histories N] [--from SEED] [--minutes M] [--jobs J] [--bug NAME] [--seed SEED [--verbose]]
//! ```
//!
//! Exit codes: 0 all histories are sound, 1 one is not, 64 the command line is wrong.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command prints, and measures its own time"
)]

use std::collections::BTreeMap;
use std::env;
use std::panic;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use postroom_core::Bug;
use postroom_core::simulation::{Anomaly, Reached, Told, simulate};

/// Failing seeds that are printed in full; the others are counted.
const PRINTED: usize = 20;

fn main() -> ExitCode {
    let arguments = match Arguments::parse(env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("simulate: {problem}");
            return ExitCode::from(64);
        }
    };
    // A processor that breaks its own invariants panics: that is a finding like others.
    panic::set_hook(Box::new(|_| {}));
    match arguments.seed {
        Some(seed) => replay(seed, &arguments),
        None => explore(&arguments),
    }
}

struct Arguments {
    histories: u64,
    from: u64,
    minutes: Option<u64>,
    jobs: usize,
    bug: Option<Bug>,
    seed: Option<u64>,
    verbose: bool,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut parsed = Self {
            histories: 10_000,
            from: 0,
            minutes: None,
            jobs: thread::available_parallelism().map_or(1, usize::from),
            bug: None,
            seed: None,
            verbose: false,
        };
        let mut counted = false;
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--histories" => {
                    parsed.histories = number(&word, &value()?)?;
                    counted = true;
                }
                "--from" => parsed.from = number(&word, &value()?)?,
                "--minutes" => parsed.minutes = Some(number(&word, &value()?)?),
                "--jobs" => parsed.jobs = number(&word, &value()?)?.clamp(1, 256).try_into().unwrap_or(1),
                "--bug" => parsed.bug = Some(bug_named(&value()?)?),
                "--seed" => parsed.seed = Some(number(&word, &value()?)?),
                "--verbose" => parsed.verbose = true,
                other => return Err(format!("unknown argument {other}")),
            }
        }
        if parsed.minutes.is_some() && !counted {
            parsed.histories = u64::MAX - parsed.from;
        }
        Ok(parsed)
    }
}

fn number(name: &str, text: &str) -> Result<u64, String> {
    text.replace('_', "").parse().map_err(|_| format!("{name}: {text} is not a number"))
}

fn bug_named(text: &str) -> Result<Bug, String> {
    let named = Bug::ALL.into_iter().find(|bug| format!("{bug:?}") == text);
    named.ok_or_else(|| {
        let names: Vec<String> = Bug::ALL.iter().map(|bug| format!("{bug:?}")).collect();
        format!("no bug is called {text}; there are {}", names.join(", "))
    })
}

fn replay(seed: u64, arguments: &Arguments) -> ExitCode {
    let told = simulate(seed, arguments.bug);
    if arguments.verbose {
        for entry in &told.history.entries {
            println!("{entry}");
        }
        println!("{:?}", told.history.rules);
    }
    for finding in &told.findings {
        println!("{finding}");
    }
    println!("seed {seed}: {} entries, {} findings", told.history.entries.len(), told.findings.len());
    ExitCode::from(u8::from(!told.findings.is_empty()))
}

/// What all threads have found so far.
#[derive(Default)]
struct Summary {
    reached: Reached,
    anomalies: BTreeMap<Anomaly, u64>,
    failing: Vec<(u64, String)>,
    entries: u64,
}

impl Summary {
    fn add(&mut self, seed: u64, told: &Told) {
        self.reached.add(&told.reached);
        self.entries += u64::try_from(told.history.entries.len()).unwrap_or(0);
        for finding in &told.findings {
            *self.anomalies.entry(finding.anomaly).or_default() += 1;
        }
        if let Some(first) = told.findings.first() {
            self.failing.push((seed, first.to_string()));
        }
    }
}

fn explore(arguments: &Arguments) -> ExitCode {
    let begun = Instant::now();
    let limit = arguments.minutes.map(|minutes| Duration::from_secs(minutes.saturating_mul(60)));
    let next = AtomicU64::new(arguments.from);
    let end = arguments.from.saturating_add(arguments.histories);
    let over = AtomicBool::new(false);
    let summary = Mutex::new(Summary::default());
    thread::scope(|scope| {
        let workers: Vec<_> = (0..arguments.jobs)
            .map(|_| {
                scope.spawn(|| {
                    let mut mine = Summary::default();
                    while !over.load(Ordering::Relaxed) {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= end {
                            break;
                        }
                        mine.add(seed, &simulate(seed, arguments.bug));
                    }
                    merge(&summary, mine);
                })
            })
            .collect();
        let mut printed = Instant::now();
        while workers.iter().any(|worker| !worker.is_finished()) {
            thread::sleep(Duration::from_millis(20));
            if limit.is_some_and(|limit| begun.elapsed() >= limit) {
                over.store(true, Ordering::Relaxed);
            }
            if printed.elapsed() >= Duration::from_secs(1) {
                printed = Instant::now();
                let done = next.load(Ordering::Relaxed).min(end) - arguments.from;
                eprintln!("{done} histories, {:.0}/s", rate(done, begun.elapsed()));
            }
        }
    });
    let histories = next.load(Ordering::Relaxed).min(end) - arguments.from;
    let mut summary = match summary.into_inner() {
        Ok(summary) => summary,
        Err(poisoned) => poisoned.into_inner(),
    };
    summary.failing.sort();
    report(&summary, histories, begun.elapsed(), arguments)
}

fn merge(summary: &Mutex<Summary>, mine: Summary) {
    let mut all = match summary.lock() {
        Ok(all) => all,
        Err(poisoned) => poisoned.into_inner(),
    };
    all.reached.add(&mine.reached);
    all.entries += mine.entries;
    all.failing.extend(mine.failing);
    for (anomaly, count) in mine.anomalies {
        *all.anomalies.entry(anomaly).or_default() += count;
    }
}

fn report(summary: &Summary, histories: u64, took: Duration, arguments: &Arguments) -> ExitCode {
    println!("reached:\n{}", summary.reached);
    println!(
        "{histories} histories from seed {}, {} entries, {:.1} s, {:.0} histories/s",
        arguments.from,
        summary.entries,
        took.as_secs_f64(),
        rate(histories, took)
    );
    for missed in summary.reached.missed() {
        println!("never reached: {}", missed.name());
    }
    if summary.failing.is_empty() {
        println!("no anomaly");
        return ExitCode::SUCCESS;
    }
    for (anomaly, count) in &summary.anomalies {
        println!("{count:>8} × {anomaly:?}");
    }
    let bug = arguments.bug.map(|bug| format!(" --bug {bug:?}")).unwrap_or_default();
    for (seed, finding) in summary.failing.iter().take(PRINTED) {
        println!("seed {seed}: {finding}");
        println!(
            "  cargo run -p postroom-core --features simulation --example simulate -- --seed {seed}{bug} --verbose"
        );
    }
    println!("{} histories failed", summary.failing.len());
    ExitCode::from(1)
}

fn rate(count: u64, took: Duration) -> f64 {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    f64::from(count) / took.as_secs_f64().max(0.001)
}

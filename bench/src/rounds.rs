//! Rounds: each program once a round, in an order that changes, in a process of its own; ratios within the round.

use std::process::{Command, Stdio};

use serde::Serialize;

use crate::failure::Failure;
use crate::fill::checksum;
use crate::measure::Measured;
use crate::{Rounds, Work};

const PROGRAMS: [&str; 3] = ["raw", "batch", "record"];

#[derive(Serialize)]
struct Report {
    events: u64,
    rounds: Vec<Round>,
    medians: Vec<Median>,
}

#[derive(Serialize)]
struct Round {
    raw: Measured,
    batch: Measured,
    record: Measured,
}

#[derive(Serialize)]
struct Median {
    program: &'static str,
    cpu_s_per_million: f64,
    ratio_to_raw: f64,
    ratio_lowest: f64,
    ratio_highest: f64,
    events_per_s: f64,
    rss_mb: f64,
}

/// Runs the rounds and prints what they found.
pub(crate) fn run(command: &Rounds) -> Result<(), Failure> {
    let mut random = fastrand::Rng::with_seed(command.seed);
    let expected = checksum(command.work.events);
    let mut rounds = Vec::new();
    for number in 1..=command.rounds {
        let mut order = PROGRAMS;
        random.shuffle(&mut order);
        let mut done = Vec::new();
        for program in order {
            let measured = child(program, &command.work)?;
            if measured.checksum != expected {
                return Err(Failure::Checksum { found: measured.checksum, expected });
            }
            say(number, command.rounds, program, &measured);
            done.push((program, measured));
        }
        let mut take = |name| {
            let at = done.iter().position(|(program, _)| *program == name);
            at.map(|at| done.swap_remove(at).1).ok_or(Failure::Untold("a program's result"))
        };
        rounds.push(Round { raw: take("raw")?, batch: take("batch")?, record: take("record")? });
    }
    let medians = vec![
        summary("raw", &rounds, |round| &round.raw),
        summary("batch", &rounds, |round| &round.batch),
        summary("record", &rounds, |round| &round.record),
    ];
    let report = Report { events: command.work.events, rounds, medians };
    if command.json { print_json(&report) } else { print_table(&report) }
}

fn child(program: &'static str, work: &Work) -> Result<Measured, Failure> {
    let output = Command::new(std::env::current_exe()?)
        .args([program, "--kafka", &work.kafka])
        .args(["--events", &work.events.to_string()])
        .args(["--warm-up", &work.warm_up.to_string()])
        .args(["--queue-kib", &work.queue_kib.to_string()])
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        return Err(Failure::Child {
            program,
            status: output.status.to_string(),
            output: String::from_utf8_lossy(&output.stderr).into_owned(),
        });
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn summary(program: &'static str, rounds: &[Round], of: fn(&Round) -> &Measured) -> Median {
    let ratios = sorted(rounds.iter().map(|round| of(round).cpu_s / round.raw.cpu_s));
    Median {
        program,
        cpu_s_per_million: middle(&sorted(rounds.iter().map(|round| of(round).cpu_per_million()))),
        ratio_to_raw: middle(&ratios),
        ratio_lowest: ratios.first().copied().unwrap_or(f64::NAN),
        ratio_highest: ratios.last().copied().unwrap_or(f64::NAN),
        events_per_s: middle(&sorted(
            rounds.iter().map(|round| crate::measure::float(of(round).events) / of(round).wall_s),
        )),
        rss_mb: middle(&sorted(rounds.iter().map(|round| of(round).rss_mb))),
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The middle value; the lower one of two.
fn middle(values: &[f64]) -> f64 {
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

#[expect(clippy::print_stderr, reason = "progress for whoever waits")]
fn say(number: usize, rounds: usize, program: &str, measured: &Measured) {
    eprintln!(
        "round {number} of {rounds}: {program:6} {:.2} CPU-s/M, {:.0} MB",
        measured.cpu_per_million(),
        measured.rss_mb
    );
}

#[expect(clippy::print_stdout, reason = "the result is what the caller reads")]
fn print_json(report: &Report) -> Result<(), Failure> {
    println!("{}", serde_json::to_string_pretty(report)?);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the result is what the caller reads")]
fn print_table(report: &Report) -> Result<(), Failure> {
    println!("| program | CPU-s per million | ÷ raw loop (median, range) | events/s | peak RSS, MB |");
    println!("|---|---|---|---|---|");
    for median in &report.medians {
        println!(
            "| {} | {:.2} | {:.2} ({:.2}–{:.2}) | {:.0} | {:.0} |",
            median.program,
            median.cpu_s_per_million,
            median.ratio_to_raw,
            median.ratio_lowest,
            median.ratio_highest,
            median.events_per_s,
            median.rss_mb
        );
    }
    println!("{} events, {} rounds", report.events, report.rounds.len());
    Ok(())
}

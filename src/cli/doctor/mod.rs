//! `postroom doctor`: looks at everything that a running process needs, and says what to do about what is not well.
//!
//! Nothing is changed: no topic, no mail, no row. Each check has a deadline.

mod cluster;
mod finding;
mod host;
mod others;
mod patient;

use std::time::{Duration, Instant};

use serde_json::json;

use crate::cli::args::{DoctorArgs, Global, Output};
use crate::cli::doctor::finding::{Finding, Health, Report};
use crate::cli::doctor::patient::Patient;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::progress::spinner;
use crate::cli::serving::runtime;
use crate::cli::settings::{loaded_for_demo, start_log};
use crate::cli::terminal::{Style, Terminal};

/// One thing that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// How it is named with `--only`.
    pub(crate) name: &'static str,
    /// What it looks at.
    pub(crate) about: &'static str,
}

/// All checks, in their order.
pub(crate) const CHECKS: [Check; 18] = [
    Check { name: "version", about: "which version this is, and whether the running instance is the same" },
    Check { name: "effects", about: "which effects run, and what the others lack" },
    Check {
        name: "brokers",
        about: "whether brokers answer, also at the addresses that they give themselves",
    },
    Check {
        name: "identity",
        about: "as whom the broker knows us; whether our certificate is valid for long enough",
    },
    Check { name: "rights", about: "which rights (ACLs) are missing, with the lines that grant them" },
    Check { name: "topics", about: "whether all topics are there" },
    Check {
        name: "partitions",
        about: "whether dead letters and retries have as many partitions as their sources",
    },
    Check { name: "retention", about: "whether dead letters are kept longer than their sources" },
    Check { name: "cleanup", about: "whether no topic of dead letters is compacted" },
    Check {
        name: "sizes",
        about: "whether topics of dead letters take the largest records of their sources",
    },
    Check { name: "replication", about: "whether enough replicas are in step for acks=all" },
    Check { name: "registry", about: "whether the schema registry answers, and takes our schemas" },
    Check {
        name: "mail",
        about: "whether the relay takes connections, encrypts, and lets us in; no mail is sent",
    },
    Check {
        name: "store",
        about: "whether the store is there, of this version, writable, with room on its disk",
    },
    Check {
        name: "pictures",
        about: "whether the picture worker works, and the objects can be reached and written",
    },
    Check { name: "caches", about: "whether the caches let us purge" },
    Check { name: "clock", about: "whether this machine's clock agrees with those of others" },
    Check {
        name: "polling",
        about: "whether the running instance's handlers are fast enough for the poll limit",
    },
];

pub(crate) fn run(global: &Global, arguments: &DoctorArgs, terminal: &mut Terminal) -> Result<Exit, Failure> {
    if let Some(odd) =
        arguments.only.iter().find(|name| CHECKS.iter().all(|check| check.name != name.as_str()))
    {
        let names: Vec<_> = CHECKS.iter().map(|check| check.name).collect();
        return Err(Failure::new(Exit::Usage, format!("there is no check {odd:?}"))
            .fix(format!("choose from {}", names.join(", "))));
    }
    if arguments.list {
        for Check { name, about } in CHECKS {
            terminal.line(&format!("{name:12} {about}"))?;
        }
        return Ok(Exit::Ok);
    }
    let loaded = loaded_for_demo(global, terminal)?;
    let _log = start_log(&loaded, None, terminal)?;
    let runtime = runtime()?;
    let reports = runtime.block_on(async {
        let patient = Patient::new(loaded, arguments.url.clone())?;
        let wanted =
            |check: &Check| arguments.only.is_empty() || arguments.only.iter().any(|name| name == check.name);
        let mut reports = Vec::new();
        for check in CHECKS.into_iter().filter(wanted) {
            let report = examined(check, &patient).await;
            if arguments.output == Output::Text {
                terminal.text(&report.text(terminal))?;
            }
            reports.push(report);
        }
        Ok::<_, Failure>((reports, patient.is_away()))
    });
    // What hangs in the client must not keep the process.
    runtime.shutdown_background();
    let (reports, is_away) = reports?;
    told(&reports, is_away, arguments.output, terminal)
}

async fn examined(check: Check, patient: &Patient) -> Report {
    let spinner = spinner(check.name);
    let began = Instant::now();
    let findings =
        tokio::time::timeout(DEADLINE, examine(check.name, patient)).await.unwrap_or_else(|_late| {
            let seen = format!("no answer within {} s", DEADLINE.as_secs());
            vec![Finding::fail(
                seen,
                "look at what lies between this machine and the other one: firewalls, names, load",
            )]
        });
    spinner.finish_and_clear();
    let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Report::new(check.name, findings, took)
}

async fn examine(name: &str, patient: &Patient) -> Vec<Finding> {
    match name {
        "version" => host::version(patient).await,
        "effects" => others::effects(patient),
        "brokers" => cluster::brokers(patient).await,
        "identity" => cluster::identity(patient),
        "rights" => cluster::rights(patient).await,
        "topics" => cluster::topics(patient).await,
        "partitions" | "retention" | "cleanup" | "sizes" | "replication" => {
            cluster::flaws(patient, name).await
        }
        "registry" => others::registry(patient).await,
        "mail" => others::mail(patient).await,
        "store" => host::store(patient).await,
        "pictures" => others::pictures(patient).await,
        "caches" => others::caches(patient).await,
        "clock" => host::clock(patient).await,
        _ => host::polling(patient).await,
    }
}

fn told(reports: &[Report], is_away: bool, output: Output, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let count = |health| reports.iter().filter(|report| report.health == health).count();
    let (failed, warned) = (count(Health::Fail), count(Health::Warn));
    let exit = match failed {
        0 => Exit::Ok,
        _ if is_away => Exit::Unavailable,
        _ => Exit::No,
    };
    match output {
        Output::Json => terminal.json(&json!({
            "healthy": failed == 0,
            "failed": failed,
            "warned": warned,
            "checks": reports,
        }))?,
        Output::Text => {
            let (style, text) = match (failed, warned) {
                (0, 0) => (Style::Good, "everything that was looked at is well".to_owned()),
                (0, warned) => (Style::Warning, format!("{warned} to look at, nothing that does not work")),
                (failed, warned) => (Style::Bad, format!("{failed} not well, {warned} to look at")),
            };
            terminal.line(&format!("\n{}", terminal.styled(style, &text)))?;
        }
    }
    Ok(exit)
}

/// How long one check may take.
const DEADLINE: Duration = Duration::from_secs(30);

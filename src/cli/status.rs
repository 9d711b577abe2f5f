//! `postroom status`: what each group of a running instance is doing.

use std::time::Duration;

use crate::cli::args::{Global, Output, StatusArgs};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::fetch::get;
use crate::cli::running::Running;
use crate::cli::settings::{is_default, loaded};
use crate::cli::terminal::{Style, Terminal, table};
use crate::config::Secret;
use crate::console::from_now;
use crate::telemetry::{GroupState, GroupStatus, OutboxStatus, PartitionStatus, Status, Verdict};

pub(crate) fn run(global: &Global, arguments: &StatusArgs, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let loaded = loaded(global, terminal)?;
    let configured = loaded.config.http.listen.0.to_string();
    let of_the_demo = || Running::find().filter(|_| is_default(&loaded, "http.listen"))?.http;
    let address = arguments.url.clone().or_else(of_the_demo).unwrap_or(configured);
    let address = address.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let token = loaded.config.admin.token.as_ref();
    if !arguments.watch {
        let status = read(&address, token)?;
        return match arguments.output {
            Output::Json => terminal.json(&status).map(|()| Exit::Ok),
            Output::Text => terminal.text(&text(&status, terminal)).map(|()| verdict(&status)),
        };
    }
    loop {
        let status = read(&address, token)?;
        match arguments.output {
            Output::Json => terminal.line(&serde_json::to_string(&status)?)?,
            Output::Text if terminal.is_interactive() => {
                terminal.text(&format!("{CLEAR}{}", text(&status, terminal)))?;
            }
            Output::Text => terminal.text(&format!("{}\n", text(&status, terminal)))?,
        }
        std::thread::sleep(INTERVAL);
    }
}

fn read(address: &str, token: Option<&Secret>) -> Result<Status, Failure> {
    let page = get(address, "/api/status", token)?;
    serde_json::from_str(&page).map_err(|error| {
        Failure::new(Exit::Data, format!("{address} answers something else than a status: {error}"))
            .fix("use the version of `postroom` that runs there")
    })
}

/// Says no where a group is stopped by a failure.
fn verdict(status: &Status) -> Exit {
    let halted = status.groups.iter().any(|group| group.halted.is_some());
    if halted { Exit::No } else { Exit::Ok }
}

pub(crate) fn text(status: &Status, terminal: &Terminal) -> String {
    let mut text = format!(
        "postroom {} (pid {}), brokers {}{}\n\n",
        status.version,
        status.pid,
        status.brokers,
        if status.draining { ", shutting down" } else { "" }
    );
    let rows: Vec<_> = status.groups.iter().map(group_row).collect();
    let groups = table(
        &["group", "state", "partitions", "lag", "finished", "waiting", "dead letters", "verdict"],
        &rows,
    );
    text.push_str(&groups.replace(CAUGHT_UP, &terminal.styled(Style::Good, CAUGHT_UP)));
    for group in &status.groups {
        text.push_str(&partitions(group));
    }
    text.push_str(&outbox(&status.outbox, jiff::Timestamp::now().as_millisecond()));
    text
}

fn group_row(group: &GroupStatus) -> Vec<String> {
    let state = match group.state {
        GroupState::Joining => "joining",
        GroupState::Running => "running",
        GroupState::Draining => "draining",
        GroupState::Stopped => "stopped",
    };
    let dead = group.totals.dead_letters.values().fold(0_u64, |sum, count| sum.saturating_add(*count));
    vec![
        group.group.clone(),
        state.to_owned(),
        group.partitions.len().to_string(),
        group.lag().to_string(),
        group.totals.finished().to_string(),
        group.retries_waiting.to_string(),
        dead.to_string(),
        group_verdict(group),
    ]
}

/// The group's worst news in a line.
fn group_verdict(group: &GroupStatus) -> String {
    if let Some(halted) = &group.halted {
        return format!("stopped: {halted}");
    }
    if !group.store_reachable {
        return "the store does not answer".to_owned();
    }
    if group.brokers_away {
        return "no Kafka broker answers".to_owned();
    }
    if group.partitions.is_empty() {
        return match group.state {
            GroupState::Running => {
                "no partitions here: others hold them, or the group is being shared out".to_owned()
            }
            GroupState::Joining => {
                "joining: a member that died is waited for until its session ends".to_owned()
            }
            GroupState::Draining | GroupState::Stopped => String::new(),
        };
    }
    let busy: Vec<_> = group.partitions.iter().filter(|one| is_busy(one)).collect();
    if busy.is_empty() && group.partitions.iter().any(|one| one.verdict == Verdict::Unknown) {
        return "looking".to_owned();
    }
    match busy.as_slice() {
        [] => CAUGHT_UP.to_owned(),
        [one] => format!("{}/{} {}", one.topic, one.partition, one.summary),
        [one, ..] => {
            format!("{} partitions behind, first {}/{} {}", busy.len(), one.topic, one.partition, one.summary)
        }
    }
}

fn is_busy(partition: &PartitionStatus) -> bool {
    !matches!(partition.verdict, Verdict::BrokersAway | Verdict::CaughtUp | Verdict::Unknown)
}

/// What waits in the outbox, where something does.
fn outbox(outbox: &OutboxStatus, now: i64) -> String {
    if outbox.pending == 0 {
        return String::new();
    }
    let due =
        outbox.oldest_due.map_or_else(String::new, |at| format!(", the oldest due {}", from_now(now, at)));
    let next = outbox.next_due.map_or_else(String::new, |at| format!(", the next {}", from_now(now, at)));
    let hindered = outbox.hindered.as_ref().map_or_else(String::new, |why| format!("outbox: {why}\n"));
    format!(
        "\noutbox: {} mails and deliveries wait or are out{due}; {} put off{next}\n{hindered}",
        outbox.pending, outbox.deferred
    )
}

/// The partitions that are worth a line: those with something unfinished.
fn partitions(group: &GroupStatus) -> String {
    let number = |value: Option<i64>| value.map_or_else(|| "–".to_owned(), |value| value.to_string());
    let rows: Vec<_> = group
        .partitions
        .iter()
        .filter(|one| is_busy(one))
        .map(|one| {
            vec![
                format!("{}/{}", one.topic, one.partition),
                number(one.position),
                number(one.end),
                number(one.lag),
                format!("{:.1} s", one.lag_seconds),
                one.summary.clone(),
            ]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    format!(
        "\n{}\n{}",
        group.group,
        table(&["partition", "position", "end", "lag", "behind", "verdict"], &rows)
    )
}

const CAUGHT_UP: &str = "caught-up";
const INTERVAL: Duration = Duration::from_secs(1);
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

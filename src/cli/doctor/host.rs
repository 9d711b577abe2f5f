//! This machine: the version, the store, the clock, and the instance that runs.

use std::path::Path;

use jiff::Timestamp;
use rustix::fs::{Access, access, statvfs};

use crate::adapters::store::{StoreLook, look};
use crate::cli::doctor::finding::Finding;
use crate::cli::doctor::patient::Patient;
use crate::cli::failure::Failure;
use crate::config::StoreUrl;
use crate::kafka::{ReadFrom, follow};
use crate::runtime::registry_server;
use crate::telemetry::Status;

pub(crate) async fn version(patient: &Patient) -> Vec<Finding> {
    let own = env!("CARGO_PKG_VERSION");
    let mut findings =
        vec![Finding::ok(format!("postroom {own}, librdkafka {}", crate::kafka::client_version()))];
    let status = patient.page("/api/status").await;
    if let Some(status) = status.and_then(|page| serde_json::from_str::<Status>(&page).ok())
        && status.version != own
    {
        findings.push(Finding::warn(
            format!("the instance at {} is of version {}", patient.instance, status.version),
            "use the same version for both",
        ));
    }
    findings
}

pub(crate) async fn store(patient: &Patient) -> Vec<Finding> {
    let url = &patient.config.store.url;
    let mut findings = match look(&patient.config).await {
        Ok(StoreLook::Empty) => {
            vec![Finding::ok(format!("{url} has no tables yet: the first start makes them"))]
        }
        Ok(StoreLook::There { version, known }) if version == known => {
            vec![Finding::ok(format!("{url} has tables of version {version}"))]
        }
        Ok(StoreLook::There { version, known }) if version < known => vec![Finding::ok(format!(
            "{url} has tables of version {version}: the next start brings them to {known}"
        ))],
        Ok(StoreLook::There { version, known }) => vec![Finding::warn(
            format!("{url} has tables of version {version}, this program knows {known}"),
            "use the newer program",
        )],
        Err(error) => return vec![Finding::of(&Failure::from(error))],
    };
    if let StoreUrl::Sqlite(path) = url {
        findings.extend(disk(path));
    }
    findings
}

/// Says whether the file and its folder can be written, and whether there is room.
fn disk(path: &Path) -> Vec<Finding> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut findings = Vec::new();
    // The log beside the file is made anew: the folder has to be writable, too.
    for place in [path, folder].into_iter().filter(|place| place.exists() || *place == folder) {
        if let Err(why) = writable(place) {
            let fix =
                format!("make it, and let this user write to it; or change store.url ({})", path.display());
            findings.push(Finding::fail(format!("{}: {why}", place.display()), fix));
        }
    }
    if let Ok(disk) = statvfs(folder) {
        let (free, whole) =
            (disk.f_bavail.saturating_mul(disk.f_frsize), disk.f_blocks.saturating_mul(disk.f_frsize));
        let mib = free / MIB;
        let seen = format!("{mib} MiB are free on the disk of {}", folder.display());
        let fix = "make room, or move the store: Postroom stops working when the disk is full";
        findings.push(match free {
            free if free < LITTLE => Finding::fail(seen, fix),
            free if free < SOME || free < whole / 20 => Finding::warn(seen, fix),
            _ => Finding::ok(seen),
        });
    }
    findings
}

/// Says whether a file or folder can be written.
pub(crate) fn writable(place: &Path) -> Result<(), String> {
    access(place, Access::WRITE_OK).map_err(|error| std::io::Error::from(error).to_string())
}

pub(crate) async fn clock(patient: &Patient) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Ok(Some(server)) = registry_server(&patient.config)
        && let Ok((_, Some(date))) = server.look().await
        && let Ok(theirs) = jiff::fmt::rfc2822::parse(&date)
    {
        let skew = Timestamp::now().as_second() - theirs.timestamp().as_second();
        findings.push(judged(skew, "the registry's"));
    }
    if !patient.is_away()
        && let Some(ahead) = newest_record(patient).await
    {
        // Records of the past say nothing.
        findings.push(if ahead > SKEW {
            Finding::warn(
                format!("the newest record's time is {ahead} s ahead of this machine's clock"),
                SYNCHRONISE,
            )
        } else {
            Finding::ok("no record comes from the future")
        });
    }
    if findings.is_empty() {
        findings.push(Finding::skip("there is no other clock to compare with"));
    }
    findings
}

fn judged(skew: i64, whose: &str) -> Finding {
    let (seconds, word) = (skew.abs(), if skew > 0 { "ahead of" } else { "behind" });
    match seconds {
        0..=SLIGHT => Finding::ok(format!("this machine's clock and {whose} agree")),
        _ => {
            let seen = format!("this machine's clock is {seconds} s {word} {whose}");
            if seconds > SKEW { Finding::fail(seen, SYNCHRONISE) } else { Finding::warn(seen, SYNCHRONISE) }
        }
    }
}

/// Returns how far the newest record of what we read is ahead of us, in seconds.
async fn newest_record(patient: &Patient) -> Option<i64> {
    let topics: Vec<String> = patient.topics().await.ok()?.keys().cloned().collect();
    let mut sources: Vec<String> = patient.groups.iter().flat_map(|member| member.sources.clone()).collect();
    sources.sort();
    sources.dedup();
    sources.retain(|source| topics.contains(source));
    let connection = patient.connection.clone();
    let read = tokio::task::spawn_blocking(move || {
        let mut newest = None;
        for source in sources {
            // A topic that may not be read is told elsewhere.
            drop(follow(&connection, &source, ReadFrom::Last(1), |record| {
                newest = newest.max(record.timestamp());
                true
            }));
        }
        newest
    });
    let newest = read.await.ok()??;
    Some((newest - Timestamp::now().as_millisecond()) / 1_000)
}

pub(crate) async fn polling(patient: &Patient) -> Vec<Finding> {
    let Some(page) = patient.page("/metrics").await else {
        return vec![Finding::skip(format!("no instance answers at {}", patient.instance))];
    };
    let limit = patient.config.kafka.max_poll_interval.as_secs_f64();
    let now = Timestamp::now().as_millisecond();
    let mut findings = Vec::new();
    for (group, slowest) in slowest_handlers(&page) {
        let limit = value(&page, "postroom_poll_interval_limit_seconds", &group).unwrap_or(limit);
        let seen =
            format!("{group}: the slowest attempt took up to {slowest} s, of {limit} s between two polls");
        let fix = "raise kafka.max_poll_interval, or shorten effects.NAME.deadline and the handler";
        if slowest >= limit {
            findings.push(Finding::fail(seen, fix));
        } else if slowest >= limit / 2.0 {
            findings.push(Finding::warn(seen, fix));
        }
        let polled = value(&page, "postroom_last_poll_timestamp_seconds", &group).unwrap_or_default();
        let silent =
            Timestamp::from_millisecond(now).map_or(0.0, |now| now.as_duration().as_secs_f64() - polled);
        if polled > 0.0 && silent > limit / 2.0 {
            let seen = format!("{group}: its poll thread has been away for {silent:.0} s, of {limit} s");
            findings
                .push(Finding::fail(seen, "look at `postroom status` and the instance's log; restart it"));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(format!(
            "the handlers of the instance at {} are fast enough",
            patient.instance
        )));
    }
    findings
}

/// Returns for each group the upper bound of its slowest attempt, in seconds, from the histograms of a page of metrics.
fn slowest_handlers(page: &str) -> Vec<(String, f64)> {
    let mut slowest = std::collections::BTreeMap::<String, f64>::new();
    let mut below = std::collections::BTreeMap::<String, f64>::new();
    for line in page.lines() {
        let Some(rest) = line.strip_prefix("postroom_message_processing_seconds_bucket{") else { continue };
        let Some((labels, count)) = rest.split_once("} ") else { continue };
        let label = |name: &str| {
            let start = labels.split_once(&format!("{name}=\""))?.1;
            start.split_once('"').map(|(value, _)| value.to_owned())
        };
        let (Some(group), Some(bound), Ok(count)) = (label("group"), label("le"), count.parse::<f64>())
        else {
            continue;
        };
        let series = labels.split(',').filter(|label| !label.starts_with("le=")).collect::<String>();
        let held = below.entry(series).or_default();
        let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap_or_default() };
        let slow = slowest.entry(group).or_default();
        if count > *held {
            *held = count;
            *slow = slow.max(bound);
        }
    }
    slowest.into_iter().collect()
}

/// Returns the value of a group's series.
fn value(page: &str, name: &str, group: &str) -> Option<f64> {
    let wanted = format!("{name}{{group=\"{group}\"}} ");
    page.lines().find_map(|line| line.strip_prefix(&wanted)?.parse().ok())
}

const MIB: u64 = 1_024 * 1_024;
/// So much room on the disk is not enough for a day.
const LITTLE: u64 = 100 * MIB;
/// So much should be looked at.
const SOME: u64 = 1_024 * MIB;
/// Clocks that differ by so many seconds agree.
const SLIGHT: i64 = 5;
/// Beyond so many seconds, ages and spans of time mislead.
const SKEW: i64 = 60;
const SYNCHRONISE: &str = "synchronise the clocks (NTP): timedatectl set-ntp true";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_attempt_is_that_of_the_highest_bucket_that_grew() {
        let series = |group: &str, topic: &str, counts: [(&str, u32); 3]| {
            counts
                .map(|(bound, count)| {
                    format!("postroom_message_processing_seconds_bucket{{group=\"{group}\",handler=\"h\",topic=\"{topic}\",le=\"{bound}\"}} {count}\n")
                })
                .concat()
        };
        let page = [
            series("g", "a", [("0.1", 3), ("2.5", 3), ("+Inf", 3)]),
            series("g", "b", [("0.1", 1), ("2.5", 2), ("+Inf", 2)]),
            series("h", "a", [("0.1", 0), ("2.5", 0), ("+Inf", 1)]),
            "postroom_poll_interval_limit_seconds{group=\"g\"} 300\n".to_owned(),
        ]
        .concat();

        let found = slowest_handlers(&page);

        assert_eq!(found, [("g".to_owned(), 2.5), ("h".to_owned(), f64::INFINITY)]);
        assert_eq!(value(&page, "postroom_poll_interval_limit_seconds", "g"), Some(300.0));
    }

    #[test]
    fn clocks_that_differ_are_told_with_the_direction() {
        assert_eq!(judged(3, "theirs"), Finding::ok("this machine's clock and theirs agree"));
        assert!(judged(-30, "theirs").seen.contains("30 s behind theirs"));
        assert_eq!(judged(90, "theirs").health, crate::cli::doctor::finding::Health::Fail);
    }
}

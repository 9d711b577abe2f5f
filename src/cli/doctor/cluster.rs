//! Kafka: brokers, who we are to them, what they allow, and the topics.

use std::time::Duration;

use crate::cli::doctor::finding::Finding;
use crate::cli::doctor::patient::Patient;
use crate::cli::failure::Failure;
use crate::kafka::{self, Aspect, Flaw, Need, Plan, Step, certificate_days, grants, obstacle_at};
use crate::ports::EdgeError;

pub(crate) async fn brokers(patient: &Patient) -> Vec<Finding> {
    let brokers = match patient.admin.brokers().await {
        Ok(brokers) => brokers,
        Err(error) => {
            if matches!(error, EdgeError::Unreachable(_)) {
                return vec![not_reached(patient, error)];
            }
            return vec![Finding::of(&Failure::from(error))];
        }
    };
    let addresses: Vec<_> = brokers.iter().map(|(_, address)| address.as_str()).collect();
    let answering = format!("{} in the cluster: {}", brokers.len(), addresses.join(", "));
    let mut findings = vec![Finding::ok(answering)];
    for (id, address) in brokers {
        let (connection, at) = (patient.connection.clone(), address.clone());
        let asked = tokio::task::spawn_blocking(move || obstacle_at(&at, &connection, PATIENCE)).await;
        match asked {
            Ok(Some(obstacle)) if obstacle.is_away => findings.push(Finding::fail(
                format!("broker {id} says that it is at {address}, which does not answer: {}", obstacle.seen),
                "set the broker's advertised.listeners to an address that this machine can reach",
            )),
            Ok(Some(obstacle)) => findings.push(Finding::fail(obstacle.seen, obstacle.fix)),
            Ok(None) | Err(_) => {}
        }
    }
    findings
}

pub(crate) fn identity(patient: &Patient) -> Vec<Finding> {
    let mut findings = vec![Finding::ok(kafka::identity(&patient.connection))];
    let file = patient.config.kafka.tls.certificate.as_ref().map(|path| path.display().to_string());
    let fix = "have a new certificate issued, and set kafka.tls.certificate and kafka.tls.key";
    match (certificate_days(&patient.connection), file) {
        (Some(days), Some(file)) if days < 0 => {
            findings.push(Finding::fail(format!("{file} has expired"), fix))
        }
        (Some(days), Some(file)) if days < SOON => {
            findings.push(Finding::warn(format!("{file} expires in {days} days"), fix));
        }
        _ => {}
    }
    findings
}

pub(crate) async fn rights(patient: &Patient) -> Vec<Finding> {
    if patient.is_away() {
        return vec![Finding::skip(NOBODY)];
    }
    if let Err(error @ EdgeError::Unreachable(_)) = patient.admin.brokers().await {
        return vec![not_reached(patient, error)];
    }
    let (needs, more) = (patient.needs(), patient.needs_of_operators());
    let asked = [needs.clone(), more.clone()].concat();
    let missing = match patient.admin.missing_rights(asked).await {
        Ok(missing) => missing,
        // It has just answered another question.
        Err(EdgeError::Unreachable(_)) => {
            return vec![Finding::skip("this broker does not tell what it allows")];
        }
        Err(error) => return vec![Finding::skip(format!("the broker does not tell: {error}"))],
    };
    let connection = &patient.connection;
    let (grave, other): (Vec<Need>, Vec<Need>) = missing.into_iter().partition(|need| needs.contains(need));
    let mut findings = Vec::new();
    for (needs, line) in grants(&grave, connection) {
        findings.push(Finding::fail(format!("missing: {}", listed(&needs)), line));
    }
    for (needs, line) in grants(&other, connection) {
        let seen = format!("missing, for `postroom topics` and `postroom dlq` alone: {}", listed(&needs));
        findings.push(Finding::warn(seen, line));
    }
    if grave.is_empty() {
        findings.insert(0, Finding::ok(format!("all {} that running needs", needs.len())));
    }
    findings
}

pub(crate) async fn topics(patient: &Patient) -> Vec<Finding> {
    let topics = match known(patient).await {
        Ok(topics) => topics,
        Err(findings) => return findings,
    };
    let actual: Vec<_> = topics.values().cloned().collect();
    let plan = Plan::between(&patient.desired, &actual);
    let missing: Vec<_> = plan
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::Create(topic) => Some(topic.name.as_str()),
            Step::AddPartitions { .. } | Step::Change { .. } => None,
        })
        .collect();
    let conflicts = plan.conflicts.iter();
    let mut findings: Vec<_> = conflicts
        .map(|conflict| {
            Finding::warn(format!("{}: {}", conflict.topic, conflict.reason), "postroom topics plan")
        })
        .collect();
    if missing.is_empty() {
        findings.insert(0, Finding::ok(format!("all {} are there", patient.desired.len())));
    } else {
        let seen = format!("{} missing: {}", missing.len(), missing.join(", "));
        findings.insert(0, Finding::fail(seen, "postroom topics apply"));
    }
    findings
}

pub(crate) async fn flaws(patient: &Patient, name: &str) -> Vec<Finding> {
    let topics = match known(patient).await {
        Ok(topics) => topics,
        Err(findings) => return findings,
    };
    let (aspect, well) = match name {
        "partitions" => {
            (Aspect::Partitions, "dead letters and retries have as many partitions as their sources")
        }
        "retention" => (Aspect::Retention, "dead letters are kept longer than their sources"),
        "cleanup" => (Aspect::Cleanup, "no topic of dead letters or retries is compacted"),
        "sizes" => (
            Aspect::Size,
            "what topics of dead letters and retries take is larger than their sources' records",
        ),
        _ => (Aspect::Replication, "every topic can be written with acks=all"),
    };
    let tells = topics.values().any(|topic| !topic.settings.is_empty());
    if aspect != Aspect::Partitions && !tells {
        return vec![Finding::skip("this cluster does not tell the settings of topics")];
    }
    let pairs = [patient.letters(), patient.retries()].concat();
    let found = kafka::flaws(&pairs, topics, patient.config.topics.dead_letter_retention);
    let of_aspect = found.into_iter().filter(|flaw| flaw.aspect == aspect);
    let findings: Vec<_> = of_aspect.map(finding).collect();
    if findings.is_empty() { vec![Finding::ok(well)] } else { findings }
}

fn finding(flaw: Flaw) -> Finding {
    if flaw.is_grave { Finding::fail(flaw.seen, flaw.fix) } else { Finding::warn(flaw.seen, flaw.fix) }
}

type Topics = std::collections::BTreeMap<String, kafka::ActualTopic>;

async fn known(patient: &Patient) -> Result<&Topics, Vec<Finding>> {
    if patient.is_away() {
        return Err(vec![Finding::skip(NOBODY)]);
    }
    match patient.topics().await {
        Ok(topics) => Ok(topics),
        Err(error @ EdgeError::Unreachable(_)) => Err(vec![not_reached(patient, error.clone())]),
        Err(EdgeError::NotAuthorised(_)) => {
            Err(vec![Finding::skip("we may not see the topics: look at brokers and rights")])
        }
        Err(error) => Err(vec![Finding::of(&Failure::from(error.clone()))]),
    }
}

fn not_reached(patient: &Patient, error: EdgeError) -> Finding {
    patient.not_reached();
    Finding::of(&Failure::from(error))
}

fn listed(needs: &[Need]) -> String {
    let resources: Vec<_> = needs.iter().map(|need| need.resource.to_string()).collect();
    let operation = needs.first().map(|need| need.operation.to_string()).unwrap_or_default();
    format!("{operation} on {}", resources.join(", "))
}

const NOBODY: &str = "no broker answers";
/// How long one broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// Days before its end at which a certificate should be renewed.
const SOON: i32 = 21;

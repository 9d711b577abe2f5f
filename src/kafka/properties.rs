//! Properties of the client library that users pass through, and those that would break a promise.

use std::collections::BTreeMap;

use crate::ports::EdgeError;

/// Checks properties that a user passes through to the client.
///
/// # Errors
/// Names the first property that would break a promise, and why.
pub(crate) fn check(properties: &BTreeMap<String, String>) -> Result<(), EdgeError> {
    for (key, value) in properties {
        if let Some(reason) = refusal(key, value) {
            return Err(EdgeError::Configuration(format!("kafka property {key} = {value}: {reason}")));
        }
    }
    Ok(())
}

fn refusal(key: &str, value: &str) -> Option<&'static str> {
    let value = value.trim().to_ascii_lowercase();
    let on = matches!(value.as_str(), "true" | "t" | "1");
    match key {
        "enable.auto.commit" if on => {
            Some("offsets are committed after the effects, by Postroom alone; leave it out")
        }
        "enable.auto.offset.store" if on => {
            Some("an offset would be stored before its effect is done; leave it out")
        }
        "auto.offset.reset" => {
            Some("an offset that is gone must stop the group, not be skipped; use start and on_gap instead")
        }
        "isolation.level" if value != "read_committed" => {
            Some("records of aborted transactions would be processed; only read_committed works")
        }
        "partition.assignment.strategy" | "group.protocol" => {
            Some("members of one group must not mix strategies; use protocol instead")
        }
        "acks" | "request.required.acks" if !matches!(value.as_str(), "all" | "-1") => {
            Some("a dead letter counts only when all replicas have it; leave it out")
        }
        "enable.idempotence" if !on => {
            Some("a retried send could be written twice or out of order; leave it out")
        }
        "enable.partition.eof" if on => Some("it turns the end of a partition into an error; leave it out"),
        "group.id"
        | "bootstrap.servers"
        | "metadata.broker.list"
        | "client.id"
        | "group.instance.id"
        | "session.timeout.ms"
        | "max.poll.interval.ms" => {
            Some("it has a setting of its own, and two places could contradict each other")
        }
        "transactional.id" => Some("the producer is shared and has no transactions"),
        "message.send.max.retries" | "retries" if value == "0" => {
            Some("a passing fault would become a failed dead letter; leave it out")
        }
        "test.mock.num.brokers" => Some("use the embedded broker instead"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn properties_that_break_a_promise_are_refused_by_name() {
        for (key, value) in [
            ("enable.auto.commit", "true"),
            ("enable.auto.offset.store", "true"),
            ("auto.offset.reset", "latest"),
            ("isolation.level", "read_uncommitted"),
            ("partition.assignment.strategy", "range,cooperative-sticky"),
            ("acks", "1"),
            ("enable.idempotence", "false"),
        ] {
            let properties = BTreeMap::from([(key.to_owned(), value.to_owned())]);
            let error = check(&properties).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains(value), "{error}");
        }
    }

    #[test]
    fn properties_that_break_nothing_pass() {
        let properties = BTreeMap::from([
            ("security.protocol".to_owned(), "SASL_SSL".to_owned()),
            ("acks".to_owned(), "all".to_owned()),
            ("enable.auto.commit".to_owned(), "false".to_owned()),
        ]);

        assert_eq!(check(&properties), Ok(()));
    }
}

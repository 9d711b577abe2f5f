//! Errors of the client library, each mapped once to what follows from it.

#![expect(clippy::wildcard_enum_match_arm, reason = "the client library's enums are not exhaustive")]

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::ports::EdgeError;

/// What an error that a poll returned asks of us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Go on polling: the client recovers by itself.
    Wait,
    /// The member was too slow and left the group: the next polls bring it back.
    Rejoin,
    /// The client has stopped fetching a partition: its position is not in the log, or unknown.
    Stall,
    /// The consumer cannot go on.
    Stop(EdgeError),
}

/// Says what follows from an error of a poll.
pub(crate) fn of_poll(error: &KafkaError) -> Verdict {
    match error {
        KafkaError::MessageConsumption(code) => match code {
            Code::PollExceeded => Verdict::Rejoin,
            Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation => Verdict::Stall,
            code => of_code(*code).map_or(Verdict::Wait, Verdict::Stop),
        },
        KafkaError::MessageConsumptionFatal(code) => {
            Verdict::Stop(of_code(*code).unwrap_or_else(|| EdgeError::Client(error.to_string())))
        }
        _ => Verdict::Wait,
    }
}

/// Maps an error of a request that was made outside the poll loop.
pub(crate) fn of_request(error: &KafkaError) -> EdgeError {
    match error {
        KafkaError::ClientConfig(_, description, key, value) => {
            EdgeError::Configuration(format!("kafka property {key} = {value}: {description}"))
        }
        KafkaError::ClientCreation(description) => EdgeError::Configuration(description.clone()),
        error => {
            let code = error.rdkafka_error_code();
            code.and_then(of_code)
                .or_else(|| code.filter(is_unreachable).map(|_| EdgeError::Unreachable(error.to_string())))
                .unwrap_or_else(|| EdgeError::Client(error.to_string()))
        }
    }
}

/// Adds to the message of an error that says that nobody answered.
pub(crate) fn explain(error: EdgeError, explanation: impl FnOnce(String) -> String) -> EdgeError {
    if let EdgeError::Unreachable(reason) = error {
        EdgeError::Unreachable(explanation(reason))
    } else {
        error
    }
}

/// Says whether the code means that no broker answered.
pub(crate) fn is_unreachable(code: &Code) -> bool {
    matches!(
        code,
        Code::AllBrokersDown
            | Code::BrokerTransportFailure
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::Resolve
            | Code::SSL
            | Code::TimedOutQueue
    )
}

/// Says whether the code means that the broker lacks the API.
pub(crate) fn is_unsupported(code: Code) -> bool {
    matches!(code, Code::UnsupportedFeature | Code::UnsupportedVersion | Code::NotImplemented)
}

/// Errors that end a consumer whenever they come; `None` is everything that may pass.
fn of_code(code: Code) -> Option<EdgeError> {
    match code {
        Code::FencedInstanceId => Some(EdgeError::FencedInstance(code.to_string())),
        Code::Authentication | Code::SaslAuthenticationFailed => {
            Some(EdgeError::NotAuthorised(format!("the broker refused the credentials ({code})")))
        }
        Code::TopicAuthorizationFailed => {
            Some(EdgeError::NotAuthorised(format!("Read and Describe on the topics are needed ({code})")))
        }
        Code::GroupAuthorizationFailed => {
            Some(EdgeError::NotAuthorised(format!("Read on the consumer group is needed ({code})")))
        }
        Code::ClusterAuthorizationFailed => {
            Some(EdgeError::NotAuthorised(format!("IdempotentWrite on the cluster is needed ({code})")))
        }
        Code::UnsupportedSASLMechanism | Code::IllegalSASLState => {
            Some(EdgeError::Configuration(format!("the broker does not speak this SASL mechanism ({code})")))
        }
        Code::InconsistentGroupProtocol => Some(EdgeError::Configuration(format!(
            "other members of the group use another protocol: stop them, or set the same protocol ({code})"
        ))),
        Code::InvalidSessionTimeout => Some(EdgeError::Configuration(format!(
            "the broker does not allow this session time-out: see its group.min.session.timeout.ms ({code})"
        ))),
        Code::InvalidGroupId => {
            Some(EdgeError::Configuration(format!("the group's name is refused ({code})")))
        }
        Code::GroupMaxSizeReached => Some(EdgeError::Configuration(format!(
            "the group has as many members as the broker allows ({code})"
        ))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_is_away_is_waited_for() {
        for code in [Code::AllBrokersDown, Code::BrokerTransportFailure, Code::Resolve, Code::NotCoordinator]
        {
            assert_eq!(of_poll(&KafkaError::MessageConsumption(code)), Verdict::Wait, "{code}");
        }
    }

    #[test]
    fn refused_rights_stop_the_consumer() {
        for code in [Code::TopicAuthorizationFailed, Code::GroupAuthorizationFailed, Code::Authentication] {
            let verdict = of_poll(&KafkaError::MessageConsumption(code));
            assert!(matches!(verdict, Verdict::Stop(EdgeError::NotAuthorised(_))), "{code}");
        }
    }

    #[test]
    fn a_fenced_instance_is_named() {
        let verdict = of_poll(&KafkaError::MessageConsumptionFatal(Code::FencedInstanceId));

        assert!(matches!(verdict, Verdict::Stop(EdgeError::FencedInstance(_))));
    }

    #[test]
    fn a_slow_member_rejoins() {
        assert_eq!(of_poll(&KafkaError::MessageConsumption(Code::PollExceeded)), Verdict::Rejoin);
    }
}

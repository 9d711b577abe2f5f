//! Where an event stands among the others, and what makes one unusable for our tables.

use postroom_core::{Class, Failure, Reason};

use crate::event::{BlogEvent, Envelope};
use crate::ports::{Arrival, LONGEST_ID, Origin};

/// Reads an event's place. Only a record of the event's own topic is in the order of that topic: replays and
/// strays are compared by source time, whatever their headers say.
///
/// # Errors
/// The time is outside the years 1 to 9999.
pub(super) fn origin(envelope: &Envelope<BlogEvent>) -> Result<Origin, Failure> {
    let time = envelope.event.occurred_at();
    if !(FIRST_MILLISECOND..=LAST_MILLISECOND).contains(&time) {
        return Err(invalid("time_range", format!("occurred_at is outside the years 1 to 9999: {time} ms")));
    }
    let home = envelope.event.event_type().topic;
    let at_home = envelope.record.partition().topic.as_str() == home;
    let arrival = if at_home { Arrival::InOrder } else { Arrival::OutOfOrder };
    Ok(Origin { event: envelope.id.clone(), time, arrival })
}

/// Takes the name of an object or of a person.
///
/// # Errors
/// It is empty, or longer than [`LONGEST_ID`]: one such name must not hold up what is written for others.
pub(super) fn named(field: &str, value: &str) -> Result<String, Failure> {
    if value.is_empty() {
        return Err(invalid("empty_id", format!("{field} is empty")));
    }
    if value.len() > LONGEST_ID {
        return Err(invalid(
            "long_id",
            format!("{field} takes {} bytes, more than {LONGEST_ID}", value.len()),
        ));
    }
    Ok(value.to_owned())
}

fn invalid(detail: &'static str, message: String) -> Failure {
    Failure::new(Class::Dead(Reason::Invalid), detail, message)
}

/// 0001-01-01T00:00:00Z.
const FIRST_MILLISECOND: i64 = -62_135_596_800_000;

/// 9999-12-31T23:59:59.999Z.
const LAST_MILLISECOND: i64 = 253_402_300_799_999;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_neither_empty_nor_longer_than_an_index_takes() {
        let longest = "n".repeat(LONGEST_ID);

        assert_eq!(named("author", &longest), Ok(longest.clone()));
        for (name, detail) in [(String::new(), "empty_id"), (format!("{longest}n"), "long_id")] {
            let failure = named("author", &name);
            let found =
                failure.as_ref().err().map(|failure| (failure.class.clone(), failure.detail.as_ref()));
            assert_eq!(found, Some((Class::Dead(Reason::Invalid), detail)));
        }
    }
}

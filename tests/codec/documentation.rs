//! What `docs/events.md` says is so.

use postroom::codec::Detail;
use postroom::event::BlogEvent;
use postroom::event::line::Lines;

const PAGE: &str = include_str!("../../docs/events.md");

fn row(of: &str) -> &'static str {
    PAGE.lines()
        .find(|line| line.starts_with(&format!("| `{of}` |")))
        .unwrap_or_else(|| panic!("no row {of}"))
}

#[test]
fn every_event_stands_with_its_record_and_topic() {
    for event_type in BlogEvent::TYPES {
        let row = row(event_type.name);
        assert!(row.contains(&format!("`{}`", event_type.record)), "{row}");
        assert!(row.contains(&format!("`{}`", event_type.topic)), "{row}");
    }
}

#[test]
fn every_detail_stands_beneath_its_reason() {
    for detail in Detail::ALL {
        let row = row(detail.reason().code());
        assert!(row.contains(&format!("`{}`", detail.code())), "{detail} is missing in {row}");
    }
}

#[test]
fn details_are_listed_once_and_in_order() {
    assert!(Detail::ALL.map(Detail::code).is_sorted_by(|a, b| a < b));
}

#[test]
fn the_example_lines_are_events() {
    let example = PAGE.split("```json\n").nth(1).unwrap().split("```").next().unwrap();

    let events: Vec<BlogEvent> = Lines::new(example.as_bytes()).map(Result::unwrap).collect();

    assert_eq!(events.len(), 3);
}

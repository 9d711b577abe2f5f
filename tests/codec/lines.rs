//! The import format: what a line may say, and what is said of a bad one.

use postroom::event::BlogEvent;
use postroom::event::line::Lines;

fn read(text: &str) -> Vec<Result<BlogEvent, String>> {
    Lines::new(text.as_bytes()).map(|line| line.map_err(|error| error.to_string())).collect()
}

fn complaint(line: &str) -> String {
    read(line).remove(0).unwrap_err()
}

#[test]
fn both_spellings_of_a_type_and_both_names_of_an_id_are_read() {
    let lines = "\u{feff}{\"type\":\"post.removed\",\"event_id\":\"1\",\"post_id\":\"p\",\"editor\":\"u\",\"occurred_at\":5}\r\n\
                 \n\
                 {\"type\":\"post_deleted\",\"event_id\":\"1\",\"id\":\"p\",\"author\":\"u\",\"time\":\"1970-01-01T00:00:00.005Z\"}";

    let events = read(lines);

    assert_eq!(events.len(), 2);
    assert_eq!(events[0], events[1]);
    assert!(events[0].is_ok());
}

#[test]
fn a_bad_line_names_its_number_and_its_fault_and_the_next_is_read() {
    let good = r#"{"type":"user.removed","event_id":"1","user_id":"u","time":"2020-01-01T00:00:00Z"}"#;

    let events = read(&format!("{good}\n\nnonsense\n{good}\n"));

    assert!(events[0].is_ok() && events[2].is_ok());
    assert!(events[1].as_ref().unwrap_err().starts_with("line 3: not JSON"), "{events:?}");
}

#[test]
fn what_is_wrong_is_said_in_words() {
    let line = |fields: &str| format!(r#"{{"event_id":"1","time":"2020-01-01T00:00:00Z",{fields}}}"#);

    for (fields, words) in [
        (r#""type":"post.publishd","id":"p""#, "did you mean \"post.published\"?"),
        (r#""type":"weather","id":"p""#, "there are comment.created"),
        (r#""type":"post.updated","id":"p""#, "it needs \"editor\" or \"author\""),
        (r#""type":"post.updated","author":"u""#, "it needs \"post_id\" or \"id\""),
        (r#""type":"post.updated","id":"p","author":"u","body":7"#, "\"body\" must be text, not 7"),
        (r#""type":"post.updated","id":"","author":"u""#, "is empty"),
        (r#""type":"post.updated","id":"p","author":"u","recorded_at":"soon""#, "\"recorded_at\" is no time"),
        (
            r#""type":"post.updated","id":"p","author":"u","recorded_at":99999999999999999"#,
            "the years 1 to 9999",
        ),
        (r#""type":"comment.removed","id":"c","author":"u""#, "the post of \"c\" is not known"),
        (r#""type":"post.updated","id":"p\u0000","author":"u""#, "NUL"),
        (r#""type":"user.updated","id":"u","subscribed":"yes""#, "\"subscribed\" must be true or false"),
    ] {
        let complaint = complaint(&line(fields));
        assert!(complaint.starts_with("line 1: ") && complaint.contains(words), "{fields}: {complaint}");
    }
    assert!(complaint("[]").contains("not a JSON object"));
    assert!(complaint(r#"{"type":"post.updated","id":"p","author":"u"}"#).contains("event_id"));
}

#[test]
fn an_answer_to_a_comment_belongs_to_that_comment_s_post() {
    let lines = r#"{"type":"comment.created","event_id":"1","id":"comment:a","in_reply_to":"post:x","author":"u","time":1}
{"type":"comment.created","event_id":"2","id":"comment:b","in_reply_to":"comment:a","author":"v","time":2}"#;

    let events = read(lines);

    let BlogEvent::CommentCreated(answer) = events[1].as_ref().unwrap() else { panic!("{events:?}") };
    assert_eq!(answer.post_id, "post:x");
    assert_eq!(answer.parent_comment_id.as_deref(), Some("comment:a"));
}

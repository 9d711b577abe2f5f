//! Events from what a person types.

use postroom::codec::{Codec, Fill, Limits};
use postroom::event::{BlogEvent, PostPublished};
use serde_json::{Map, Value};

fn made(name: &str, fields: &[(&str, &str)]) -> Result<BlogEvent, String> {
    let given: Map<String, Value> =
        fields.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
    let fill = Fill { event_id: "made-up".to_owned(), now: 5 };
    Codec::new(Limits::default()).event_from_fields(name, &given, &fill).map_err(|error| error.to_string())
}

#[test]
fn texts_become_what_the_schema_wants() {
    let event = made(
        "post.published",
        &[
            ("blog", "b"),
            ("post_id", "7"),
            ("author", "ana"),
            ("title", "On order"),
            ("tags", "kafka, rust"),
            ("images", r#"["a,b"]"#),
            ("body_bytes", "12"),
            ("recorded_at", "1970-01-01T00:00:01Z"),
            ("section", "null"),
        ],
    );

    let BlogEvent::PostPublished(post) = event.unwrap() else { panic!() };
    assert_eq!(
        post,
        PostPublished {
            event_id: "made-up".to_owned(),
            blog: "b".to_owned(),
            post_id: "7".to_owned(),
            author: "ana".to_owned(),
            title: Some("On order".to_owned()),
            tags: vec!["kafka".to_owned(), "rust".to_owned()],
            images: vec!["a,b".to_owned()],
            body_bytes: Some(12),
            occurred_at: 5,
            recorded_at: Some(1_000),
            ..PostPublished::default()
        }
    );
    let subscribed =
        made("user_updated", &[("blog", "b"), ("user_id", "u"), ("subscribed", "true")]).unwrap();
    assert!(matches!(subscribed, BlogEvent::UserUpdated(user) if user.subscribed == Some(true)));
}

#[test]
fn mistakes_are_named_with_what_was_meant() {
    for (name, fields, words) in [
        ("post.publishd", &[][..], "did you mean \"post.published\"?"),
        ("post.removed", &[("auther", "x")], "post.removed has no field \"auther\""),
        ("post.removed", &[("post_idd", "x")], "did you mean \"post_id\"?"),
        ("post.removed", &[("blog", "b")], "post.removed needs post_id, editor"),
        (
            "post.published",
            &[("body_bytes", "many")],
            "body_bytes cannot be \"many\": it is null or an integer",
        ),
        ("post.published", &[("occurred_at", "soon")], "a time like 2021-03-14T15:09:26Z"),
        ("user.registered", &[("subscribed", "maybe")], "true or false"),
        (
            "image.uploaded",
            &[("blog", "b"), ("object_key", "k"), ("media_type", "m"), ("sha256", "x"), ("size", "1")],
            "64 lower-case hexadecimal digits",
        ),
    ] {
        let error = made(name, fields).unwrap_err();
        assert!(error.contains(words), "{name}: {error}");
    }
}

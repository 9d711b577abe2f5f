//! The outbox: what is told of an event, age, and who hears that something may be due.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

use std::time::Duration;

use futures_util::FutureExt;
use postroom::adapters::store::{RequestState, WaitingDeliveries};
use postroom::effects::{Notify, NotifySettings};
use postroom::event::{BlogEvent, UserUpdated};
use postroom::ports::{Change, Endpoints, Ledger, Outbox, Request, RequestEnding, Reservation};

use crate::server::everywhere;
use crate::told::{
    DAY, MINUTE, apply, close, comment, count, endpoint, hook, mail, notify, now, post, settle, tell, user,
    write,
};

#[tokio::test]
async fn mail_says_what_is_known_of_the_post_and_of_people_when_it_goes_out() {
    for store in everywhere().await {
        let effect = notify(false);
        let renamed = BlogEvent::UserUpdated(UserUpdated {
            event_id: "n".to_owned(),
            user_id: "ben".to_owned(),
            name: Some("Ben the Second".to_owned()),
            locale: Some("de".to_owned()),
            occurred_at: 9,
            ..UserUpdated::default()
        });
        // The comment comes before its post, and its writer's new name after it.
        tell(&store, &effect, &[user("ann", false), user("ben", false), comment("c", "p", "ben")]).await;
        tell(&store, &effect, &[post("p", "ann"), renamed]).await;

        let mut due = store.take_due(now(), 10, MINUTE).await.unwrap();
        due.sort_by_key(|row| mail(row).recipient.clone());
        let ben = due.iter().find(|row| mail(row).recipient == "ben").unwrap();
        let greeted = mail(due.first().unwrap());

        assert_eq!((greeted.recipient.as_str(), greeted.reason.as_str()), ("ann", "welcome"));
        assert_eq!((mail(ben).locale.as_str(), mail(ben).name.as_deref()), ("de", Some("Ben the Second")));
        let id = greeted.event_id.clone();
        let closed = Change::RequestClosed {
            id,
            ending: RequestEnding::Done,
            reply: "250 ok".to_owned(),
            time: now(),
        };
        apply(&store, "mail", vec![closed]).await;
        let next = store.take_due(now(), 10, MINUTE).await.unwrap();
        let told = mail(next.first().unwrap());
        assert_eq!((told.recipient.as_str(), told.reason.as_str()), ("ann", "comment"));
        assert_eq!(
            (told.post_title.as_deref(), told.post_slug.as_deref()),
            (Some("About p"), Some("posts/p"))
        );
        assert_eq!(
            (told.author.as_deref(), told.author_name.as_deref()),
            (Some("ben"), Some("Ben the Second"))
        );
        assert_eq!((told.comment_id.as_deref(), told.text.as_deref()), (Some("c"), Some("Well said.")));
        assert_eq!((told.source_event.as_str(), told.occurred_at), ("e-c", 6));
        assert!((1..=255).contains(&told.event_id.len()) && told.event_id.is_ascii());
    }
}

#[tokio::test]
async fn without_mail_and_endpoints_nothing_waits() {
    for store in everywhere().await {
        let neither = Notify::new(NotifySettings { mail: None, webhooks: Some(Duration::MAX) });

        tell(&store, &neither, &[user("ann", true), post("p", "ben"), comment("c", "p", "ann")]).await;
        settle(&store).await;

        assert_eq!(store.backlog(now()).await.unwrap(), Default::default());
        assert_eq!(count(&store, "SELECT count(*) FROM webhook_fan_outs").await, 0);
        assert_eq!(count(&store, "SELECT count(*) FROM notifications").await, 3);
    }
}

#[tokio::test]
async fn endpoints_are_told_everything_but_addresses() {
    for store in everywhere().await {
        store.put_endpoint(endpoint("hook")).await.unwrap();

        tell(&store, &notify(true), &[user("ann", false)]).await;
        settle(&store).await;

        let due = store.take_due(now(), 10, MINUTE).await.unwrap();
        let Some(Request::Webhook(hook)) =
            due.iter().map(|row| &row.request).find(|it| matches!(it, Request::Webhook(_)))
        else {
            panic!("{due:?}")
        };
        let body: serde_json::Value = serde_json::from_str(&hook.body).unwrap();
        assert_eq!((&body["id"], &body["type"]), (&"r-ann".into(), &"user.registered".into()));
        assert_eq!(
            (&body["time"], &body["data"]["name"]),
            (&"1970-01-01T00:00:00.001Z".into(), &"ANN".into())
        );
        assert!(!hook.body.contains('@') && body["data"].get("email").is_none(), "{body}");
    }
}

#[tokio::test]
async fn story_of_an_event_tells_attempts_replies_and_what_comes_next() {
    for store in everywhere().await {
        tell(&store, &notify(false), &[user("ann", false)]).await;
        let now = now();
        let due = store.take_due(now, 10, MINUTE).await.unwrap();
        let id = mail(due.first().unwrap()).event_id.clone();
        store.published(vec![due.first().unwrap().row], now, MINUTE).await.unwrap();

        store.reserve(&id, "me", now, MINUTE).await.unwrap();
        store.defer(&id, "me", now + 5, now + DAY, &"4é0 later ".repeat(100)).await.unwrap();
        let waiting = store.requests_of_event("r-ann", 10).await.unwrap();
        store.reserve(&id, "me", now + DAY, MINUTE).await.unwrap();
        let unknown = store.reserve(&id, "me", now + DAY + 1, MINUTE).await.unwrap();
        let closed = Change::RequestClosed {
            id,
            ending: RequestEnding::Done,
            reply: "250 ok".to_owned(),
            time: now + DAY + 9,
        };
        apply(&store, "mail", vec![closed]).await;
        let done = store.requests_of_event("r-ann", 10).await.unwrap();

        let story = waiting.first().unwrap();
        assert_eq!(
            (story.kind.as_str(), story.key.as_str(), story.state),
            ("mail", "ann", RequestState::Waiting)
        );
        assert_eq!((story.not_before, story.attempts.len()), (now + DAY, 1));
        let first = story.attempts.first().unwrap();
        assert_eq!((first.began_at, first.ended_at), (now, Some(now + 5)));
        assert!((290..=300).contains(&first.reply.as_ref().unwrap().len()));
        assert!(matches!(unknown, Reservation::Unknown { attempt: 3, .. }), "{unknown:?}");
        let story = done.first().unwrap();
        assert_eq!(
            story.state,
            RequestState::Closed { at: now + DAY + 9, ending: Some(RequestEnding::Done) }
        );
        let ends: Vec<_> = story.attempts.iter().map(|attempt| attempt.ended_at.is_some()).collect();
        assert_eq!(ends, [true, false, true], "the second ended without a word");
    }
}

#[tokio::test]
async fn old_requests_go_and_mails_that_get_no_address_are_withdrawn() {
    for store in everywhere().await {
        let effect = notify(false);
        // Two mails to somebody who is never heard of otherwise, one that is done, one that waits.
        tell(&store, &effect, &[post("p", "ghost"), comment("c1", "p", "x"), comment("c2", "p", "x")]).await;
        tell(&store, &effect, &[user("ann", false), user("ben", false)]).await;
        let now = now();
        let due = store.take_due(now, 10, MINUTE).await.unwrap();
        let ann = due.iter().map(mail).find(|mail| mail.recipient == "ann").unwrap();
        store.reserve(&ann.event_id, "me", now, MINUTE).await.unwrap();
        let (id, reply) = (ann.event_id.clone(), "250 ok".to_owned());
        apply(
            &store,
            "mail",
            vec![Change::RequestClosed { id, ending: RequestEnding::Done, reply, time: now }],
        )
        .await;
        write(&store, &["UPDATE requests SET requested_at = requested_at - 259200000"]).await;
        store.clean().await.unwrap();
        let ghosts = "SELECT count(*) FROM requests WHERE addressee = 'ghost' AND state = 6 AND ending = 1";
        let withdrawn = count(&store, ghosts).await;
        // A relay has looked at what was withdrawn.
        store.take_due(now, 10, MINUTE).await.unwrap();
        let age = [
            "UPDATE requests SET due = due - 3110400000",
            "UPDATE ledger SET changed_at = changed_at - 3110400000",
            "UPDATE request_attempts SET began_at = began_at - 3110400000",
            "UPDATE mail_sources SET until = 0",
        ];
        write(&store, &age).await;

        store.clean().await.unwrap();

        assert_eq!(withdrawn, 2);
        assert_eq!(count(&store, "SELECT count(*) FROM requests").await, 1, "ben's waits");
        assert_eq!(count(&store, "SELECT count(*) FROM ledger").await, 0);
        assert_eq!(count(&store, "SELECT count(*) FROM request_attempts").await, 0);
        assert_eq!(count(&store, "SELECT count(*) FROM mail_sources").await, 1, "what ben's needs");
    }
}

#[tokio::test]
async fn closing_a_row_says_at_once_that_the_next_may_be_due() {
    for store in everywhere().await {
        let told = || store.made_way().now_or_never();
        tell(&store, &notify(false), &[user("ann", false), post("p", "ann")]).await;
        let due = store.take_due(now(), 10, MINUTE).await.unwrap();
        let id = mail(&due[0]).event_id.clone();
        let before = told();

        close(&store, &id, now()).await;
        let closed = (told(), told());
        store.died(&id, now(), "550 no").await.unwrap();

        assert_eq!((before, closed), (None, (Some(()), None)));
        assert_eq!((told(), told()), (Some(()), None));
    }
}

/// One endpoint's deliveries follow each other without a relay that looks by itself.
#[tokio::test]
async fn relay_that_looks_only_when_it_is_told_publishes_all_of_an_endpoint() {
    const DELIVERIES: usize = 40;
    for store in everywhere().await {
        store.put_endpoint(endpoint("hook")).await.unwrap();
        let users: Vec<_> = (0..DELIVERIES).map(|number| user(&format!("u{number}"), false)).collect();
        tell(&store, &notify(true), &users).await;
        settle(&store).await;
        let mut sources = Vec::new();

        while sources.len() < DELIVERIES {
            let due = store.take_due(now(), 1, MINUTE).await.unwrap();
            assert_eq!(due.len(), 1, "after {}", sources.len());
            let (row, hook) = (due[0].row, hook(&due[0]));
            store.published(vec![row], now(), MINUTE).await.unwrap();
            close(&store, &hook.event_id, now()).await;
            assert_eq!(store.made_way().now_or_never(), Some(()));
            sources.push(hook.source_event.clone());
        }

        assert_eq!(sources, (0..DELIVERIES).map(|number| format!("r-u{number}")).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn what_waits_for_an_endpoint_is_told_and_what_was_put_off_is_counted() {
    for store in everywhere().await {
        for id in ["a-hook", "b-hook"] {
            store.put_endpoint(endpoint(id)).await.unwrap();
        }
        tell(&store, &notify(true), &["ann", "ben", "cat"].map(|name| user(name, false))).await;
        settle(&store).await;
        let now = now();
        let mut due = store.take_due(now, 10, MINUTE).await.unwrap();
        due.retain(|row| matches!(row.request, Request::Webhook(_)));
        let on_its_way = store.waiting_deliveries().await.unwrap();
        let id = hook(&due[0]).event_id.clone();
        store.published(vec![due[0].row], now, MINUTE).await.unwrap();
        store.reserve(&id, "me", now, MINUTE).await.unwrap();
        let before = store.backlog(now).await.unwrap();

        store.defer(&id, "me", now, now + DAY, "503 later").await.unwrap();
        let waiting = store.waiting_deliveries().await.unwrap();
        let (put_off, later) = (store.backlog(now).await.unwrap(), store.backlog(now + DAY).await.unwrap());
        close(&store, &id, now).await;
        let closed = store.waiting_deliveries().await.unwrap();

        let story = |line: &WaitingDeliveries| {
            (line.endpoint.clone(), line.waiting, line.next_at, line.reply.clone())
        };
        let (a, b) = ("a-hook".to_owned(), "b-hook".to_owned());
        assert_eq!(
            on_its_way.iter().map(story).collect::<Vec<_>>(),
            [(a.clone(), 3, None, None), (b.clone(), 3, None, None)]
        );
        assert!(on_its_way.iter().all(|line| (now - 60_000..=now).contains(&line.since)), "{on_its_way:?}");
        assert_eq!(
            waiting.iter().map(story).collect::<Vec<_>>(),
            [(a, 3, Some(now + DAY), Some("503 later".to_owned())), (b, 3, None, None)]
        );
        assert_eq!(closed[0].waiting, 2);
        assert_eq!((before.pending, before.deferred, before.next_due), (9, 0, None));
        assert_eq!((put_off.pending, put_off.deferred, put_off.next_due), (9, 1, Some(now + DAY)));
        assert_eq!((later.deferred, later.oldest_due), (0, Some(now + DAY)));
    }
}

#[tokio::test]
async fn endpoints_are_not_told_of_what_is_older_than_they_are_to_hear() {
    for store in everywhere().await {
        store.put_endpoint(endpoint("hook")).await.unwrap();
        let effect = Notify::new(NotifySettings { mail: None, webhooks: Some(MINUTE) });
        let at = |name: &str, occurred_at: i64| match user(name, false) {
            BlogEvent::UserRegistered(event) => {
                BlogEvent::UserRegistered(postroom::event::UserRegistered { occurred_at, ..event })
            }
            other => other,
        };

        tell(&store, &effect, &[at("old", now() - 120_000), at("young", now() - 20_000)]).await;
        settle(&store).await;

        let due = store.take_due(now(), 10, MINUTE).await.unwrap();
        let told: Vec<_> = due.iter().map(|row| hook(row).source_event.as_str()).collect();
        assert_eq!(told, ["r-young"]);
    }
}

/// A host may say anything.
#[tokio::test]
async fn reply_with_nul_is_kept_without_it() {
    for store in everywhere().await {
        store.put_endpoint(endpoint("hook")).await.unwrap();
        tell(&store, &notify(false), &[user("ann", false), user("ben", false)]).await;
        let due = store.take_due(now(), 10, MINUTE).await.unwrap();
        let ids: Vec<_> = due.iter().map(|row| mail(row).event_id.clone()).collect();
        store.reserve(&ids[0], "me", now(), MINUTE).await.unwrap();

        store.defer(&ids[0], "me", now(), now() + DAY, "450 \0 later").await.unwrap();
        store.died(&ids[1], now(), "550 \0 no").await.unwrap();
        store.disable_endpoint("hook", now(), "410 \0 gone").await.unwrap();

        let put_off = store.requests_of_event("r-ann", 10).await.unwrap();
        assert_eq!(put_off[0].reply.as_deref(), Some("450 \u{fffd} later"));
        let dead = store.requests_of_event("r-ben", 10).await.unwrap();
        assert_eq!(dead[0].reply.as_deref(), Some("550 \u{fffd} no"));
        let disabled = store.endpoint("hook").await.unwrap().unwrap().disabled.unwrap();
        assert_eq!(disabled.1, "410 \u{fffd} gone");
        assert_eq!(store.requests_of_event("\0", 10).await.unwrap(), []);
    }
}

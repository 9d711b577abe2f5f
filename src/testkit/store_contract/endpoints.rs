//! What every store must do with webhook subscriptions.

use std::time::Duration;

use crate::ports::{Endpoint, Endpoints};
use crate::testkit::store_contract::Bench;

/// An endpoint is read as it was put, by every handle; putting it again replaces it; all are listed by id.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn are_kept_as_they_were_put<B: Bench>(bench: &B) {
    let (store, other) = (bench.open().await, bench.open().await);
    let plain = endpoint("kept-b");
    let full = Endpoint {
        secrets: vec!["whsec_bmV3".to_owned(), "whsec_b2xk".to_owned()],
        types: vec!["post.published".to_owned(), "comment.created".to_owned()],
        disabled: Some((7, "it answered 410: \"gone\"".to_owned())),
        ..endpoint("kept-a")
    };

    store.put_endpoint(plain.clone()).await.expect("it is put");
    store.put_endpoint(endpoint("kept-a")).await.expect("it is put");
    store.put_endpoint(full.clone()).await.expect("it is replaced");

    assert_eq!(other.endpoint("kept-a").await, Ok(Some(full.clone())));
    assert_eq!(other.endpoint("kept-b").await, Ok(Some(plain.clone())));
    assert_eq!(other.endpoint("kept").await, Ok(None), "an id is compared as a whole");
    assert_eq!(other.endpoint("KEPT-A").await, Ok(None), "and as bytes");
    let all = other.endpoints().await.expect("a list");
    let kept: Vec<_> = all.into_iter().filter(|endpoint| endpoint.id.starts_with("kept")).collect();
    assert_eq!(kept, [full, plain]);
}

/// Disabling keeps the first reason and time; removing says whether there was anything; neither makes an endpoint.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn are_disabled_once_and_removed<B: Bench>(bench: &B) {
    let store = bench.open().await;
    let others = store.disabled_endpoints().await.expect("a number");
    store.put_endpoint(endpoint("ends")).await.expect("it is put");
    store.put_endpoint(endpoint("stays")).await.expect("it is put");

    store.disable_endpoint("ends", 100, "first").await.expect("it is disabled");
    store.disable_endpoint("ends", 200, "second").await.expect("it is left as it is");
    store.disable_endpoint("ends-not", 300, "nobody").await.expect("nobody is disabled");

    assert_eq!(store.disabled_endpoints().await, Ok(others + 1), "one, however often");
    let disabled = Endpoint { disabled: Some((100, "first".to_owned())), ..endpoint("ends") };
    assert_eq!(store.endpoint("ends").await, Ok(Some(disabled)));
    assert_eq!(store.endpoint("stays").await, Ok(Some(endpoint("stays"))));
    assert_eq!(store.endpoint("ends-not").await, Ok(None));
    assert_eq!(store.remove_endpoint("ends").await, Ok(true));
    assert_eq!(store.remove_endpoint("ends").await, Ok(false));
    assert_eq!(store.disabled_endpoints().await, Ok(others));
    assert_eq!(store.endpoint("ends").await, Ok(None));
    // Enabled again is put again.
    store.disable_endpoint("stays", 100, "a while").await.expect("it is disabled");
    store.put_endpoint(endpoint("stays")).await.expect("it is enabled");
    assert_eq!(store.endpoint("stays").await, Ok(Some(endpoint("stays"))));
}

/// An endpoint is failing from its first failure on, until it answers, is put anew or was not tried for long.
///
/// # Panics
/// Where the store breaks its contract.
pub async fn are_failing_until_they_answer<B: Bench>(bench: &B) {
    let store = bench.open().await;
    for id in ["fails", "well"] {
        store.put_endpoint(endpoint(id)).await.expect("it is put");
    }
    let fails = async |now| store.endpoint_failed("fails", now, Duration::from_millis(100)).await;
    let since =
        async |id: &str| store.endpoint(id).await.expect("it answers").and_then(|it| it.failing_since);

    assert_eq!(
        (fails(1_000).await, fails(1_100).await, fails(1_200).await),
        (Ok(1_000), Ok(1_000), Ok(1_000))
    );
    assert_eq!((since("fails").await, since("well").await), (Some(1_000), None));
    assert_eq!(fails(1_301).await, Ok(1_301), "it was not tried for too long");
    store.endpoint_answered("fails").await.expect("it answered");
    store.endpoint_answered("nobody").await.expect("nobody answered");
    assert_eq!(since("fails").await, None);
    assert_eq!(fails(1_310).await, Ok(1_310));
    let as_it_is = store.endpoint("fails").await.expect("it answers").expect("it is there");
    store.put_endpoint(as_it_is).await.expect("it is put as it is");
    assert_eq!(fails(1_320).await, Ok(1_310));
    store.put_endpoint(endpoint("fails")).await.expect("it is put anew");
    assert_eq!(fails(1_330).await, Ok(1_330));
    assert_eq!(store.endpoint_failed("nobody", 5, Duration::ZERO).await, Ok(5));
}

fn endpoint(id: &str) -> Endpoint {
    Endpoint {
        id: id.to_owned(),
        url: format!("https://hooks.example/{id}?token=ü"),
        secrets: vec!["whsec_b25l".to_owned()],
        types: Vec::new(),
        created_at: 1_700_000_000_123,
        disabled: None,
        failing_since: None,
    }
}

//! Clients that ask where groups stand: they are kept. Alone in its program, since it counts threads.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a test tells what it counted")]

use postroom::kafka::{Connection, Embedded, GroupPositions};

/// The threads of Kafka's clients: each has one that is its main, and one a broker.
fn client_threads() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let names =
        threads.filter_map(|thread| std::fs::read_to_string(thread.unwrap().path().join("comm")).ok());
    names.filter(|name| name.starts_with("rdk:")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_again_and_again_is_answered_by_the_same_clients() {
    let broker = Embedded::start().unwrap();
    broker.create_topic("posts", 2).unwrap();
    let positions = GroupPositions::new(Connection::to(broker.address().to_owned()));
    let ask = async || {
        for group in ["one", "two"] {
            let found = positions.of(group, &["posts".to_owned()]).await.unwrap();
            assert_eq!((found.len(), found.iter().all(|one| one.committed.is_none())), (2, true));
        }
    };
    let without = client_threads();

    // The second question may bring a connection to the coordinator.
    ask().await;
    ask().await;
    let first = client_threads();
    let mut most = first;
    for _ in 0..20 {
        ask().await;
        most = most.max(client_threads());
    }

    println!("{without} threads before, {first} after two questions, at most {most} in 20 more");
    assert!(first > without);
    assert_eq!(most, first);
}

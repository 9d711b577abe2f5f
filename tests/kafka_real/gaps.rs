//! Records that retention removed before a group read them.

use std::time::Duration;

use postroom::kafka::{ConsumerConfig, Gap, Protocol, Start};
use postroom::ports::{Edge, EdgeError};
use postroom_core::{FetchEpoch, Offset, TopicPartition};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::topic_partition_list::{Offset as ClientOffset, TopicPartitionList};

use super::kafka_driver::{Member, Told, fill, partition, range};
use super::{PROTOCOLS, World};

impl World {
    fn at(&self, number: i32) -> TopicPartition {
        partition(&self.posts(), number)
    }

    fn on_gap(&self, protocol: Protocol, on_gap: Gap) -> ConsumerConfig {
        let mut config = self.config(protocol);
        config.on_gap = on_gap;
        config
    }

    /// Leaves a group with this commit in partition 0, and nobody in it.
    async fn commit(&self, next: i64) {
        let mut member = Member::start(self.on_gap(Protocol::Cooperative, Gap::Stop), &self.producer);
        member.until("the assignment", |member| member.owned.contains_key(&self.at(0))).await;
        let generation = member.owned[&self.at(0)];
        member.edge.commit(&self.at(0), generation, Offset(next), &[]);
        member.until("the commit", |member| member.told(&Told::Committed(generation, Offset(next)))).await;
        member.edge.close(member.moment(Duration::from_secs(10)));
        member.until("the close", |member| member.stopped.is_some()).await;
    }

    /// Removes what partition 0 holds below an offset, as retention does.
    async fn remove_below(&self, offset: i64) {
        let mut client = rdkafka::ClientConfig::new();
        client.set("bootstrap.servers", &self.address);
        let admin: AdminClient<DefaultClientContext> = client.create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.posts(), 0, ClientOffset::Offset(offset)).unwrap();
        let removed = admin.delete_records(&list, &AdminOptions::new()).await.unwrap();
        assert!(removed.elements().iter().all(|element| element.error().is_ok()));
    }
}

fn removed(member: &Member) -> Vec<&Told> {
    member.history.iter().filter(|told| matches!(told, Told::Removed(..))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_told_to_continue_starts_behind_what_was_removed_and_names_it_once() {
    for protocol in PROTOCOLS {
        let Some(world) = World::new(2).await else { return };
        fill(&world.producer, &world.posts(), 2, 200).await;
        world.commit(10).await;
        world.remove_below(40).await;

        let mut member = Member::start(world.on_gap(protocol, Gap::Continue), &world.producer);
        member.until("what is left", |member| member.records.len() == 60 + 100).await;
        fill(&world.producer, &world.posts(), 2, 20).await;
        member.until("what is new", |member| member.records.len() == 70 + 110).await;

        assert_eq!(member.offsets(&world.at(0)), (40..110).collect::<Vec<_>>(), "{protocol:?}");
        assert_eq!(member.offsets(&world.at(1)), (0..110).collect::<Vec<_>>(), "{protocol:?}");
        assert_eq!(removed(&member), [&Told::Removed(world.at(0), range(10, 40))], "{protocol:?}");
        assert_eq!(member.close(Duration::from_secs(10)).await, Ok(()), "{protocol:?}");
    }
}

/// Makes a group that runs and has read everything, and then finds that records were removed which it had not read yet.
async fn gap_in_mid_run(world: &World, protocol: Protocol, on_gap: Gap) -> Member {
    fill(&world.producer, &world.posts(), 2, 20).await;
    let mut member = Member::start(world.on_gap(protocol, on_gap), &world.producer);
    member.until("all records", |member| member.records.len() == 20).await;
    let generation = member.owned[&world.at(0)];
    member.edge.pause(generation);
    member.edge.commit(&world.at(0), generation, Offset(10), &[]);
    member.until("the pause", |member| member.told(&Told::Committed(generation, Offset(10)))).await;
    fill(&world.producer, &world.posts(), 2, 200).await;
    world.remove_below(70).await;
    member.edge.resume(generation);
    member
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_runs_goes_on_behind_what_was_removed_and_names_it_once() {
    for protocol in PROTOCOLS {
        let Some(world) = World::new(2).await else { return };
        let mut member = gap_in_mid_run(&world, protocol, Gap::Continue).await;

        member.until("what is left", |member| member.records.len() == 10 + 40 + 110).await;
        fill(&world.producer, &world.posts(), 2, 20).await;
        member.until("what is new", |member| member.records.len() == 20 + 40 + 120).await;

        let expected: Vec<i64> = (0..10).chain(70..120).collect();
        assert_eq!(member.offsets(&world.at(0)), expected, "{protocol:?}");
        assert_eq!(member.offsets(&world.at(1)), (0..120).collect::<Vec<_>>(), "{protocol:?}");
        assert_eq!(removed(&member), [&Told::Removed(world.at(0), range(10, 70))], "{protocol:?}");
        let assigned = member.history.iter().filter(|told| matches!(told, Told::Assigned(_))).count();
        assert_eq!(assigned, 2, "{protocol:?}: no rebalance");
        assert_eq!(member.close(Duration::from_secs(10)).await, Ok(()), "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_runs_stops_where_records_were_removed_and_names_them() {
    for protocol in PROTOCOLS {
        let Some(world) = World::new(2).await else { return };
        let mut member = gap_in_mid_run(&world, protocol, Gap::Stop).await;

        member.until("the end", |member| member.stopped.is_some()).await;

        let Some(Err(EdgeError::PositionGone { partition, next, log })) = member.stopped else {
            unreachable!("{protocol:?} {:?}", member.stopped)
        };
        assert_eq!((partition, next, log.start), (world.at(0), Offset(10), Offset(70)), "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_gone_does_not_stop_a_group_whose_store_is_beyond_it() {
    for protocol in PROTOCOLS {
        let Some(world) = World::new(2).await else { return };
        fill(&world.producer, &world.posts(), 2, 200).await;
        world.commit(10).await;
        world.remove_below(40).await;
        let mut member = Member::start(world.on_gap(protocol, Gap::Stop), &world.producer);
        member.claims = false;
        member.until("the assignment", |member| member.owned.len() == 2).await;
        // The client hears meanwhile that the commit is gone.
        member.until("the other partition", |member| member.records.len() == 100).await;
        member.serve(Duration::from_secs(1)).await;
        assert_eq!(member.stopped, None, "{protocol:?}: it is not decided yet where to begin");

        member.edge.claimed(member.owned[&world.at(0)], Offset(60));
        member.until("what the store lacks", |member| member.offsets(&world.at(0)).len() == 40).await;

        assert_eq!(member.offsets(&world.at(0)), (60..100).collect::<Vec<_>>(), "{protocol:?}");
        assert!(removed(&member).is_empty(), "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seek_works_where_the_client_has_stopped_fetching() {
    let Some(world) = World::new(1).await else { return };
    fill(&world.producer, &world.posts(), 1, 100).await;
    world.commit(5_000).await;
    let mut member = Member::start(world.on_gap(Protocol::Cooperative, Gap::Stop), &world.producer);
    member.claims = false;
    member.until("the assignment", |member| !member.owned.is_empty()).await;
    member.serve(Duration::from_secs(1)).await;
    let generation = member.owned[&world.at(0)];

    member.edge.seek(&world.at(0), generation, Offset(90), FetchEpoch(1));
    member.edge.claimed(generation, Offset(90));
    member.until("the records", |member| member.records.len() == 10).await;

    assert_eq!(member.offsets(&world.at(0)), (90..100).collect::<Vec<_>>());
    assert!(member.records.iter().all(|(_, epoch, _)| *epoch == FetchEpoch(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_starts_with_the_latest_does_not_take_a_gap_for_a_start() {
    let Some(world) = World::new(1).await else { return };
    fill(&world.producer, &world.posts(), 1, 100).await;
    world.commit(10).await;
    world.remove_below(40).await;
    let mut config = world.on_gap(Protocol::Cooperative, Gap::Continue);
    config.start = Start::Latest;

    let mut member = Member::start(config, &world.producer);
    member.until("what is left", |member| member.records.len() == 60).await;

    assert_eq!(member.offsets(&world.at(0)), (40..100).collect::<Vec<_>>());
}

//! The stores and the effects that write to them, without Kafka.

#[path = "../certificates/mod.rs"]
mod certificates;
mod contract;
mod edge;
mod effects;
mod indexes;
mod interleavings;
mod kills;
mod outbox;
mod play;
mod postgres;
mod queues;
mod relays;
mod sample;
mod search;
mod server;
mod sqlite;
mod tls;
mod told;

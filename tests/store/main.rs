//! The stores and the effects that write to them, without Kafka.

mod contract;
mod effects;
mod interleavings;
mod kills;
mod outbox;
mod play;
mod postgres;
mod relays;
mod sample;
mod search;
mod server;
mod sqlite;

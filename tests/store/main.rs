//! The SQLite store and the effects that write to it, without Kafka.

mod contract;
mod effects;
mod interleavings;
mod kills;
mod outbox;
mod play;
mod postgres_try;
mod sample;
mod search;
mod sqlite;

//! Claims, positions, attempts and ids: who may apply what, and where to go on.

use postroom_core::{Attempt, Offset, Partition, Topic, TopicPartition};
use rusqlite::{Connection, OptionalExtension, params};

use super::error::ours;
use crate::adapters::store::PositionRow;
use crate::ports::{Applied, Claim, Epoch, Guard, StoreError};

/// Raises the epoch and reads the row, in one statement.
pub(super) fn claim(
    connection: &Connection,
    group: &str,
    partition: &TopicPartition,
) -> Result<Claim, StoreError> {
    let (topic, number) = (partition.topic.as_str(), partition.partition.0);
    let (epoch, next) = connection
        .prepare_cached(
            "INSERT INTO positions (consumer_group, topic, partition, epoch) VALUES (?1, ?2, ?3, 1)
             ON CONFLICT DO UPDATE SET epoch = epoch + 1 RETURNING epoch, next_offset",
        )
        .and_then(|mut statement| {
            statement.query_row(params![group, topic, number], |row| {
                Ok((Epoch(row.get(0)?), row.get::<_, Option<i64>>(1)?.map(Offset)))
            })
        })
        .map_err(ours)?;
    let attempts = attempts(connection, group, partition, next)?;
    Ok(Claim { group: group.to_owned(), partition: partition.clone(), epoch, next, attempts })
}

fn attempts(
    connection: &Connection,
    group: &str,
    partition: &TopicPartition,
    next: Option<Offset>,
) -> Result<Vec<(Offset, Attempt)>, StoreError> {
    let from = next.map_or(i64::MIN, |next| next.0);
    connection
        .prepare_cached(
            "SELECT record_offset, attempt FROM attempts
             WHERE consumer_group = ?1 AND topic = ?2 AND partition = ?3 AND record_offset >= ?4
             ORDER BY record_offset",
        )
        .and_then(|mut statement| {
            statement
                .query_map(params![group, partition.topic.as_str(), partition.partition.0, from], |row| {
                    Ok((Offset(row.get(0)?), Attempt(row.get(1)?)))
                })?
                .collect()
        })
        .map_err(ours)
}

/// Keeps the number of an attempt: it never goes back.
pub(super) fn count_attempt(
    connection: &Connection,
    group: &str,
    partition: &TopicPartition,
    offset: Offset,
    attempt: Attempt,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO attempts (consumer_group, topic, partition, record_offset, attempt, counted_at)
             VALUES (?1, ?2, ?3, ?4, ?5, unixepoch())
             ON CONFLICT DO UPDATE SET attempt = max(attempt, excluded.attempt), counted_at = excluded.counted_at",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                group,
                partition.topic.as_str(),
                partition.partition.0,
                offset.0,
                attempt.0
            ])
        })
        .map(drop)
        .map_err(ours)
}

/// Removes the attempts at records below an offset.
pub(super) fn forget_attempts(
    connection: &Connection,
    group: &str,
    partition: &TopicPartition,
    below: Offset,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "DELETE FROM attempts
             WHERE consumer_group = ?1 AND topic = ?2 AND partition = ?3 AND record_offset < ?4",
        )
        .and_then(|mut statement| {
            statement.execute(params![group, partition.topic.as_str(), partition.partition.0, below.0])
        })
        .map(drop)
        .map_err(ours)
}

/// What a guard says before anything is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// Change what is to be changed: position or id are written already.
    Go,
    /// Change nothing, and answer this.
    Stop(Applied),
}

/// Checks the guard and, where it holds, moves the position or keeps the id.
pub(super) fn pass(connection: &Connection, claim: &Claim, guard: &Guard) -> Result<Pass, StoreError> {
    match guard {
        Guard::Position { next } => advance(connection, claim, *next),
        Guard::Once { id } => once(connection, claim, id),
    }
}

fn advance(connection: &Connection, claim: &Claim, next: Offset) -> Result<Pass, StoreError> {
    if claim.next.is_some_and(|own| next <= own) {
        let own = claim.next.map_or(0, |own| own.0);
        return Err(StoreError::Refused(format!("the position would go from {own} to {next}")));
    }
    let (topic, number) = (claim.partition.topic.as_str(), claim.partition.partition.0);
    let expected = claim.next.map(|own| own.0);
    let moved = connection
        .prepare_cached(
            "UPDATE positions SET next_offset = ?1 WHERE consumer_group = ?2 AND topic = ?3 AND partition = ?4
             AND epoch = ?5 AND next_offset IS ?6",
        )
        .and_then(|mut statement| {
            statement.execute(params![next.0, claim.group, topic, number, claim.epoch.0, expected])
        })
        .map_err(ours)?;
    if moved == 1 {
        return Ok(Pass::Go);
    }
    // An earlier transaction of ours may have been committed while its reply was lost.
    let ours_and_there = row(connection, claim)?
        .is_some_and(|(epoch, at)| epoch == claim.epoch && at.is_some_and(|at| at >= next));
    Ok(Pass::Stop(if ours_and_there { Applied::Committed } else { Applied::Fenced }))
}

fn once(connection: &Connection, claim: &Claim, id: &str) -> Result<Pass, StoreError> {
    if row(connection, claim)?.is_none_or(|(epoch, _)| epoch != claim.epoch) {
        return Ok(Pass::Stop(Applied::Fenced));
    }
    let kept = connection
        .prepare_cached(
            "INSERT INTO dedupe (consumer_group, id, applied_at) VALUES (?1, ?2, unixepoch()) ON CONFLICT DO NOTHING",
        )
        .and_then(|mut statement| statement.execute(params![claim.group, id]))
        .map_err(ours)?;
    Ok(if kept == 1 { Pass::Go } else { Pass::Stop(Applied::Duplicate) })
}

fn row(connection: &Connection, claim: &Claim) -> Result<Option<(Epoch, Option<Offset>)>, StoreError> {
    connection
        .prepare_cached(
            "SELECT epoch, next_offset FROM positions WHERE consumer_group = ?1 AND topic = ?2 AND partition = ?3",
        )
        .and_then(|mut statement| {
            let key = params![claim.group, claim.partition.topic.as_str(), claim.partition.partition.0];
            statement
                .query_row(key, |row| Ok((Epoch(row.get(0)?), row.get::<_, Option<i64>>(1)?.map(Offset))))
                .optional()
        })
        .map_err(ours)
}

/// Writes a position and fences every owner.
pub(super) fn set(
    connection: &Connection,
    group: &str,
    partition: &TopicPartition,
    next: Offset,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO positions (consumer_group, topic, partition, epoch, next_offset) VALUES (?1, ?2, ?3, 1, ?4)
             ON CONFLICT DO UPDATE SET epoch = epoch + 1, next_offset = excluded.next_offset",
        )
        .and_then(|mut statement| {
            statement.execute(params![group, partition.topic.as_str(), partition.partition.0, next.0])
        })
        .map(drop)
        .map_err(ours)
}

/// Reads all positions, by group, topic and partition.
pub(super) fn all(connection: &Connection) -> Result<Vec<PositionRow>, StoreError> {
    connection
        .prepare_cached(
            "SELECT consumer_group, topic, partition, epoch, next_offset FROM positions
             ORDER BY consumer_group, topic, partition",
        )
        .and_then(|mut statement| {
            statement
                .query_map([], |row| {
                    let topic: String = row.get(1)?;
                    Ok(PositionRow {
                        group: row.get(0)?,
                        partition: TopicPartition::new(Topic::new(&topic), Partition(row.get(2)?)),
                        epoch: Epoch(row.get(3)?),
                        next: row.get::<_, Option<i64>>(4)?.map(Offset),
                    })
                })?
                .collect()
        })
        .map_err(ours)
}

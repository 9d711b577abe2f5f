//! Claims, positions, attempts and ids: who may apply what, and where to go on.

use deadpool_postgres::Transaction;
use postroom_core::{Attempt, Offset, Partition, Topic, TopicPartition};
use tokio_postgres::Row;

use super::error::Trouble;
use crate::adapters::store::PositionRow;
use crate::ports::{Applied, Claim, Epoch, Guard, StoreError};

/// Raises the epoch and reads the row, in one statement: it waits for a transaction of the former owner, and from then on
/// there is none.
pub(super) async fn claim(
    tx: &Transaction<'_>,
    group: &str,
    partition: &TopicPartition,
) -> Result<Claim, Trouble> {
    let raise = tx
        .prepare_cached(
            "INSERT INTO positions AS p (consumer_group, topic, partition, epoch) VALUES ($1, $2, $3, 1)
             ON CONFLICT (consumer_group, topic, partition) DO UPDATE SET epoch = p.epoch + 1
             RETURNING epoch, next_offset",
        )
        .await?;
    let (topic, number) = (partition.topic.as_str(), partition.partition.0);
    let (epoch, next) = place(&tx.query_one(&raise, &[&group, &topic, &number]).await?)?;
    let from = next.map_or(i64::MIN, |next| next.0);
    let read = tx
        .prepare_cached(
            "SELECT record_offset, attempt FROM attempts
             WHERE consumer_group = $1 AND topic = $2 AND partition = $3 AND record_offset >= $4
             ORDER BY record_offset",
        )
        .await?;
    let mut attempts = Vec::new();
    for row in tx.query(&read, &[&group, &topic, &number, &from]).await? {
        let attempt = u32::try_from(row.try_get::<_, i64>(1)?).unwrap_or(u32::MAX);
        attempts.push((Offset(row.try_get(0)?), Attempt(attempt)));
    }
    Ok(Claim { group: group.to_owned(), partition: partition.clone(), epoch, next, attempts })
}

/// Keeps the number of an attempt: it never goes back.
pub(super) async fn count_attempt(
    tx: &Transaction<'_>,
    group: &str,
    partition: &TopicPartition,
    offset: Offset,
    attempt: Attempt,
) -> Result<(), Trouble> {
    let statement = tx
        .prepare_cached(
            "INSERT INTO attempts AS a (consumer_group, topic, partition, record_offset, attempt, counted_at)
             VALUES ($1, $2, $3, $4, $5, extract(epoch FROM now())::bigint)
             ON CONFLICT (consumer_group, topic, partition, record_offset)
             DO UPDATE SET attempt = greatest(a.attempt, excluded.attempt), counted_at = excluded.counted_at",
        )
        .await?;
    let (topic, number) = (partition.topic.as_str(), partition.partition.0);
    tx.execute(&statement, &[&group, &topic, &number, &offset.0, &i64::from(attempt.0)]).await?;
    Ok(())
}

/// Removes the attempts at records below an offset.
pub(super) async fn forget_attempts(
    tx: &Transaction<'_>,
    group: &str,
    partition: &TopicPartition,
    below: Offset,
) -> Result<(), Trouble> {
    let statement = tx
        .prepare_cached(
            "DELETE FROM attempts
             WHERE consumer_group = $1 AND topic = $2 AND partition = $3 AND record_offset < $4",
        )
        .await?;
    let (topic, number) = (partition.topic.as_str(), partition.partition.0);
    tx.execute(&statement, &[&group, &topic, &number, &below.0]).await?;
    Ok(())
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
pub(super) async fn pass(tx: &Transaction<'_>, claim: &Claim, guard: &Guard) -> Result<Pass, Trouble> {
    match guard {
        Guard::Position { next } => advance(tx, claim, *next).await,
        Guard::Once { id } => once(tx, claim, id).await,
    }
}

async fn advance(tx: &Transaction<'_>, claim: &Claim, next: Offset) -> Result<Pass, Trouble> {
    if let Some(own) = claim.next.filter(|own| next <= *own) {
        return Err(StoreError::Refused(format!("the position would go from {own} to {next}")).into());
    }
    let statement = tx
        .prepare_cached(
            "UPDATE positions SET next_offset = $1 WHERE consumer_group = $2 AND topic = $3 AND partition = $4
             AND epoch = $5 AND next_offset IS NOT DISTINCT FROM $6",
        )
        .await?;
    let (topic, number) = (claim.partition.topic.as_str(), claim.partition.partition.0);
    let expected = claim.next.map(|own| own.0);
    let moved =
        tx.execute(&statement, &[&next.0, &claim.group, &topic, &number, &claim.epoch.0, &expected]).await?;
    if moved == 1 {
        return Ok(Pass::Go);
    }
    // An earlier transaction of ours may have been committed while its reply was lost. Where it still ends, the
    // statement above has waited for it.
    let ours_and_there = row(tx, claim)
        .await?
        .is_some_and(|(epoch, at)| epoch == claim.epoch && at.is_some_and(|at| at >= next));
    Ok(Pass::Stop(if ours_and_there { Applied::Committed } else { Applied::Fenced }))
}

/// The row is held against claims until the transaction ends; the id is kept beside it, which costs nothing where
/// the claim is fenced: then nothing is committed.
async fn once(tx: &Transaction<'_>, claim: &Claim, id: &str) -> Result<Pass, Trouble> {
    let held = row(tx, claim).await?;
    if held.is_none_or(|(epoch, _)| epoch != claim.epoch) {
        return Ok(Pass::Stop(Applied::Fenced));
    }
    let keep = tx
        .prepare_cached(
            "INSERT INTO dedupe (consumer_group, id, applied_at) VALUES ($1, $2, extract(epoch FROM now())::bigint)
             ON CONFLICT DO NOTHING",
        )
        .await?;
    let kept = tx.execute(&keep, &[&claim.group, &id]).await?;
    Ok(if kept == 1 { Pass::Go } else { Pass::Stop(Applied::Duplicate) })
}

/// Reads the row and keeps others from changing it.
async fn row(tx: &Transaction<'_>, claim: &Claim) -> Result<Option<(Epoch, Option<Offset>)>, Trouble> {
    let statement = tx
        .prepare_cached(
            "SELECT epoch, next_offset FROM positions
             WHERE consumer_group = $1 AND topic = $2 AND partition = $3 FOR SHARE",
        )
        .await?;
    let (topic, number) = (claim.partition.topic.as_str(), claim.partition.partition.0);
    tx.query_opt(&statement, &[&claim.group, &topic, &number]).await?.as_ref().map(place).transpose()
}

/// Reads the columns `epoch` and `next_offset`.
fn place(row: &Row) -> Result<(Epoch, Option<Offset>), Trouble> {
    Ok((Epoch(row.try_get("epoch")?), row.try_get::<_, Option<i64>>("next_offset")?.map(Offset)))
}

/// Writes a position and fences every owner.
pub(super) async fn set(
    tx: &Transaction<'_>,
    group: &str,
    partition: &TopicPartition,
    next: Offset,
) -> Result<(), Trouble> {
    let statement = tx
        .prepare_cached(
            "INSERT INTO positions AS p (consumer_group, topic, partition, epoch, next_offset)
             VALUES ($1, $2, $3, 1, $4)
             ON CONFLICT (consumer_group, topic, partition)
             DO UPDATE SET epoch = p.epoch + 1, next_offset = excluded.next_offset",
        )
        .await?;
    let (topic, number) = (partition.topic.as_str(), partition.partition.0);
    tx.execute(&statement, &[&group, &topic, &number, &next.0]).await?;
    Ok(())
}

/// Reads all positions, by group, topic and partition.
pub(super) async fn all(tx: &Transaction<'_>) -> Result<Vec<PositionRow>, Trouble> {
    let statement = tx
        .prepare_cached(
            "SELECT consumer_group, topic, partition, epoch, next_offset FROM positions
             ORDER BY consumer_group, topic, partition",
        )
        .await?;
    let mut all = Vec::new();
    for row in tx.query(&statement, &[]).await? {
        let (epoch, next) = place(&row)?;
        let topic: String = row.try_get(1)?;
        all.push(PositionRow {
            group: row.try_get(0)?,
            partition: TopicPartition::new(Topic::new(&topic), Partition(row.try_get(2)?)),
            epoch,
            next,
        });
    }
    Ok(all)
}

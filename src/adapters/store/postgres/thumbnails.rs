//! What was made of which picture.

use deadpool_postgres::Transaction;
use tokio_postgres::Row;

use super::error::Trouble;
use super::queue::execute;
use super::{PostgresStore, in_snapshot};
use crate::adapters::store::{ThumbnailFileLine, ThumbnailLine};
use crate::ports::{StoreError, ThumbnailsMade};

impl PostgresStore {
    /// Reads the thumbnails that were made last, the newest first, up to `limit` pictures.
    ///
    /// # Errors
    /// As the store's.
    pub async fn recent_thumbnails(&self, limit: u32) -> Result<Vec<ThumbnailLine>, StoreError> {
        in_snapshot!(self, tx => recent(&tx, limit))
    }

    /// Reads the thumbnails that were made for an event; `None` where there are none (yet).
    ///
    /// # Errors
    /// As the store's.
    pub async fn thumbnails_of_event(&self, event: &str) -> Result<Option<ThumbnailLine>, StoreError> {
        in_snapshot!(self, tx => of_event(&tx, event))
    }
}

/// Writes down what was made, in that order; a repeat writes the same again.
pub(super) async fn made(tx: &Transaction<'_>, made: &[&ThumbnailsMade]) -> Result<(), Trouble> {
    for made in made {
        one(tx, made).await?;
    }
    Ok(())
}

async fn one(tx: &Transaction<'_>, made: &ThumbnailsMade) -> Result<(), Trouble> {
    let statement = tx.prepare_cached(MADE).await?;
    let (width, height) = (i64::from(made.width), i64::from(made.height));
    let id: i64 = tx
        .query_one(
            &statement,
            &[
                &made.event.as_str(),
                &made.object_key,
                &made.sha256,
                &made.post,
                &made.media_type,
                &width,
                &height,
                &made.placeholder,
                &made.time,
            ],
        )
        .await?
        .try_get(0)?;
    let names: Vec<_> = made.files.iter().map(|file| file.name.as_str()).collect();
    let types: Vec<_> = made.files.iter().map(|file| file.media_type.as_str()).collect();
    let widths: Vec<_> = made.files.iter().map(|file| i64::from(file.width)).collect();
    let heights: Vec<_> = made.files.iter().map(|file| i64::from(file.height)).collect();
    execute(tx, "DELETE FROM thumbnail_files WHERE thumbnail = $1", &[&id]).await?;
    execute(tx, FILES_MADE, &[&id, &names, &types, &widths, &heights]).await.map(drop)
}

async fn recent(tx: &Transaction<'_>, limit: u32) -> Result<Vec<ThumbnailLine>, Trouble> {
    let statement = tx.prepare_cached(RECENT).await?;
    let rows = tx.query(&statement, &[&i64::from(limit)]).await?;
    lines(tx, &rows).await
}

async fn of_event(tx: &Transaction<'_>, event: &str) -> Result<Option<ThumbnailLine>, Trouble> {
    let statement = tx.prepare_cached(OF_EVENT).await?;
    let rows = tx.query(&statement, &[&event]).await?;
    Ok(lines(tx, &rows).await?.pop())
}

async fn lines(tx: &Transaction<'_>, rows: &[Row]) -> Result<Vec<ThumbnailLine>, Trouble> {
    let mut lines = rows.iter().map(line).collect::<Result<Vec<_>, _>>()?;
    let ids: Vec<i64> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let statement = tx.prepare_cached(FILES).await?;
    for row in tx.query(&statement, &[&ids]).await? {
        let place: i64 = row.try_get(0)?;
        // Places count from 1.
        if let Some(line) = usize::try_from(place - 1).ok().and_then(|place| lines.get_mut(place)) {
            line.files.push(ThumbnailFileLine {
                name: row.try_get(1)?,
                media_type: row.try_get(2)?,
                width: pixels(&row, 3)?,
                height: pixels(&row, 4)?,
            });
        }
    }
    Ok(lines)
}

fn line(row: &Row) -> Result<ThumbnailLine, tokio_postgres::Error> {
    Ok(ThumbnailLine {
        event: row.try_get(1)?,
        object_key: row.try_get(2)?,
        sha256: row.try_get(3)?,
        post: row.try_get(4)?,
        media_type: row.try_get(5)?,
        width: pixels(row, 6)?,
        height: pixels(row, 7)?,
        placeholder: row.try_get(8)?,
        time: row.try_get(9)?,
        files: Vec::new(),
    })
}

fn pixels(row: &Row, column: usize) -> Result<u32, tokio_postgres::Error> {
    Ok(u32::try_from(row.try_get::<_, i64>(column)?).unwrap_or(u32::MAX))
}

const MADE: &str = "INSERT INTO thumbnails
        (event, object_key, sha256, post, media_type, width, height, placeholder, time)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    ON CONFLICT (event) DO UPDATE SET
        object_key = excluded.object_key, sha256 = excluded.sha256, post = excluded.post,
        media_type = excluded.media_type, width = excluded.width, height = excluded.height,
        placeholder = excluded.placeholder, time = excluded.time
    RETURNING id";

const FILES_MADE: &str = "INSERT INTO thumbnail_files (thumbnail, name, media_type, width, height)
    SELECT $1, f.name, f.media_type, f.width, f.height
    FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[]) AS f(name, media_type, width, height)";

const FILES: &str = "SELECT t.place, f.name, f.media_type, f.width, f.height
    FROM unnest($1::bigint[]) WITH ORDINALITY AS t(id, place) JOIN thumbnail_files f ON f.thumbnail = t.id
    ORDER BY t.place, f.width, f.height, f.name";

macro_rules! columns {
    ($rest:literal) => {
        concat!(
            "SELECT id, event, object_key, sha256, post, media_type, width, height, placeholder, time
            FROM thumbnails ",
            $rest
        )
    };
}
const RECENT: &str = columns!("ORDER BY id DESC LIMIT $1");
const OF_EVENT: &str = columns!("WHERE event = $1");

//! What was made of which picture.

use rusqlite::{Connection, Row, named_params, params};

use super::SqliteStore;
use super::error::ours;
use crate::adapters::store::{ThumbnailFileLine, ThumbnailLine};
use crate::ports::{StoreError, ThumbnailsMade};

impl SqliteStore {
    /// Reads the thumbnails that were made last, the newest first, up to `limit` pictures.
    ///
    /// # Errors
    /// As the store's.
    pub async fn recent_thumbnails(&self, limit: u32) -> Result<Vec<ThumbnailLine>, StoreError> {
        self.read(move |connection| {
            lines(connection, &format!("{COLUMNS} ORDER BY id DESC LIMIT ?1"), params![limit])
        })
        .await
    }

    /// Reads the thumbnails that were made for an event; `None` where there are none (yet).
    ///
    /// # Errors
    /// As the store's.
    pub async fn thumbnails_of_event(&self, event: &str) -> Result<Option<ThumbnailLine>, StoreError> {
        let event = event.to_owned();
        self.read(move |connection| {
            lines(connection, &format!("{COLUMNS} WHERE event = ?1"), params![event])
                .map(|mut found| found.pop())
        })
        .await
    }
}

/// Writes down what was made; a repeat writes the same again.
pub(super) fn made(connection: &Connection, made: &ThumbnailsMade) -> Result<(), StoreError> {
    let write = || {
        let id: i64 = connection
            .prepare_cached(
                "INSERT INTO thumbnails
                     (event, object_key, sha256, post, media_type, width, height, placeholder, time)
                 VALUES (:event, :object_key, :sha256, :post, :media_type, :width, :height, :placeholder, :time)
                 ON CONFLICT (event) DO UPDATE SET
                     object_key = excluded.object_key, sha256 = excluded.sha256, post = excluded.post,
                     media_type = excluded.media_type, width = excluded.width, height = excluded.height,
                     placeholder = excluded.placeholder, time = excluded.time
                 RETURNING id",
            )?
            .query_row(
                named_params! {
                    ":event": made.event.as_str(),
                    ":object_key": made.object_key,
                    ":sha256": made.sha256,
                    ":post": made.post,
                    ":media_type": made.media_type,
                    ":width": made.width,
                    ":height": made.height,
                    ":placeholder": made.placeholder,
                    ":time": made.time,
                },
                |row| row.get(0),
            )?;
        connection.prepare_cached("DELETE FROM thumbnail_files WHERE thumbnail = ?1")?.execute([id])?;
        let mut insert = connection.prepare_cached(
            "INSERT INTO thumbnail_files (thumbnail, name, media_type, width, height)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        for file in &made.files {
            insert.execute(params![id, file.name, file.media_type, file.width, file.height])?;
        }
        Ok(())
    };
    write().map_err(ours)
}

fn lines(
    connection: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
) -> Result<Vec<ThumbnailLine>, StoreError> {
    let read = || {
        let found: Vec<(i64, ThumbnailLine)> =
            connection.prepare_cached(sql)?.query_map(values, line)?.collect::<Result<_, _>>()?;
        found
            .into_iter()
            .map(|(id, line)| Ok(ThumbnailLine { files: files(connection, id)?, ..line }))
            .collect::<Result<_, _>>()
    };
    read().map_err(ours)
}

fn line(row: &Row<'_>) -> rusqlite::Result<(i64, ThumbnailLine)> {
    let line = ThumbnailLine {
        event: row.get(1)?,
        object_key: row.get(2)?,
        sha256: row.get(3)?,
        post: row.get(4)?,
        media_type: row.get(5)?,
        width: row.get(6)?,
        height: row.get(7)?,
        placeholder: row.get(8)?,
        time: row.get(9)?,
        files: Vec::new(),
    };
    Ok((row.get(0)?, line))
}

fn files(connection: &Connection, id: i64) -> rusqlite::Result<Vec<ThumbnailFileLine>> {
    connection
        .prepare_cached(
            "SELECT name, media_type, width, height FROM thumbnail_files
             WHERE thumbnail = ?1 ORDER BY width, height, name",
        )?
        .query_map([id], |row| {
            Ok(ThumbnailFileLine {
                name: row.get(0)?,
                media_type: row.get(1)?,
                width: row.get(2)?,
                height: row.get(3)?,
            })
        })?
        .collect()
}

const COLUMNS: &str =
    "SELECT id, event, object_key, sha256, post, media_type, width, height, placeholder, time
    FROM thumbnails";

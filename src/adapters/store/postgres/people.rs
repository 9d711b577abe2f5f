//! A table of people: `project` and `notify` keep one each, because each has its own position.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;
use tokio_postgres::Row;

use super::error::Trouble;
use super::held::{Held, life};
use super::pipe::{Pipe, column};
use crate::adapters::store::rows::PersonRow;
use crate::ports::{PersonChange, PersonContent};

/// A table of people.
pub(super) struct PeopleTable {
    load: &'static str,
    insert: &'static str,
    update: &'static str,
}

macro_rules! people_table {
    ($table:literal) => {
        PeopleTable {
            load: concat!(
                "SELECT id, state, since, created_by, name, email, subscribed, locale, content_time FROM ",
                $table,
                " WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE"
            ),
            insert: concat!(
                "WITH made AS (INSERT INTO ",
                $table,
                " (id, state, since, created_by, name, email, subscribed, locale, content_time)
                 SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[],
                     $7::bool[], $8::text[], $9::bigint[])
                 ON CONFLICT DO NOTHING RETURNING 1) SELECT count(*) FROM made"
            ),
            update: concat!(
                "UPDATE ",
                $table,
                " t SET state = n.state, since = n.since, created_by = n.created_by, name = n.name, email = n.email,
                     subscribed = n.subscribed, locale = n.locale, content_time = n.content_time
                 FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[],
                     $7::bool[], $8::text[], $9::bigint[])
                     AS n (id, state, since, created_by, name, email, subscribed, locale, content_time)
                 WHERE t.id = n.id"
            ),
        }
    };
}

pub(super) const PEOPLE: PeopleTable = people_table!("people");
pub(super) const CONTACTS: PeopleTable = people_table!("contacts");

/// Something happened to people's accounts, in one of the tables. Returns what became of the rows, by user.
pub(super) async fn apply(
    tx: &Transaction<'_>,
    table: &PeopleTable,
    changes: &[&PersonChange],
) -> Result<BTreeMap<String, PersonRow>, Trouble> {
    let mut people = Held::<PersonRow>::of(changes.iter().map(|change| change.user.as_str()));
    let mut load = Pipe::default();
    load.add(table.load, vec![people.ids()]);
    for rows in load.run(tx).await? {
        people.fill(rows, of_row)?;
    }
    for change in changes {
        people.change(&change.user, PersonRow::stub, |row| row.after(change));
    }
    let mut save = Pipe::default();
    let expected = save_in(table, &people, &mut save);
    let answers = save.run(tx).await?;
    expected.check(&answers)?;
    Ok(people.into_rows())
}

/// How many rows an insert has to make: fewer means that somebody else made one first.
pub(super) struct Expected(Vec<(usize, usize)>);

impl Expected {
    pub(super) fn check(&self, answers: &[Vec<Row>]) -> Result<(), Trouble> {
        for (place, wanted) in &self.0 {
            let row = answers.get(*place).and_then(|rows| rows.first());
            let made = row.map(|row| row.try_get::<_, i64>(0)).transpose()?.unwrap_or_default();
            if usize::try_from(made).unwrap_or_default() != *wanted {
                return Err(Trouble::Conflict("somebody else wrote a row first".to_owned()));
            }
        }
        Ok(())
    }

    pub(super) fn add(&mut self, place: usize, wanted: usize) {
        self.0.push((place, wanted));
    }

    pub(super) fn nothing() -> Self {
        Self(Vec::new())
    }
}

/// Adds what saves the rows that changed.
pub(super) fn save_in<'a>(table: &PeopleTable, people: &'a Held<PersonRow>, pipe: &mut Pipe<'a>) -> Expected {
    let mut expected = Expected::nothing();
    for (sql, rows, is_new) in [(table.insert, people.made(), true), (table.update, people.changed(), false)]
    {
        if rows.is_empty() {
            continue;
        }
        let place = pipe.add(
            sql,
            vec![
                column!(rows, (id, _) => *id),
                column!(rows, (_, row) => row.life.state.code()),
                column!(rows, (_, row) => row.life.since),
                column!(rows, (_, row) => row.life.created_by.as_deref()),
                column!(rows, (_, row) => row.content.name.as_deref()),
                column!(rows, (_, row) => row.content.email.as_deref()),
                column!(rows, (_, row) => row.content.subscribed),
                column!(rows, (_, row) => row.content.locale.as_deref()),
                column!(rows, (_, row) => row.content_time),
            ],
        );
        if is_new {
            expected.add(place, rows.len());
        }
    }
    expected
}

pub(super) fn load_in<'a>(table: &PeopleTable, people: &Held<PersonRow>, pipe: &mut Pipe<'a>) -> usize {
    pipe.add(table.load, vec![people.ids()])
}

pub(super) fn of_row(row: &Row) -> Result<PersonRow, Trouble> {
    let content = PersonContent {
        name: row.try_get(4)?,
        email: row.try_get(5)?,
        subscribed: row.try_get(6)?,
        locale: row.try_get(7)?,
    };
    Ok(PersonRow { life: life(row)?, content, content_time: row.try_get(8)? })
}

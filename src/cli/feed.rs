//! What is played: the sample blog, or a file of events with the registrations that it lacks.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::sample::{Sample, SampleRecord};
use crate::event::BlogEvent;
use crate::event::line::{Lines, Subscribed, missing_registrations};

/// Records to publish, in their order.
pub(crate) struct Feed {
    pub(crate) records: Vec<SampleRecord>,
    /// Registrations that were made up from the authors of a file.
    pub(crate) registrations: usize,
    /// Lines of a file that are no events.
    pub(crate) bad_lines: Vec<String>,
}

impl Feed {
    /// The sample blog.
    pub(crate) fn sample(seed: u64, events: u64, now: i64) -> Self {
        let count = usize::try_from(events).unwrap_or(usize::MAX);
        Self {
            records: Sample::new(seed, events, now).take(count).collect(),
            registrations: 0,
            bad_lines: Vec::new(),
        }
    }

    /// A file of events, one JSON object a line, after the registrations of authors that it does not register.
    pub(crate) fn file(path: &Path) -> Result<Self, Failure> {
        let (events, bad_lines) = read(path)?;
        let made = missing_registrations(&events, Subscribed::Nobody);
        let registrations = made.len();
        let made = made.into_iter().map(BlogEvent::UserRegistered);
        let records = made.chain(events).map(SampleRecord::Event).collect();
        Ok(Self { records, registrations, bad_lines })
    }
}

/// Reads a file of events and the complaints about its lines.
pub(crate) fn read(path: &Path) -> Result<(Vec<BlogEvent>, Vec<String>), Failure> {
    let file = File::open(path).map_err(|error| {
        Failure::new(Exit::NotFound, format!("{} cannot be opened: {error}", path.display()))
            .fix("name a file with one JSON event a line; docs/events.md shows the format")
    })?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(Failure::new(Exit::NotFound, format!("{} is a folder", path.display()))
            .fix("name a file with one JSON event a line; docs/events.md shows the format"));
    }
    let (mut events, mut bad) = (Vec::new(), Vec::new());
    for line in Lines::new(BufReader::new(file)) {
        match line {
            Ok(event) => events.push(event),
            Err(error) => bad.push(format!("{}:{}: {}", path.display(), error.line, error.message)),
        }
    }
    Ok((events, bad))
}

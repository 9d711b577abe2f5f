//! The schemas at hand: those built in, and those of a folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::codec::{IndexEntry, OUR_INDEX, OURS, guid_text, parse_index, schema_facts};
use crate::config::Config;
use crate::event::{BlogEvent, EventRecord, EventType, MailRequested, WebhookRequested};

/// All versions of one kind of event, the oldest first; never none.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub(crate) event: String,
    /// Its topic, where it is known.
    pub(crate) topic: Option<String>,
    pub(crate) versions: Vec<Version>,
}

/// One version of a schema.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) number: u32,
    pub(crate) text: String,
    /// The full name of its record.
    pub(crate) record: String,
    /// Where it stands: a file, or that it is built in.
    pub(crate) place: String,
    /// What the index says; `None` where it stands in no index.
    pub(crate) entry: Option<IndexEntry>,
    pub(crate) guid: [u8; 16],
    pub(crate) fingerprint: u64,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalogue {
    pub(crate) kinds: Vec<Kind>,
    /// What is not in order with the folder, with what to do about it.
    pub(crate) faults: Vec<(String, String)>,
}

impl Catalogue {
    /// Reads what is built in, and the folder: the one that is named, else `registry.directory`.
    pub(crate) fn read(config: &Config, folder: Option<&Path>) -> Result<Self, Failure> {
        let mut gathered = Gathered::default();
        for entry in
            parse_index(OUR_INDEX).map_err(|error| Failure::new(Exit::Internal, error.to_string()))?
        {
            let text = OURS.iter().find(|(file, _)| *file == entry.file).map(|(_, text)| *text);
            gathered.add(entry, text.unwrap_or_default(), "built in".to_owned())?;
        }
        if let Some(folder) = folder.or(config.registry.directory.as_deref()) {
            gathered.folder(folder)?;
        }
        Ok(gathered.catalogue())
    }

    /// Finds a kind of event.
    pub(crate) fn kind(&self, event: &str) -> Option<&Kind> {
        self.kinds.iter().find(|kind| kind.event == event)
    }
}

impl Kind {
    /// Returns its newest version.
    pub(crate) fn newest(&self) -> Option<&Version> {
        self.versions.last()
    }

    /// Returns the subject that a version is registered under.
    pub(crate) fn subject(&self, version: &Version, config: &Config) -> Result<String, Failure> {
        use crate::config::SubjectStrategy;
        let strategy = config.registry.subject;
        match (&self.topic, strategy) {
            (Some(topic), _) => Ok(strategy.subject(topic, &version.record)),
            (None, SubjectStrategy::Record) => Ok(strategy.subject("", &version.record)),
            (None, SubjectStrategy::Topic | SubjectStrategy::TopicRecord) => {
                let what =
                    format!("the topic of {} is not known, and its subject is made from it", self.event);
                Err(Failure::new(Exit::Configuration, what)
                    .fix(format!("add topic = \"…\" to an entry of {} in index.toml", self.event)))
            }
        }
    }
}

#[derive(Default)]
struct Gathered {
    kinds: BTreeMap<String, (Option<String>, BTreeMap<u32, Version>)>,
    faults: Vec<(String, String)>,
}

impl Gathered {
    fn add(&mut self, entry: IndexEntry, text: &str, place: String) -> Result<(), Failure> {
        let facts = schema_facts(text).map_err(|error| refused(&place, &error.to_string()))?;
        if facts.fingerprint != entry.fingerprint {
            self.faults.push((
                format!("{place} is not what index.toml says: a shipped schema never changes"),
                format!("put it back, and add the change as version {}", entry.version.saturating_add(1)),
            ));
        }
        let (topic, versions) = self.kinds.entry(entry.event.clone()).or_default();
        if let Some(named) = &entry.topic {
            *topic = Some(named.clone());
        }
        let version = Version {
            number: entry.version,
            text: text.to_owned(),
            record: facts.record.unwrap_or_else(|| entry.event.clone()),
            place,
            guid: entry.guid,
            fingerprint: facts.fingerprint,
            entry: Some(entry),
        };
        versions.insert(version.number, version);
        Ok(())
    }

    fn folder(&mut self, folder: &Path) -> Result<(), Failure> {
        let index = folder.join("index.toml");
        let entries = parse_index(&read(&index)?).map_err(|error| {
            refused(&index.display(), &error.to_string())
                .fix("take the entry out: `postroom schemas check` prints it anew from its file")
        })?;
        let mut files: Vec<PathBuf> = Vec::new();
        for entry in entries {
            let path = folder.join(&entry.file);
            let place = path.display().to_string();
            self.add(entry, &read(&path)?, place)?;
            files.push(path);
        }
        let ids = self.kinds.values().flat_map(|(_, versions)| versions.values());
        let ids = ids.filter_map(|version| version.entry.as_ref().map(|entry| entry.id));
        let mut last = ids.max().unwrap_or(0);
        for (event, number, path) in unlisted(folder)? {
            if files.contains(&path) {
                continue;
            }
            let place = path.display().to_string();
            let text = read(&path)?;
            let facts = schema_facts(&text).map_err(|error| refused(&place, &error.to_string()))?;
            last = last.saturating_add(1);
            let topic = self.kinds.get(&event).and_then(|(topic, _)| topic.clone());
            let topic = topic.or_else(|| our_topic(&event)).unwrap_or_else(|| "…".to_owned());
            self.faults.push((
                format!("{place} stands in no index"),
                format!(
                    "add to {}:\n\n[[schema]]\nevent = \"{event}\"\nversion = {number}\nfile = \"{event}/v{number}.avsc\"\nid = {last}\nguid = \"{}\"\nfingerprint = \"{:016x}\"\ntopic = \"{topic}\"\n",
                    index.display(),
                    guid_text(&facts.guid),
                    facts.fingerprint
                ),
            ));
            let version = Version {
                number,
                record: facts.record.unwrap_or_else(|| event.clone()),
                text,
                place,
                entry: None,
                guid: facts.guid,
                fingerprint: facts.fingerprint,
            };
            self.kinds.entry(event).or_default().1.insert(number, version);
        }
        Ok(())
    }

    fn catalogue(self) -> Catalogue {
        let kinds = self.kinds.into_iter().map(|(event, (topic, versions))| {
            let topic = topic.or_else(|| our_topic(&event));
            Kind { event, topic, versions: versions.into_values().collect() }
        });
        Catalogue { kinds: kinds.collect(), faults: self.faults }
    }
}

/// The kinds that this program knows the topics of.
fn ours() -> impl Iterator<Item = EventType> {
    BlogEvent::TYPES.into_iter().chain([MailRequested::TYPE, WebhookRequested::TYPE])
}

fn our_topic(event: &str) -> Option<String> {
    ours().find(|kind| kind.name == event).map(|kind| kind.topic.to_owned())
}

/// Files of the form `EVENT/vN.avsc`.
fn unlisted(folder: &Path) -> Result<Vec<(String, u32, PathBuf)>, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::new(Exit::NotFound, format!("{} cannot be read: {error}", folder.display()))
    };
    let mut found = Vec::new();
    for event in fs::read_dir(folder).map_err(unreadable)? {
        let event = event.map_err(unreadable)?;
        let Ok(files) = fs::read_dir(event.path()) else { continue };
        for file in files {
            let path = file.map_err(unreadable)?.path();
            let number = path.file_name().and_then(|name| name.to_str()).and_then(|name| {
                name.strip_prefix('v')?
                    .strip_suffix(".avsc")?
                    .parse::<u32>()
                    .ok()
                    .filter(|number| *number > 0)
            });
            if let (Some(number), Some(event)) = (number, event.file_name().to_str()) {
                found.push((event.to_owned(), number, path));
            }
        }
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| {
        Failure::new(Exit::NotFound, format!("{} cannot be read: {error}", path.display()))
            .fix("name a folder with an index.toml; docs/schemas.md shows one")
    })
}

fn refused(place: &dyn std::fmt::Display, why: &str) -> Failure {
    Failure::new(Exit::Data, format!("{place}: {why}"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn the_lines_for_files_that_stand_in_no_index_make_one() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("like.added")).unwrap();
        for (version, field) in [(1, "post"), (2, "page")] {
            let field = format!("{{\"name\": \"{field}\", \"type\": \"string\", \"default\": \"\"}}");
            let text = format!("{{\"type\": \"record\", \"name\": \"LikeAdded\", \"fields\": [{field}]}}");
            fs::write(folder.path().join(format!("like.added/v{version}.avsc")), text).unwrap();
        }
        let index = folder.path().join("index.toml");
        fs::write(&index, "").unwrap();
        let read = || Catalogue::read(&Config::default(), Some(folder.path())).unwrap();

        let lines: String = read()
            .faults
            .iter()
            .filter_map(|(_, fix)| fix.split_once(":\n"))
            .map(|(_, lines)| lines)
            .collect();
        fs::write(&index, &lines).unwrap();

        assert_eq!(read().faults, []);
        let entries = parse_index(&lines).unwrap();
        let last = parse_index(OUR_INDEX).unwrap().iter().map(|entry| entry.id).max().unwrap();
        assert_eq!(entries.iter().map(|entry| entry.id).collect::<Vec<_>>(), [last + 1, last + 2]);
    }
}

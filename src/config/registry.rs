//! `[registry]`.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::choice::choice;
use crate::config::load::Reader;
use crate::config::part::section;
use crate::config::secret::Secret;

section! {
    /// `[registry]`: where writer schemas are found.
    pub struct Registry {
        /// A directory with `index.toml` and the schemas; those built into the program where it is not set.
        directory: Option<PathBuf> = None,
        /// A registry server that speaks Confluent's REST dialect, such as `http://localhost:8081` or `https://apicurio.example/apis/ccompat/v7`. Its ids count then, and not those of the directory.
        url: Option<String> = None,
        /// The user's name at the server.
        username: Option<String> = None,
        /// The user's password.
        password: Option<Secret> = None,
        /// A bearer token, instead of name and password.
        token: Option<Secret> = None,
        /// The authorities to trust beside the system's, in a PEM file.
        ca: Option<PathBuf> = None,
        /// Whether schemas of what we publish are registered where the server lacks them. Without it they are looked up, and whoever would publish what is not there stops with an error.
        auto_register: bool = true,
        /// The subject that such a schema is registered under.
        subject: SubjectStrategy = SubjectStrategy::TopicRecord,
        /// How long one request may take.
        timeout: Duration = Duration::from_secs(10),
        /// How long a schema that the server does not know is waited for, before its records are dead letters.
        grace: Duration = Duration::from_secs(30),
    }
}

choice! {
    /// What schemas are registered under. Readers need none of it: a record names its schema by id or GUID.
    pub enum SubjectStrategy {
        /// The record's full name: the same on every topic.
        Record = "record",
        /// The topic and `-value`: for topics that hold one kind of event.
        Topic = "topic",
        /// The topic, `-` and the record's full name: for topics that hold several kinds.
        TopicRecord = "topic_record",
    }
}

impl SubjectStrategy {
    /// Returns the subject of a record's schema on a topic.
    pub fn subject(self, topic: &str, record: &str) -> String {
        match self {
            Self::Record => record.to_owned(),
            Self::Topic => format!("{topic}-value"),
            Self::TopicRecord => format!("{topic}-{record}"),
        }
    }
}

/// Checks what single values cannot show.
pub(crate) fn check(registry: &Registry, reader: &mut Reader<'_>) {
    let Some(url) = &registry.url else { return };
    match url::Url::parse(url) {
        Ok(url) if !matches!(url.scheme(), "http" | "https") => {
            reader.refuse(
                "registry.url",
                format!("{} is no web address", url.scheme()),
                "write http:// or https://",
            );
        }
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            reader.refuse(
                "registry.url",
                "it holds credentials",
                "set registry.username and registry.password_file",
            );
        }
        Ok(_) => {}
        Err(error) => {
            reader.refuse("registry.url", format!("it is no address: {error}"), "write http://host:port")
        }
    }
    if registry.directory.is_some() {
        reader.refuse(
            "registry.directory",
            "registry.url is set too, and the same id cannot mean two schemas",
            "set one of the two",
        );
    }
    if registry.token.is_some() && registry.username.is_some() {
        reader.refuse("registry.token", "registry.username is set too", "set one of the two");
    }
}

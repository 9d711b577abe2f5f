//! The configuration tree: load, check, explain, redact.
//!
//! Values come in four layers, each above the one before: defaults, the file (`postroom.toml`), the environment
//! (`POSTROOM_KAFKA__BROKERS`, two underscores between levels), flags. Every problem is reported at once, with the place it
//! comes from. Secrets may stand in files (`…_file`) and are never displayed.

mod check;
mod choice;
mod file;
mod instance;
mod leaf;
mod librdkafka;
mod lines;
mod load;
mod mail;
mod objects;
mod part;
mod pattern;
mod problem;
mod protection;
mod purge;
mod reference;
mod registry;
mod secret;
mod sections;
mod size;
mod span;
mod store;
mod thumbnails;
mod webhooks;

pub(crate) use check::THUMBNAILS_DEADLINE;
pub use instance::InstanceId;
pub use leaf::{Broker, Brokers, Listen, Template};
pub use librdkafka::RawProperties;
pub use load::{Flag, Loaded, Origin, Setting, Sources, load};
pub(crate) use mail::MAILS_AT_ONCE;
pub use mail::{MailSection, MailSecurity, OnUnknown, Relay, Sender, UrlTemplate};
pub use objects::{Objects, Place, S3Section};
pub use pattern::{CacheUrl, Field, KeyPatterns, Pattern, Piece, UrlPatterns};
pub use problem::{Problem, Problems};
pub use purge::{HeaderName, HostName, Purge, RedisUrl};
pub use reference::reference;
pub use registry::{Registry, SubjectStrategy};
pub use secret::Secret;
pub use sections::{
    Admin, Backoff, Config, DeadLetterLimit, Effect, Effects, GroupProtocol, Http, Kafka, Log, LogFormat,
    Memory, OnGap, Sasl, SaslMechanism, Security, Shutdown, Start, Tls, Topics,
};
pub use size::ByteSize;
pub(crate) use span::{parse as parse_span, written};
pub use store::{PostgresUrl, StoreSection, StoreUrl};
pub use thumbnails::{Thumbnails, Widths};
pub use webhooks::{Allowed, AllowedHosts, Ports, Webhooks};

//! The page at `/` and what it reads: groups, latest events, stories, dead letters; in a demo mails and thumbnails.
//!
//! It is made on the server and whole without its script, which only keeps parts of it fresh. Nothing on it changes
//! anything. Whatever came from outside is escaped, marked where it cannot be seen, and masked where it is an address.

#![expect(
    clippy::disallowed_methods,
    reason = "rates, rests and ages on a page: the console reads the clock"
)]

mod assets;
mod caused;
mod events;
mod groups;
mod headers;
mod letters;
mod mails;
mod pages;
mod rates;
mod scale;
pub(crate) mod search;
mod story;
mod text;
mod thumbs;
mod views;
mod words;

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::middleware::from_fn;
use axum::routing::get;
use minijinja::{AutoEscape, Environment, Value};

pub use mails::{Mail, MailLine, Mailbox};

pub(crate) use caused::caused;
pub use story::{Caused, GroupStory, Standing, Story, Tried};
pub(crate) use story::{Mark, Material, tell};
pub use text::{marked, masked, masked_fields};
pub use thumbs::{Gallery, GalleryFuture, Thumb};
pub(crate) use views::standing;
pub(crate) use words::{from_now, rfc3339};

use crate::adapters::store::AnyStore;
use crate::config::Config;
use crate::console::letters::Letters;
use crate::console::pages::{Desk, Parts};
use crate::console::rates::Rates;
use crate::console::scale::Scale;
use crate::runtime::{Group, connection};
use crate::telemetry::Board;

/// The pages of a process. What they show comes in as it is opened.
#[derive(Clone)]
pub struct Console {
    desk: Desk,
}

impl Console {
    /// Makes the pages of a process with this configuration and board.
    pub fn new(config: &Config, board: &Arc<Board>) -> Self {
        let parts = Parts {
            board: Arc::clone(board),
            store: OnceLock::new(),
            mailbox: OnceLock::new(),
            gallery: OnceLock::new(),
            letters: Letters::new(connection(config), config.topics.dead_letter.to_string()),
            rates: Rates::default(),
            scale: Scale::new(connection(config)),
            templates: templates(),
        };
        Self { desk: Desk { parts: Arc::new(parts) } }
    }

    /// Shows what this store holds. The first one stays.
    pub fn show_store(&self, store: &AnyStore) {
        self.desk.parts.store.get_or_init(|| store.clone());
    }

    /// Answers for these groups at `/api/scale`. The first ones stay.
    pub fn scale_by(&self, config: &Config, groups: &[Group]) {
        self.desk.parts.scale.of(config, groups);
    }

    /// Shows these mails. The first mailbox stays.
    pub fn show_mails(&self, mailbox: Arc<dyn Mailbox>) {
        self.desk.parts.mailbox.get_or_init(|| mailbox);
    }

    /// Shows these thumbnails. The first gallery stays.
    pub fn show_thumbs(&self, gallery: Arc<dyn Gallery>) {
        self.desk.parts.gallery.get_or_init(|| gallery);
    }

    /// Ends what it does in the background, and waits for that: an embedded broker must outlive it.
    pub fn close(&self) {
        self.desk.parts.letters.close();
    }

    /// Returns the pages, for a server that decides who may see them.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/", get(pages::home))
            .route("/events/{*id}", get(pages::story))
            .route("/mails/{number}", get(mails::show))
            .route("/mails/{number}/html", get(mails::html))
            .route("/thumbs/{*name}", get(thumbs::serve))
            .route("/assets/{name}", get(assets::serve))
            .route("/api/page/{part}", get(pages::part))
            .route("/search", get(search::page))
            .route("/api/search", get(search::search))
            .route("/api/scale", get(scale::scale))
            .route("/api/events", get(pages::api_events))
            .route("/api/events/{*id}", get(pages::api_story))
            .fallback(pages::nothing)
            .with_state(self.desk.clone())
            .layer(from_fn(headers::guarded))
    }
}

/// All templates; what is put into them is escaped and marked by [`text::html`], or by [`text::flat`] where they say so.
fn templates() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_name| AutoEscape::Html);
    environment.set_formatter(|out, _state, value: &Value| {
        if value.is_undefined() || value.is_none() {
            return Ok(());
        }
        let text = value.to_string();
        let text = if value.is_safe() { text } else { text::html(&text) };
        out.write_str(&text).map_err(Into::into)
    });
    environment.add_filter("flat", |value: &Value| match value.is_undefined() || value.is_none() {
        true => Value::from(""),
        false => Value::from_safe_string(text::flat(&value.to_string())),
    });
    for (name, source) in TEMPLATES {
        if let Err(error) = environment.add_template(name, source) {
            tracing::error!(%error, name, "a template of the page is broken");
        }
    }
    environment
}

const TEMPLATES: [(&str, &str); 13] = [
    ("base.html", include_str!("templates/base.html")),
    ("home.html", include_str!("templates/home.html")),
    ("macros.html", include_str!("templates/macros.html")),
    ("mail.html", include_str!("templates/mail.html")),
    ("missing.html", include_str!("templates/missing.html")),
    ("part_events.html", include_str!("templates/part_events.html")),
    ("part_groups.html", include_str!("templates/part_groups.html")),
    ("part_letters.html", include_str!("templates/part_letters.html")),
    ("part_mails.html", include_str!("templates/part_mails.html")),
    ("part_summary.html", include_str!("templates/part_summary.html")),
    ("search.html", include_str!("templates/search.html")),
    ("part_thumbs.html", include_str!("templates/part_thumbs.html")),
    ("story.html", include_str!("templates/story.html")),
];

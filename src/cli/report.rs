//! What a demo has done, for people and for programs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::adapters::store::Summary;
use crate::cli::failure::Failure;
use crate::cli::feed::Feed;
use crate::cli::publish::Counts;
use crate::cli::terminal::{Style, Terminal, table};
use crate::runtime::Service;
use crate::telemetry::Status;

/// The figures.
pub(crate) struct Report {
    published: Counts,
    registrations: usize,
    bad_lines: usize,
    status: Status,
    summary: Summary,
    took: Duration,
}

impl Report {
    /// Reads the figures.
    pub(crate) async fn collect(
        service: &Service,
        published: &Counts,
        feed: &Feed,
        took: Duration,
    ) -> Result<Self, Failure> {
        Ok(Self {
            published: published.clone(),
            registrations: feed.registrations,
            bad_lines: feed.bad_lines.len(),
            status: service.status(),
            summary: service.store().summary(TOP).await?,
            took,
        })
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let by_group = |of: fn(&crate::telemetry::Totals) -> &BTreeMap<String, u64>| -> Value {
            self.status.groups.iter().map(|group| (group.group.clone(), json!(of(&group.totals)))).collect()
        };
        let notifications: BTreeMap<_, _> =
            self.summary.notifications.iter().map(|one| (one.reason.as_str(), one.count)).collect();
        json!({
            "events": {
                "published": self.published.total(),
                "spoilt": self.published.spoilt,
                "registrations_made": self.registrations,
                "lines_left_out": self.bad_lines,
                "by_type": self.published.by_type,
                "by_topic": self.published.by_topic,
            },
            "effects": by_group(|totals| &totals.by_outcome),
            "dead_letters": by_group(|totals| &totals.dead_letters),
            "retries": self.status.totals.retries,
            "tables": {
                "posts": self.summary.posts,
                "comments": self.summary.comments,
                "people": self.summary.people,
                "authors": self.summary.authors,
                "notifications": notifications,
            },
            "seconds": self.took.as_secs_f64(),
        })
    }

    /// For people.
    pub(crate) fn text(&self, terminal: &Terminal) -> String {
        let seconds = self.took.as_secs_f64();
        let mut text = format!(
            "\n{} {} events in {seconds:.1} s, {} of them spoilt on purpose\n\n",
            terminal.styled(Style::Good, "done:"),
            self.published.total(),
            self.published.spoilt
        );
        text.push_str(&self.events());
        text.push_str(&self.effects());
        text.push_str(&self.blog());
        text.push_str(&next_commands(terminal, &self.status));
        text
    }

    fn events(&self) -> String {
        let rows: Vec<_> = self
            .published
            .by_type
            .iter()
            .map(|(name, count)| vec![(*name).to_owned(), count.to_string()])
            .collect();
        format!("{}\n", table(&["event", "published"], &rows))
    }

    fn effects(&self) -> String {
        let listed = |counts: &BTreeMap<String, u64>| {
            let words: Vec<_> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
            if words.is_empty() { "–".to_owned() } else { words.join(", ") }
        };
        let rows: Vec<_> = self
            .status
            .groups
            .iter()
            .map(|group| {
                vec![
                    group.group.clone(),
                    listed(&group.totals.by_outcome),
                    listed(&group.totals.dead_letters),
                ]
            })
            .collect();
        format!("{}\n", table(&["group", "finished", "dead letters"], &rows))
    }

    fn blog(&self) -> String {
        let summary = &self.summary;
        let told: Vec<_> =
            summary.notifications.iter().map(|one| format!("{} for a {}", one.count, one.reason)).collect();
        let mut text = format!(
            "the blog now has {} posts, {} comments, {} people; notifications: {}\n",
            summary.posts,
            summary.comments,
            summary.people,
            if told.is_empty() { "none".to_owned() } else { told.join(", ") }
        );
        let authors: Vec<_> = summary
            .top_authors
            .iter()
            .map(|one| vec![one.author.clone(), one.posts.to_string(), one.comments.to_string()])
            .collect();
        let posts: Vec<_> = summary
            .top_posts
            .iter()
            .map(|one| vec![one.title.clone().unwrap_or_else(|| one.post.clone()), one.comments.to_string()])
            .collect();
        if !authors.is_empty() {
            text.push_str(&format!("\n{}", table(&["busiest authors", "posts", "comments"], &authors)));
        }
        if !posts.is_empty() {
            text.push_str(&format!("\n{}", table(&["most discussed", "comments"], &posts)));
        }
        text
    }
}

/// What to try next.
fn next_commands(terminal: &Terminal, status: &Status) -> String {
    let dead = status.groups.iter().find(|group| !group.totals.dead_letters.is_empty());
    let replay = dead.map(|group| format!("postroom dlq replay --group {}", group.group));
    let commands = [
        Some("postroom status".to_owned()),
        Some("postroom search low tide".to_owned()),
        Some("postroom dlq ls".to_owned()),
        replay,
        Some("postroom tail blog.comments -n 3".to_owned()),
        Some("postroom emit comment.created post_id=hello comment_id=c1 author=ada body='First!'".to_owned()),
    ];
    let lines: Vec<_> = commands.into_iter().flatten().map(|command| format!("  {command}")).collect();
    format!("\n{}\n{}\n", terminal.styled(Style::Strong, "try next, in another terminal:"), lines.join("\n"))
}

/// How many authors and posts are named.
const TOP: u32 = 5;

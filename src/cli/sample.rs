//! A blog that lives: the events that `demo` plays where no file is named. The same seed gives the same blog.

use std::collections::VecDeque;

use fastrand::Rng;

use crate::cli::gallery::{self, Picture};
use crate::cli::poison::Poison;
use crate::cli::words;
use crate::event::{
    BlogEvent, CommentCreated, CommentRemoved, CommentUpdated, ImageUploaded, PostPublished, PostRemoved,
    PostUpdated, UserRegistered, UserUpdated,
};

/// Something to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SampleRecord {
    /// An event as a blog's software would write it.
    Event(BlogEvent),
    /// An event that is spoilt on its way.
    Spoilt(BlogEvent, Poison),
}

/// An endless blog, in the order of its events' times.
#[derive(Debug)]
pub struct Sample {
    rng: Rng,
    time: i64,
    step: u64,
    people: Vec<String>,
    posts: Vec<Post>,
    comments: Vec<Comment>,
    waiting: VecDeque<BlogEvent>,
    poison: VecDeque<(u64, Poison)>,
    made: u64,
    uploads: usize,
}

#[derive(Clone, Debug)]
struct Post {
    id: String,
    slug: String,
    author: String,
}

#[derive(Clone, Debug)]
struct Comment {
    id: String,
    post: String,
    author: String,
}

impl Sample {
    /// Starts a blog of `events` events that ends about `now` (milliseconds since the Unix epoch). Each kind of poison comes
    /// once in it, spread out.
    pub fn new(seed: u64, events: u64, now: i64) -> Self {
        let step = 90_000;
        let span = i64::try_from(events.saturating_mul(step)).unwrap_or(i64::MAX);
        let kinds = u64::try_from(Poison::ALL.len()).unwrap_or(1);
        let gap = events / kinds.saturating_add(1);
        let poison =
            Poison::ALL.iter().zip(1..).map(|(kind, nth)| (gap.saturating_mul(nth), *kind)).collect();
        let mut sample = Self {
            rng: Rng::with_seed(seed),
            time: now.saturating_sub(span),
            step,
            people: Vec::new(),
            posts: Vec::new(),
            comments: Vec::new(),
            waiting: VecDeque::new(),
            poison,
            made: 0,
            uploads: 0,
        };
        for name in words::FOUNDERS {
            sample.register(name);
        }
        sample
    }

    fn register(&mut self, name: &str) {
        let event = UserRegistered {
            event_id: self.event_id(),
            blog: BLOG.to_owned(),
            user_id: name.to_owned(),
            name: Some(capitalised(name)),
            email: Some(format!("{name}@example.org")),
            occurred_at: self.later(),
            subscribed: self.rng.u8(0..3) == 0,
            locale: "en".to_owned(),
            ..UserRegistered::default()
        };
        self.people.push(name.to_owned());
        self.waiting.push_back(BlogEvent::UserRegistered(event));
    }

    /// Decides what happens next: mostly comments, as on a real blog.
    fn happen(&mut self) {
        match self.rng.u8(0..100) {
            0..5 => self.newcomer(),
            5..20 => self.publish(),
            20..26 => self.edit_post(),
            26..28 => self.remove_post(),
            28..29 => self.upload(),
            31..36 => self.edit_comment(),
            36..41 => self.remove_comment(),
            41..43 => self.move_house(),
            _ => self.comment(),
        }
    }

    fn newcomer(&mut self) {
        let first = self.pick(&words::NAMES);
        let name = format!("{first}{}", self.people.len());
        self.register(&name);
    }

    fn publish(&mut self) {
        let title = format!(
            "{} {} {}",
            self.pick(&words::OPENINGS),
            self.pick(&words::SUBJECTS),
            self.pick(&words::ENDINGS)
        );
        let slug = format!("{}-{}", slug(&title), self.posts.len());
        let body = self.text(2, 6);
        let section = self.pick(&words::SECTIONS).to_owned();
        let event = PostPublished {
            event_id: self.event_id(),
            blog: BLOG.to_owned(),
            post_id: format!("post:{slug}"),
            author: self.person(),
            title: Some(title),
            slug: slug.clone(),
            section: Some(section.clone()),
            format: Some("markdown".to_owned()),
            body_bytes: i64::try_from(body.len()).ok(),
            body: Some(body),
            occurred_at: self.later(),
            tags: vec![section],
            ..PostPublished::default()
        };
        self.posts.push(Post { id: event.post_id.clone(), slug, author: event.author.clone() });
        self.waiting.push_back(BlogEvent::PostPublished(event));
    }

    fn edit_post(&mut self) {
        let Some(post) = self.some_post() else { return self.publish() };
        let body = self.text(2, 7);
        let event = PostUpdated {
            event_id: self.event_id(),
            blog: BLOG.to_owned(),
            post_id: post.id,
            editor: post.author,
            body_bytes: i64::try_from(body.len()).ok(),
            body: Some(body),
            occurred_at: self.later(),
            ..PostUpdated::default()
        };
        self.waiting.push_back(BlogEvent::PostUpdated(event));
    }

    fn remove_post(&mut self) {
        // The oldest stay: a blog without posts is no sight.
        if self.posts.len() < 8 {
            return self.publish();
        }
        let post = self.posts.swap_remove(self.rng.usize(4..self.posts.len()));
        self.comments.retain(|comment| comment.post != post.id);
        let event = PostRemoved {
            event_id: self.event_id(),
            blog: BLOG.to_owned(),
            post_id: post.id,
            editor: post.author,
            occurred_at: self.later(),
            ..PostRemoved::default()
        };
        self.waiting.push_back(BlogEvent::PostRemoved(event));
    }

    fn comment(&mut self) {
        let Some(post) = self.some_post() else { return self.publish() };
        let answered: Vec<_> =
            self.comments.iter().filter(|comment| comment.post == post.id).cloned().collect();
        let parent = if self.rng.bool() { self.rng.choice(answered) } else { None };
        let id = self.comments.len().saturating_add(usize::try_from(self.made).unwrap_or_default());
        let slug = format!("{}/comment-{id}", post.slug);
        let body = self.text(1, 3);
        let event = CommentCreated {
            event_id: self.event_id(),
            blog: BLOG.to_owned(),
            comment_id: format!("comment:{slug}"),
            post_id: post.id.clone(),
            author: self.person(),
            format: Some("markdown".to_owned()),
            body_bytes: i64::try_from(body.len()).ok(),
            body: Some(body),
            occurred_at: self.later(),
            parent_comment_id: parent.map(|comment| comment.id),
            slug,
            ..CommentCreated::default()
        };
        let comment = Comment { id: event.comment_id.clone(), post: post.id, author: event.author.clone() };
        self.comments.push(comment);
        self.waiting.push_back(BlogEvent::CommentCreated(event));
    }

    fn edit_comment(&mut self) {
        let Some(comment) = self.rng.choice(&self.comments).cloned() else { return self.comment() };
        let body = self.text(1, 3);
        let event = CommentUpdated {
            event_id: self.event_id(),
            blog: BLOG.to_owned(),
            comment_id: comment.id,
            post_id: comment.post,
            editor: comment.author,
            body_bytes: i64::try_from(body.len()).ok(),
            body: Some(body),
            occurred_at: self.later(),
            ..CommentUpdated::default()
        };
        self.waiting.push_back(BlogEvent::CommentUpdated(event));
    }

    fn remove_comment(&mut self) {
        if self.comments.is_empty() {
            return self.comment();
        }
        let comment = self.comments.swap_remove(self.rng.usize(..self.comments.len()));
        let event = CommentRemoved {
            event_id: self.event_id(),
            blog: BLOG.to_owned(),
            comment_id: comment.id,
            post_id: comment.post,
            editor: comment.author,
            occurred_at: self.later(),
            ..CommentRemoved::default()
        };
        self.waiting.push_back(BlogEvent::CommentRemoved(event));
    }

    fn upload(&mut self) {
        let Some(post) = self.some_post() else { return self.publish() };
        let picture = self.picture();
        let event = ImageUploaded {
            event_id: self.event_id(),
            blog: BLOG.to_owned(),
            object_key: format!("images/{}/{}.{}", post.slug, self.rng.u16(..), picture.extension),
            media_type: picture.media_type.to_owned(),
            sha256: picture.sha256.clone(),
            size: i64::try_from(picture.bytes.len()).unwrap_or(i64::MAX),
            post_id: Some(post.id),
            author: Some(post.author),
            occurred_at: self.later(),
            ..ImageUploaded::default()
        };
        self.waiting.push_back(BlogEvent::ImageUploaded(event));
    }

    /// Chooses what is uploaded: now and then something broken, each kind once.
    fn picture(&mut self) -> &'static Picture {
        self.uploads = self.uploads.saturating_add(1);
        match BROKEN_UPLOADS.iter().position(|at| *at == self.uploads) {
            Some(kind) => gallery::broken(kind),
            None => gallery::good(self.rng.usize(..)),
        }
    }

    fn move_house(&mut self) {
        let user_id = self.person();
        let event = UserUpdated {
            event_id: self.event_id(),
            blog: BLOG.to_owned(),
            email: Some(format!("{user_id}@mail.example.org")),
            user_id,
            subscribed: Some(self.rng.bool()),
            occurred_at: self.later(),
            ..UserUpdated::default()
        };
        self.waiting.push_back(BlogEvent::UserUpdated(event));
    }

    fn event_id(&mut self) -> String {
        format!("{:016x}", self.rng.u64(..))
    }

    fn later(&mut self) -> i64 {
        let step = self.rng.u64(1..self.step.saturating_mul(2));
        self.time = self.time.saturating_add(i64::try_from(step).unwrap_or_default());
        self.time
    }

    fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        self.rng.choice(words.iter()).copied().unwrap_or_default()
    }

    fn person(&mut self) -> String {
        // A few people write most: the smaller of two draws.
        let count = self.people.len().max(1);
        let place = self.rng.usize(..count).min(self.rng.usize(..count));
        self.people.get(place).cloned().unwrap_or_default()
    }

    /// The newer, the likelier.
    fn some_post(&mut self) -> Option<Post> {
        let count = self.posts.len();
        if count == 0 {
            return None;
        }
        let place = self.rng.usize(..count).max(self.rng.usize(..count));
        self.posts.get(place).cloned()
    }

    fn text(&mut self, fewest: usize, most: usize) -> String {
        let count = self.rng.usize(fewest..=most);
        let sentences: Vec<_> = (0..count).map(|_| self.pick(&words::SENTENCES)).collect();
        sentences.join(" ")
    }
}

impl Iterator for Sample {
    type Item = SampleRecord;

    fn next(&mut self) -> Option<SampleRecord> {
        while self.waiting.is_empty() {
            self.happen();
        }
        let event = self.waiting.pop_front()?;
        self.made = self.made.saturating_add(1);
        let due = self.poison.front().is_some_and(|(at, _)| *at < self.made);
        // Every effect wants new comments, and nothing else hangs on one of them.
        let spare = matches!(event, BlogEvent::CommentCreated(_));
        if due
            && spare
            && let Some((_, poison)) = self.poison.pop_front()
        {
            return Some(SampleRecord::Spoilt(event, poison));
        }
        Some(SampleRecord::Event(event))
    }
}

fn slug(title: &str) -> String {
    title
        .to_lowercase()
        .split(|char: char| !char.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("-")
}

fn capitalised(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// The name of the blog.
pub(crate) const BLOG: &str = "harbour-notes";

/// Which uploads are broken ones, counted from 1.
const BROKEN_UPLOADS: [usize; 3] = [3, 6, 9];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn records(seed: u64, count: usize) -> Vec<SampleRecord> {
        let events = u64::try_from(count).unwrap_or_default();
        Sample::new(seed, events, 1_700_000_000_000).take(count).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_blog() {
        assert_eq!(records(7, 500), records(7, 500));
        assert_ne!(records(7, 500), records(8, 500));
    }

    #[test]
    fn every_kind_of_event_but_removed_users_and_every_kind_of_poison_comes() {
        let records = records(1, 1_000);

        let kinds: BTreeSet<_> = records
            .iter()
            .map(|record| match record {
                SampleRecord::Event(event) | SampleRecord::Spoilt(event, _) => event.event_type().name,
            })
            .collect();
        let poison = records.iter().filter(|record| matches!(record, SampleRecord::Spoilt(..))).count();
        assert_eq!(kinds.len(), BlogEvent::TYPES.len() - 1);
        assert_eq!(poison, Poison::ALL.len());
    }

    #[test]
    fn event_ids_are_not_used_twice_and_times_do_not_go_back() {
        let mut ids = BTreeSet::new();
        let mut last = i64::MIN;
        for record in records(3, 2_000) {
            let (SampleRecord::Event(event) | SampleRecord::Spoilt(event, _)) = record;
            assert!(ids.insert(event.event_id().to_owned()), "{} comes twice", event.event_id());
            assert!(event.occurred_at() > last);
            last = event.occurred_at();
        }
    }
}

//! `postroom mail preview`: a mail as it would be sent, without sending it.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::cli::args::{Global, MailPreviewArgs};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::mail::{now, stationery};
use crate::cli::settings::loaded;
use crate::cli::terminal::{Style, Terminal};
use crate::config::{Sender, UrlTemplate, written};
use crate::effects::mail::Letter;
use crate::event::line::Lines;
use crate::event::{BlogEvent, MailRequested, PostPublished, time};

/// The largest event that is read, in bytes.
const LIMIT: u64 = 16 * 1024 * 1024;

pub(crate) fn run(
    global: &Global,
    arguments: &MailPreviewArgs,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let mut mail = loaded(global, terminal)?.config.mail;
    let (request, origin) = request(&read(&arguments.event)?)?;
    // What is not configured yet is made up, so that templates can be written before there is a relay.
    if mail.link.is_none() {
        mail.link = UrlTemplate::read("https://blog.example/{slug}").ok();
    }
    if mail.unsubscribe.is_none() {
        mail.unsubscribe =
            UrlTemplate::read("https://blog.example/unsubscribe?who={recipient}&what={reason}").ok();
    }
    let from = match mail.from.clone() {
        Some(from) => from,
        None => made_up_sender()?,
    };
    let letter = stationery(&mail, &from)?
        .write(&request, now())
        .map_err(|why| Failure::new(Exit::Data, format!("no mail can be made of it: {why}")))?;
    show(&letter, arguments, terminal)?;
    if origin == Origin::Event
        && let Some(age) = too_old(request.occurred_at, now(), mail.max_age)
    {
        terminal.say(&format!(
            "{} the event is {} old, and mail.max_age = {}: no mail would be sent about it",
            terminal.err_styled(Style::Warning, "warning:"),
            written(age),
            written(mail.max_age)
        ));
    }
    Ok(Exit::Ok)
}

/// What a preview was made of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// An event that would cause a request, if it is young enough.
    Event,
    /// A request: whoever wrote it has decided.
    Request,
}

/// Returns the age of an event about which no mail is asked for, in whole seconds.
fn too_old(occurred_at: i64, now: i64, max_age: Duration) -> Option<Duration> {
    let age = Duration::from_millis(u64::try_from(now.saturating_sub(occurred_at)).unwrap_or_default());
    (age > max_age).then(|| Duration::from_secs(age.as_secs()))
}

fn show(letter: &Letter, arguments: &MailPreviewArgs, terminal: &mut Terminal) -> Result<(), Failure> {
    let message = String::from_utf8_lossy(&letter.mail.message).into_owned();
    if arguments.eml {
        return terminal.text(&message);
    }
    match arguments.html.as_deref() {
        Some(path) if path == Path::new("-") => return terminal.text(&letter.html),
        Some(path) => {
            fs::write(path, &letter.html).map_err(|error| {
                Failure::new(Exit::CannotCreate, format!("{} cannot be written: {error}", path.display()))
            })?;
        }
        None => {}
    }
    let (headers, _body) = message.split_once("\r\n\r\n").unwrap_or((&message, ""));
    for line in headers.lines() {
        terminal.line(&terminal.styled(Style::Faint, line))?;
    }
    terminal.line("")?;
    terminal.line(&format!(
        "{}{}",
        terminal.styled(Style::Faint, "Subject, as it reads: "),
        letter.subject
    ))?;
    terminal.line("")?;
    terminal.line(letter.text.trim_end())?;
    if let Some(path) = &arguments.html {
        terminal.say(&format!("the HTML is in {}", path.display()));
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, Failure> {
    let unreadable = |error: io::Error| {
        Failure::new(Exit::NotFound, format!("{} cannot be read: {error}", path.display()))
            .fix("name a file with one JSON event; docs/mail.md shows some")
    };
    let mut text = String::new();
    let source: Box<dyn Read> = match path == Path::new("-") {
        true => Box::new(io::stdin()),
        false => Box::new(fs::File::open(path).map_err(unreadable)?),
    };
    source.take(LIMIT).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

/// Takes the JSON as a request, or makes a request of an event that would cause one.
fn request(text: &str) -> Result<(MailRequested, Origin), Failure> {
    let data = |why: String| {
        Failure::new(Exit::Data, why)
            .fix("give a mail.requested, comment.created, post.published or user.registered as JSON; docs/mail.md shows some")
    };
    let value: Value =
        serde_json::from_str(text).map_err(|error| data(format!("it is not one JSON object: {error}")))?;
    let kind = value.get("type").and_then(Value::as_str);
    if kind == Some("mail.requested") || kind.is_none() && value.get("reason").is_some() {
        let request = asked_for(value).map_err(|why| data(format!("it is no mail.requested: {why}")))?;
        return Ok((request, Origin::Request));
    }
    let line = value.to_string();
    match Lines::new(line.as_bytes()).next() {
        Some(Ok(event)) => {
            let request = from_event(event);
            let request = request.ok_or_else(|| data("events of this kind cause no mail".to_owned()))?;
            Ok((request, Origin::Event))
        }
        Some(Err(error)) => Err(data(error.message)),
        None => Err(data("it is empty".to_owned())),
    }
}

fn asked_for(mut value: Value) -> Result<MailRequested, String> {
    for field in ["occurred_at", "requested_at"] {
        if let Some(written) = value.get_mut(field) {
            let millis = written.as_str().map(time::parse).transpose()?;
            if let Some(millis) = millis {
                *written = Value::from(millis);
            }
        }
    }
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// The request that an event would cause, for a reader who is made up.
fn from_event(event: BlogEvent) -> Option<MailRequested> {
    let reader = MailRequested {
        event_id: format!("preview/{}", event.event_id()),
        blog: event.blog().to_owned(),
        recipient: "reader".to_owned(),
        address: "reader@example.org".to_owned(),
        name: Some("A. Reader".to_owned()),
        locale: "en".to_owned(),
        source_event: event.event_id().to_owned(),
        occurred_at: event.occurred_at(),
        requested_at: event.occurred_at(),
        ..MailRequested::default()
    };
    match event {
        BlogEvent::CommentCreated(comment) => Some(MailRequested {
            reason: "comment".to_owned(),
            post_title: Some(format!("The post {}", comment.post_id)),
            post_slug: Some(comment.slug).filter(|slug| !slug.is_empty()),
            post_id: Some(comment.post_id),
            comment_id: Some(comment.comment_id),
            author_name: Some(comment.author.clone()),
            author: Some(comment.author),
            format: comment.format,
            text: comment.body,
            ..reader
        }),
        BlogEvent::PostPublished(PostPublished { post_id, title, slug, author, format, body, .. }) => {
            Some(MailRequested {
                reason: "post".to_owned(),
                post_title: title,
                post_slug: Some(slug).filter(|slug| !slug.is_empty()),
                post_id: Some(post_id),
                author_name: Some(author.clone()),
                author: Some(author),
                format,
                text: body,
                ..reader
            })
        }
        BlogEvent::UserRegistered(user) => Some(MailRequested {
            reason: "welcome".to_owned(),
            address: user.email.unwrap_or(reader.address),
            name: user.name,
            recipient: user.user_id,
            locale: user.locale,
            ..reader
        }),
        BlogEvent::CommentRemoved(_)
        | BlogEvent::CommentUpdated(_)
        | BlogEvent::ImageUploaded(_)
        | BlogEvent::PostRemoved(_)
        | BlogEvent::PostUpdated(_)
        | BlogEvent::UserRemoved(_)
        | BlogEvent::UserUpdated(_) => None,
    }
}

fn made_up_sender() -> Result<Sender, Failure> {
    let made_up = "The Blog <blog@blog.example>".parse();
    made_up.map(Sender).map_err(|error| Failure::new(Exit::Internal, format!("the made-up sender: {error}")))
}

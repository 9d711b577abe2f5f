//! From a request to a message: who gets it, what it says, its headers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart, SinglePart};
use minijinja::Value;
use sha2::{Digest, Sha256};

use super::templates::{Rendered, Templates, View};
use super::{Reason, address, text};
use crate::config::UrlTemplate;
use crate::event::{MailRequested, time};
use crate::ports::Mail;

/// The longest name, title and subject, in characters.
const NAME: usize = 64;
const TITLE: usize = 200;
const SUBJECT: usize = 150;
/// The longest id of a recipient, in bytes: percent-encoded it still fits a header's line.
const RECIPIENT: usize = 200;

/// What all mails have in common.
#[derive(Debug)]
pub struct Stationery {
    /// Whom they come from.
    pub from: Mailbox,
    /// The domain of message ids.
    pub domain: String,
    /// The address of a post, with `{slug}`.
    pub link: Option<UrlTemplate>,
    /// Where to unsubscribe, with `{recipient}` and `{reason}`.
    pub unsubscribe: Option<UrlTemplate>,
    /// What they say.
    pub templates: Templates,
}

impl Stationery {
    /// Writes the mail that is asked for. `now` is its date, in milliseconds since the Unix epoch; nothing else differs
    /// from one attempt to the next.
    ///
    /// # Errors
    /// The request can never become a mail: says why.
    pub fn write(&self, request: &MailRequested, now: i64) -> Result<Letter, String> {
        let to = address::read(&request.address)?;
        let reason = Reason::read(&request.reason)
            .ok_or_else(|| format!("{:?} is no reason to write", text::line(&request.reason, NAME)))?;
        if request.recipient.is_empty() || request.recipient.len() > RECIPIENT {
            return Err(format!("the recipient's id is empty or longer than {RECIPIENT} bytes"));
        }
        let unsubscribe = self.unsubscribe.as_ref().map(|template| {
            template.fill(&[("recipient", &request.recipient), ("reason", reason.word())], false)
        });
        let view = self.view(request, reason, unsubscribe.clone());
        let rendered = self.templates.render(reason, &view).map_err(|problem| problem.to_string())?;
        let to = Mailbox::new(view.name, to);
        let message = self.message(request, reason, to.clone(), &rendered, unsubscribe, now)?;
        let mail = Mail {
            from: self.from.email.to_string(),
            to: to.email.to_string(),
            message: message.formatted(),
        };
        let subject = text::line(&rendered.subject, SUBJECT);
        Ok(Letter { mail, subject, text: rendered.text, html: rendered.html })
    }

    fn view(&self, request: &MailRequested, reason: Reason, unsubscribe: Option<String>) -> View {
        let line = |value: &Option<String>, longest| {
            value.as_ref().map(|value| text::line(value, longest)).filter(|value| !value.is_empty())
        };
        let author = line(&request.author, NAME);
        let format = request.format.as_deref();
        let written = request.text.as_deref().filter(|text| !text.trim().is_empty());
        let link = self.link.as_ref().zip(request.post_slug.as_ref());
        View {
            author_name: line(&request.author_name, NAME)
                .or_else(|| author.clone())
                .unwrap_or_else(|| "Somebody".to_owned()),
            author,
            blog: text::line(&request.blog, NAME),
            html: written
                .map_or_else(|| Value::from(()), |text| Value::from_safe_string(text::html(text, format))),
            link: link.map(|(template, slug)| template.fill(&[("slug", slug.trim_start_matches('/'))], true)),
            locale: text::line(&request.locale, 35),
            name: line(&request.name, NAME),
            occurred_at: time::write(request.occurred_at),
            reason: reason.word(),
            recipient: text::line(&request.recipient, NAME),
            slug: line(&request.post_slug, TITLE),
            text: written.map(|text| text::plain(text, format)),
            title: line(&request.post_title, TITLE),
            unsubscribe,
        }
    }

    fn message(
        &self,
        request: &MailRequested,
        reason: Reason,
        to: Mailbox,
        rendered: &Rendered,
        unsubscribe: Option<String>,
        now: i64,
    ) -> Result<Message, String> {
        // No text can hold the boundary that is made from it.
        let boundary = hexadecimal(&format!("{}{}{}", request.event_id, rendered.text, rendered.html));
        let mut builder = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(encodable(&text::line(&rendered.subject, SUBJECT)))
            .date(date(now))
            .message_id(Some(self.message_id(request)));
        if let Some(thread) = self.thread(request) {
            builder = builder.in_reply_to(thread.clone()).references(thread);
        }
        builder = builder
            .raw_header(header("Auto-Submitted", "auto-generated".to_owned()))
            .raw_header(header("List-Id", self.list(request, reason)))
            .raw_header(header("X-Postroom-Event", encodable(&text::line(&request.source_event, 255))));
        if let Some(url) = unsubscribe {
            let one_click = self.unsubscribe.as_ref().is_some_and(UrlTemplate::is_https);
            builder = builder.raw_header(header("List-Unsubscribe", format!("<{url}>")));
            if one_click {
                let value = "List-Unsubscribe=One-Click".to_owned();
                builder = builder.raw_header(header("List-Unsubscribe-Post", value));
            }
        }
        let part = |kind, body: &str| SinglePart::builder().header(kind).body(body.to_owned());
        let parts = MultiPart::alternative()
            .boundary(format!("part_{boundary}"))
            .singlepart(part(ContentType::TEXT_PLAIN, &rendered.text))
            .singlepart(part(ContentType::TEXT_HTML, &rendered.html));
        builder.multipart(parts).map_err(|error| error.to_string())
    }

    fn message_id(&self, request: &MailRequested) -> String {
        format!("<{}@{}>", hexadecimal(&request.event_id), self.domain)
    }

    /// The id of the discussion: no mail has it, all mails about the post refer to it.
    fn thread(&self, request: &MailRequested) -> Option<String> {
        let post = request.post_id.as_ref()?;
        Some(format!("<thread.{}@{}>", hexadecimal(&format!("{}\n{post}", request.blog)), self.domain))
    }

    fn list(&self, request: &MailRequested, reason: Reason) -> String {
        let blog: String = request.blog.chars().filter(char::is_ascii_alphanumeric).take(NAME).collect();
        let blog = if blog.is_empty() { "blog".to_owned() } else { blog.to_ascii_lowercase() };
        format!("<{}.{blog}.{}>", reason.word(), self.domain)
    }
}

/// A mail that is ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// What goes over the wire.
    pub mail: Mail,
    /// The subject, as it reads.
    pub subject: String,
    /// Its text part.
    pub text: String,
    /// Its HTML part.
    pub html: String,
}

fn header(name: &'static str, value: String) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value)
}

/// Keeps text that looks like an encoded word from being decoded: it might become a line break. With a joiner of no
/// width in it, it is itself encoded.
fn encodable(text: &str) -> String {
    text.replace("=?", "=\u{2060}?")
}

fn date(now: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(now.min(time::LATEST)).unwrap_or_default())
}

/// Half a SHA-256: enough that no two are alike.
fn hexadecimal(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

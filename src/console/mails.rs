//! The mails that a demo has sent, to be looked at.

use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use minijinja::context;
use serde::Serialize;

use crate::console::headers::MAIL_POLICY;
use crate::console::pages::{Desk, not_found, page, served};
use crate::console::text::masked;
use crate::console::words::{from_now, rfc3339};

/// Where mails are kept that were sent to nobody.
pub trait Mailbox: Send + Sync + 'static {
    /// Returns the latest mails, newest first.
    fn list(&self, count: usize) -> Vec<MailLine>;

    /// Returns a mail by its number.
    fn get(&self, number: u64) -> Option<Mail>;
}

/// A mail in the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailLine {
    /// Its number, in the order of arrival.
    pub number: u64,
    /// The recipient's address.
    pub to: String,
    /// The subject, decoded.
    pub subject: String,
    /// When it arrived, in milliseconds since the Unix epoch.
    pub at: i64,
}

/// A whole mail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mail {
    /// What the list says of it.
    pub line: MailLine,
    /// Its headers in their order, decoded.
    pub headers: Vec<(String, String)>,
    /// Its text part.
    pub text: Option<String>,
    /// Its HTML part.
    pub html: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct MailView {
    number: u64,
    to: String,
    subject: String,
    when: String,
    at: String,
}

impl MailView {
    fn of(line: &MailLine, now: i64) -> Self {
        Self {
            number: line.number,
            to: masked(&line.to),
            subject: masked(&line.subject),
            when: from_now(now, line.at),
            at: rfc3339(line.at),
        }
    }
}

pub(crate) fn view(mailbox: &dyn Mailbox, count: usize, now: i64) -> Vec<MailView> {
    mailbox.list(count).iter().map(|line| MailView::of(line, now)).collect()
}

/// Shows a mail: its HTML part in a frame that may do nothing.
pub(crate) async fn show(State(desk): State<Desk>, Path(number): Path<u64>) -> Response {
    let Some(mail) = desk.mailbox().and_then(|mailbox| mailbox.get(number)) else {
        return not_found(&desk, "there is no such mail (any more)");
    };
    // Ids of messages look like addresses and are none: threads are compared by them.
    let shown = |name: &str, value: &str| {
        let is_id =
            ["message-id", "in-reply-to", "references"].iter().any(|id| name.eq_ignore_ascii_case(id));
        if is_id { value.to_owned() } else { masked(value) }
    };
    let headers: Vec<_> = mail.headers.iter().map(|(name, value)| (name, shown(name, value))).collect();
    let text = mail.text.as_deref().map(|text| masked(&text.replace("\r\n", "\n")));
    page(
        &desk,
        "mail.html",
        context! {
            mail => served(MailView::of(&mail.line, desk.now())), headers => served(headers), text, html => mail.html.is_some(),
        },
    )
}

/// Serves a mail's HTML part as it is, under a policy of its own.
pub(crate) async fn html(State(desk): State<Desk>, Path(number): Path<u64>) -> Response {
    let mail = desk.mailbox().and_then(|mailbox| mailbox.get(number));
    let Some(html) = mail.and_then(|mail| mail.html) else {
        return (StatusCode::NOT_FOUND, "there is no such mail\n").into_response();
    };
    let mut answer = html.into_response();
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(MAIL_POLICY));
    answer
}

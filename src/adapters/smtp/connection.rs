//! One connection: greeting, TLS, credentials, and the dialogue of one mail.

use lettre::Address;
use lettre::transport::smtp::authentication::Mechanism;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::extension::{Extension, MailBodyParameter, MailParameter};
use lettre::transport::smtp::response::{Response, Severity};
use lettre::transport::smtp::{Error, SMTP_PORT};
use tokio::net::TcpStream;

use crate::adapters::smtp::Smtp;
use crate::adapters::smtp::class::{Answer, Stage};
use crate::adapters::smtp::line_stream::LineStream;
use crate::config::MailSecurity;
use crate::ports::MailReply;

/// The most of a reply that is kept, in characters.
const SAID: usize = 300;

/// How the dialogue of a mail failed.
pub(super) enum Failed {
    /// The relay said no, or the connection broke.
    Answered { stage: Stage, answer: Answer, said: String },
    /// Nothing was answered in time.
    Silent(Stage),
    /// The relay lacks what this mail needs; nothing was sent.
    Unable(&'static str),
}

/// A connection over which mails can be sent.
pub(super) struct Connection {
    inner: AsyncSmtpConnection,
    mails: u32,
    /// Whether the next mail may be sent over it.
    pub(super) is_usable: bool,
}

impl Connection {
    /// Connects, and goes no further than it is protected.
    pub(super) async fn open(smtp: &Smtp, stage: &mut Stage) -> Result<Self, (Answer, String)> {
        let mut inner = match smtp.security {
            MailSecurity::Tls => {
                let place = (smtp.host.as_str(), smtp.port);
                AsyncSmtpConnection::connect_tokio1(place, None, &smtp.hello, Some(smtp.tls.clone()), None)
                    .await
                    .map_err(|error| answered(&error))?
            }
            MailSecurity::Starttls => {
                let mut inner = in_the_clear(smtp).await?;
                inner.starttls(smtp.tls.clone(), &smtp.hello).await.map_err(|error| {
                    let (answer, said) = answered(&error);
                    (answer, format!("the connection cannot be encrypted by STARTTLS: {said}"))
                })?;
                inner
            }
            MailSecurity::Plaintext => in_the_clear(smtp).await?,
        };
        if let Some(credentials) = &smtp.credentials {
            *stage = Stage::Auth;
            let mechanisms = [Mechanism::Plain, Mechanism::Login];
            if inner.server_info().get_auth_mechanism(&mechanisms).is_none() {
                let why = "the relay offers neither PLAIN nor LOGIN, but mail.username is set";
                return Err((Answer::Code(504), why.to_owned()));
            }
            inner.auth(&mechanisms, credentials).await.map_err(|error| answered(&error))?;
        }
        Ok(Self { inner, mails: 0, is_usable: true })
    }

    /// Sends one mail to one recipient. `stage` tells how far it came, also where this future is dropped.
    pub(super) async fn send(
        &mut self,
        sender: &Address,
        recipient: &Address,
        message: &[u8],
        stage: &mut Stage,
    ) -> Result<MailReply, Failed> {
        *stage = Stage::Sender;
        self.mails = self.mails.saturating_add(1);
        let parameters = self.parameters(sender, recipient, message)?;
        let failed = |stage: Stage, error: &Error| {
            let (answer, said) = answered(error);
            Failed::Answered { stage, answer, said }
        };
        let mail = Mail::new(Some(sender.clone()), parameters);
        self.inner.command(mail).await.map_err(|error| failed(*stage, &error))?;
        *stage = Stage::Recipient;
        let rcpt = Rcpt::new(recipient.clone(), Vec::new());
        self.inner.command(rcpt).await.map_err(|error| failed(*stage, &error))?;
        *stage = Stage::Data;
        let leave = self.inner.command(Data).await.map_err(|error| failed(*stage, &error))?;
        if !leave.has_code(354) {
            return Err(odd(*stage, &leave));
        }
        *stage = Stage::Content;
        let reply = self.inner.message(message).await.map_err(|error| failed(*stage, &error))?;
        if reply.code().severity != Severity::PositiveCompletion {
            return Err(odd(*stage, &reply));
        }
        Ok(MailReply(said(&reply)))
    }

    /// Forgets the mail that was begun. Says whether the connection can be used again.
    pub(super) async fn reset(&mut self) -> bool {
        self.inner.command(Rset).await.is_ok()
    }

    /// Returns how many mails were tried over it.
    pub(super) fn mails(&self) -> u32 {
        self.mails
    }

    fn parameters(
        &self,
        sender: &Address,
        recipient: &Address,
        message: &[u8],
    ) -> Result<Vec<MailParameter>, Failed> {
        let server = self.inner.server_info();
        let mut parameters = Vec::new();
        let is_plain = |address: &Address| AsRef::<str>::as_ref(address).is_ascii();
        if !is_plain(sender) || !is_plain(recipient) {
            if !server.supports_feature(Extension::SmtpUtfEight) {
                return Err(Failed::Unable(
                    "the address has letters outside of ASCII before its @, and the relay does not offer SMTPUTF8",
                ));
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        if !message.is_ascii() {
            if !server.supports_feature(Extension::EightBitMime) {
                return Err(Failed::Unable(
                    "the mail has bytes outside of ASCII, and the relay does not offer 8BITMIME",
                ));
            }
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        Ok(parameters)
    }
}

async fn in_the_clear(smtp: &Smtp) -> Result<AsyncSmtpConnection, (Answer, String)> {
    let port = if smtp.port == 0 { SMTP_PORT } else { smtp.port };
    let stream = TcpStream::connect((smtp.host.as_str(), port))
        .await
        .map_err(|error| (Answer::Broken, format!("{}:{port}: {error}", smtp.host)))?;
    let stream = Box::new(LineStream::new(stream));
    AsyncSmtpConnection::connect_with_transport(stream, &smtp.hello).await.map_err(|error| answered(&error))
}

/// Takes an error of the library apart.
fn answered(error: &Error) -> (Answer, String) {
    let mut text = error.to_string();
    let Some(code) = error.status() else { return (Answer::Broken, in_a_line(&text)) };
    let code = code.to_string();
    if let Some(reply) = std::error::Error::source(error) {
        text = format!("{code} {reply}");
    }
    (code.parse().map_or(Answer::Broken, Answer::Code), in_a_line(&text))
}

/// A reply that is not an error, but not what was asked for either.
fn odd(stage: Stage, reply: &Response) -> Failed {
    let said = format!("an answer that does not fit: {}", said(reply));
    Failed::Answered { stage, answer: Answer::Broken, said }
}

fn said(reply: &Response) -> String {
    let lines: Vec<_> = reply.message().collect();
    in_a_line(&format!("{} {}", reply.code(), lines.join(" ")))
}

/// What others say goes into logs, headers and tables: one line, without control characters, not too long.
fn in_a_line(text: &str) -> String {
    text.split(|char: char| char.is_control() || char.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(SAID)
        .collect()
}

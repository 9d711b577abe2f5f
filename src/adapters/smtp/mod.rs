//! The mail relay over SMTP: a small pool of connections, one mail a dialogue, its error classes decided by how far the
//! dialogue had come.
//!
//! The connection is lettre's; the pool is ours. Its own pool takes a connection back in the middle of a dialogue that was
//! cancelled, and does not say whether an error came before or after the mail was sent.

mod class;
mod connection;
mod line_stream;
mod pace;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lettre::Address;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, TlsParameters, TlsVersion};
use lettre::transport::smtp::extension::ClientId;
use tokio::time::{Instant, timeout};

use crate::adapters::smtp::class::{Answer, Stage, class};
use crate::adapters::smtp::connection::{Connection, Failed};
use crate::adapters::smtp::pace::Pace;
use crate::config::{MailSecurity, Secret};
use crate::ports::{Mail, MailError, MailFuture, MailReply, Mailer};

/// How long an unused connection is kept: relays close theirs after some minutes.
const IDLE: Duration = Duration::from_secs(20);
/// How many unused connections are kept.
const POOL: usize = 32;
/// How many mails go over one connection.
const MAILS: u32 = 100;

/// How to reach a relay.
#[derive(Clone, Debug)]
pub struct SmtpSettings {
    /// Its name, which its certificate must hold.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub security: MailSecurity,
    /// The authorities to trust beside the system's, in a PEM file.
    pub ca: Option<PathBuf>,
    /// User and password.
    pub credentials: Option<(String, Secret)>,
    /// The name that we give at the greeting; the machine's where it is not set.
    pub helo: Option<String>,
    /// How long it may take to connect, and how long one mail's dialogue may take after that.
    pub timeout: Duration,
    /// Mails a second; `None` is as fast as the relay takes them.
    pub rate: Option<NonZeroU32>,
}

/// Why a relay cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum SmtpError {
    /// The file of authorities cannot be used.
    #[error("mail.ca = {path}: {why}")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The TLS library refuses the settings.
    #[error("the TLS library refuses the settings: {0}")]
    Tls(String),
}

/// A relay.
pub struct Smtp {
    host: String,
    port: u16,
    security: MailSecurity,
    tls: TlsParameters,
    credentials: Option<Credentials>,
    hello: ClientId,
    timeout: Duration,
    pace: Pace,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

impl std::fmt::Debug for Smtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Smtp").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

impl Smtp {
    /// Prepares a relay. Nothing is connected before the first mail.
    ///
    /// # Errors
    /// The file of authorities cannot be read or used.
    pub fn new(settings: SmtpSettings) -> Result<Self, SmtpError> {
        let tls = tls(&settings)?;
        let hello = settings.helo.map_or_else(ClientId::default, ClientId::Domain);
        let credentials =
            settings.credentials.map(|(user, password)| Credentials::new(user, password.expose().to_owned()));
        Ok(Self {
            host: settings.host,
            port: settings.port,
            security: settings.security,
            tls,
            credentials,
            hello,
            timeout: settings.timeout,
            pace: Pace::new(settings.rate),
            idle: Mutex::new(Vec::new()),
        })
    }

    /// Connects, protects the connection and logs in, as for a mail, and sends none.
    ///
    /// # Errors
    /// What the relay has against us, or that it is away.
    pub async fn check(&self) -> Result<(), MailError> {
        self.connect().await.map(|connection| self.put(connection))
    }

    async fn hand_over(&self, mail: &Mail) -> Result<MailReply, MailError> {
        let recipient: Address = mail.to.parse().map_err(|error| bad_address(&mail.to, error))?;
        let sender: Address = mail.from.parse().map_err(|error| bad_address(&mail.from, error))?;
        // A connection that waited may have been closed meanwhile: that says nothing about the relay.
        if let Some(mut waited) = self.take() {
            match self.dialogue(&mut waited, &sender, &recipient, &mail.message).await {
                Ok(reply) => return Ok(self.keep(waited, reply)),
                Err(Failed::Silent(stage)) => return Err(silent(stage, self.timeout)),
                Err(Failed::Answered { stage, answer, said }) => match answer {
                    Answer::Broken | Answer::Code(421) if stage < Stage::Content => {}
                    Answer::Broken | Answer::Code(_) => {
                        return Err(self.failed(waited, stage, answer, said).await);
                    }
                },
                Err(Failed::Unable(why)) => return Err(self.unable(waited, why)),
            }
        }
        let mut connection = self.connect().await?;
        match self.dialogue(&mut connection, &sender, &recipient, &mail.message).await {
            Ok(reply) => Ok(self.keep(connection, reply)),
            Err(Failed::Silent(stage)) => Err(silent(stage, self.timeout)),
            Err(Failed::Answered { stage, answer, said }) => {
                Err(self.failed(connection, stage, answer, said).await)
            }
            Err(Failed::Unable(why)) => Err(self.unable(connection, why)),
        }
    }

    async fn connect(&self) -> Result<Connection, MailError> {
        let mut stage = Stage::Connect;
        let connecting = Connection::open(self, &mut stage);
        match timeout(self.timeout, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err((answer, said))) => Err(self.told(class(stage, answer, said))),
            Err(_elapsed) => Err(silent(stage, self.timeout)),
        }
    }

    async fn dialogue(
        &self,
        connection: &mut Connection,
        sender: &Address,
        recipient: &Address,
        message: &[u8],
    ) -> Result<MailReply, Failed> {
        let mut stage = Stage::Sender;
        let talking = connection.send(sender, recipient, message, &mut stage);
        timeout(self.timeout, talking).await.unwrap_or(Err(Failed::Silent(stage)))
    }

    /// Ends a dialogue that failed. A connection whose other side answered properly is used again.
    async fn failed(
        &self,
        mut connection: Connection,
        stage: Stage,
        answer: Answer,
        said: String,
    ) -> MailError {
        let is_usable = matches!(answer, Answer::Code(code) if code != 421);
        if is_usable && timeout(self.timeout, connection.reset()).await.is_ok_and(|reset| reset) {
            self.put(connection);
        }
        self.told(class(stage, answer, said))
    }

    fn unable(&self, connection: Connection, why: &'static str) -> MailError {
        self.put(connection);
        MailError::Refused(why.to_owned())
    }

    fn keep(&self, connection: Connection, reply: MailReply) -> MailReply {
        self.put(connection);
        reply
    }

    fn take(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|kept| kept.since.elapsed() < IDLE);
        idle.pop().map(|kept| kept.connection)
    }

    fn put(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if connection.mails() < MAILS && idle.len() < POOL {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    /// Logs what a person has to mend; waiting does not help there.
    fn told(&self, error: MailError) -> MailError {
        match &error {
            MailError::Misconfigured(said) => {
                tracing::error!(
                    relay = %format_args!("{}:{}", self.host, self.port),
                    reply = %said,
                    "the relay refuses our credentials or sender: mails wait until mail.username, mail.password or mail.from is mended"
                );
            }
            MailError::Refused(_)
            | MailError::Later(_)
            | MailError::Away(_)
            | MailError::BadAddress(_)
            | MailError::Unknown(_) => {}
        }
        error
    }
}

impl Mailer for Smtp {
    fn turn(&self) -> MailFuture<'_, ()> {
        Box::pin(self.pace.turn())
    }

    fn send<'a>(&'a self, mail: &'a Mail) -> MailFuture<'a, Result<MailReply, MailError>> {
        Box::pin(self.hand_over(mail))
    }
}

fn silent(stage: Stage, patience: Duration) -> MailError {
    class(stage, Answer::Broken, format!("no answer within {patience:?} {}", stage.doing()))
}

fn bad_address(address: &str, error: lettre::address::AddressError) -> MailError {
    MailError::BadAddress(format!("{address:?}: {error}"))
}

fn tls(settings: &SmtpSettings) -> Result<TlsParameters, SmtpError> {
    let mut builder = TlsParameters::builder(settings.host.clone()).set_min_tls_version(TlsVersion::Tlsv12);
    if let Some(path) = &settings.ca {
        let unusable = |why: String| SmtpError::Authorities { path: path.clone(), why };
        let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
        let certificate = Certificate::from_pem(&pem).map_err(|error| unusable(error.to_string()))?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build().map_err(|error| SmtpError::Tls(error.to_string()))
}

//! The mail relay over SMTP: a small pool of connections, one mail a dialogue, its error classes decided by how far the
//! dialogue had come.
//!
//! The connection is lettre's; the pool is ours. Its own pool takes a connection back in the middle of a dialogue that was
//! cancelled, and does not say whether an error came before or after the mail was sent.

mod class;
mod connection;
mod line_stream;
mod pace;
mod storm;
mod wording;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lettre::Address;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, TlsParameters, TlsVersion};
use lettre::transport::smtp::extension::ClientId;
use tokio::time::{Instant, timeout};

use crate::adapters::smtp::class::{Answer, Stage, class};
use crate::adapters::smtp::connection::{Connection, Failed};
use crate::adapters::smtp::pace::Pace;
use crate::adapters::smtp::storm::Storm;
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
    storm: Mutex<Storm>,
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
            storm: Mutex::new(Storm::default()),
        })
    }

    /// Connects, protects the connection and logs in, as for a mail, and sends none.
    ///
    /// # Errors
    /// What the relay has against us, or that it is away.
    pub async fn check(&self) -> Result<(), MailError> {
        self.connect(Instant::now()).await.map(|connection| self.put(connection))
    }

    async fn hand_over(&self, mail: &Mail) -> Result<MailReply, MailError> {
        let recipient: Address = mail.to.parse().map_err(|error| bad_address(&mail.to, error))?;
        let sender: Address = mail.from.parse().map_err(|error| bad_address(&mail.from, error))?;
        let begun = Instant::now();
        // A connection that waited may have been closed meanwhile: that says nothing about the relay.
        if let Some(mut waited) = self.take() {
            match self.dialogue(&mut waited, &sender, &recipient, &mail.message).await {
                Err(Failed::Answered { stage, answer: Answer::Broken | Answer::Code(421), .. })
                    if stage < Stage::Content => {}
                ended => return self.ended(waited, ended, &sender, &recipient),
            }
        }
        let mut connection = self.connect(begun).await?;
        let ended = self.dialogue(&mut connection, &sender, &recipient, &mail.message).await;
        self.ended(connection, ended, &sender, &recipient)
    }

    /// Connects within what is left of the time since `begun`: with the connection that turned out to be closed, getting one
    /// takes no longer than the time-out.
    async fn connect(&self, begun: Instant) -> Result<Connection, MailError> {
        let mut stage = Stage::Connect;
        let connecting = Connection::open(self, &mut stage);
        match timeout(self.timeout.saturating_sub(begun.elapsed()), connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err((answer, said))) => Err(self.told(class(stage, answer, said))),
            Err(_elapsed) => Err(silent(stage, self.timeout)),
        }
    }

    /// Sends one mail within the time-out. A connection whose other side refuses properly is made ready for the next mail in
    /// the same time, or else not used again.
    async fn dialogue(
        &self,
        connection: &mut Connection,
        sender: &Address,
        recipient: &Address,
        message: &[u8],
    ) -> Result<MailReply, Failed> {
        let begun = Instant::now();
        let mut stage = Stage::Sender;
        let talking = connection.send(sender, recipient, message, &mut stage);
        let ended = timeout(self.timeout, talking).await.unwrap_or(Err(Failed::Silent(stage)));
        if let Err(Failed::Answered { answer: Answer::Code(code), .. }) = &ended
            && *code != 421
        {
            let left = self.timeout.saturating_sub(begun.elapsed());
            connection.is_usable = timeout(left, connection.reset()).await.is_ok_and(|reset| reset);
        }
        ended
    }

    /// Puts a connection back and says what a dialogue that ended means.
    fn ended(
        &self,
        connection: Connection,
        ended: Result<MailReply, Failed>,
        sender: &Address,
        recipient: &Address,
    ) -> Result<MailReply, MailError> {
        match ended {
            Ok(reply) => {
                self.put(connection);
                self.storm().taken();
                Ok(reply)
            }
            Err(Failed::Silent(stage)) => Err(silent(stage, self.timeout)),
            Err(Failed::Unable(why)) => Err(self.unable(connection, why)),
            Err(Failed::Answered { stage, answer, said }) => {
                if connection.is_usable && matches!(answer, Answer::Code(code) if code != 421) {
                    self.put(connection);
                }
                let error = self.whose(stage, class(stage, answer, said), sender, recipient);
                Err(self.told(error))
            }
        }
    }

    /// Tells refusals of the recipient or of this mail from refusals of us.
    fn whose(&self, stage: Stage, error: MailError, sender: &Address, recipient: &Address) -> MailError {
        let MailError::Refused(said) = error else { return error };
        let is_ours = wording::is_about_us(&said, sender.as_ref(), recipient.as_ref())
            || stage < Stage::Content
                && wording::is_by_rule(&said)
                && self.storm().is_about_us(&said, recipient.domain(), Instant::now());
        if is_ours { MailError::Misconfigured(said) } else { MailError::Refused(said) }
    }

    fn storm(&self) -> MutexGuard<'_, Storm> {
        self.storm.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unable(&self, connection: Connection, why: &'static str) -> MailError {
        self.put(connection);
        MailError::Refused(why.to_owned())
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
                    "the relay refuses us, not the recipient: mails wait until mail.username, mail.password or mail.from is mended, or the relay lets us send"
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

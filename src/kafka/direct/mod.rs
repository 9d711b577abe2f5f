//! A client of our own for a few questions that the library does not ask: it says exactly why a broker does not talk to
//! us, and which operations the broker allows us.
//!
//! One connection, one question at a time, blocking, with a deadline. It is never in the way of records.

mod scram;
mod security;
mod stream;
mod trouble;
mod wire;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use self::scram::{Hash, Scram};
pub(crate) use self::security::Security;
use self::stream::Stream;
pub use self::trouble::Obstacle;
pub(crate) use self::trouble::Trouble;
pub(crate) use self::wire::{Malformed, Reader, Writer};
use crate::kafka::config::Connection;
use crate::ports::EdgeError;

/// Checks that the files of a connection's certificates and key can be used, without a network.
///
/// # Errors
/// Names the file and what is wrong with it.
pub(crate) fn check_files(connection: &Connection) -> Result<(), EdgeError> {
    let security = Security::of(connection);
    if !security.has_tls() {
        return Ok(());
    }
    stream::connector(security).map(drop).map_err(|trouble| trouble.obstacle("", connection).error())
}

/// A connection to one broker, over which questions can be asked.
pub(crate) struct Direct {
    stream: Stream,
    client_id: String,
    /// Where it leads.
    pub(crate) broker: String,
    asked: i32,
}

/// Which request, in which version: those that every broker since 2.3 knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    Metadata,
    FindCoordinator,
    DescribeGroups,
    SaslHandshake,
    SaslAuthenticate,
}

impl Api {
    fn key_and_version(self) -> (i16, i16) {
        match self {
            Self::Metadata => (3, 8),
            Self::FindCoordinator => (10, 2),
            Self::DescribeGroups => (15, 3),
            Self::SaslHandshake => (17, 1),
            Self::SaslAuthenticate => (36, 0),
        }
    }
}

impl Direct {
    /// Connects to the first of the connection's brokers that talks to us.
    ///
    /// # Errors
    /// What the first broker that is there has against us, else why none is there; and which broker.
    pub(crate) fn to_any(connection: &Connection, patience: Duration) -> Result<Self, (String, Trouble)> {
        let deadline = Instant::now() + patience;
        let mut worst = None;
        for broker in connection.brokers.split(',').map(str::trim) {
            match Self::to(broker, connection, deadline) {
                Ok(direct) => return Ok(direct),
                Err(trouble) if !trouble.may_pass() => return Err((broker.to_owned(), trouble)),
                Err(trouble) => {
                    worst.get_or_insert_with(|| (broker.to_owned(), trouble));
                }
            }
        }
        Err(worst.unwrap_or_else(|| (String::new(), Trouble::Away("no broker is named".to_owned()))))
    }

    /// Connects to a broker and proves who we are.
    pub(crate) fn to(broker: &str, connection: &Connection, deadline: Instant) -> Result<Self, Trouble> {
        let security = Security::of(connection);
        let over = |stream| Self {
            stream,
            client_id: connection.client_id.clone(),
            broker: broker.to_owned(),
            asked: 0,
        };
        // What has hung up may be a broker that starts, or a proxy without one: what it wants is believed when it says so.
        let hears = |stream: Result<Stream, Trouble>| {
            stream
                .and_then(|stream| over(stream).handshake("PLAIN"))
                .is_ok_and(|(code, _)| code != ILLEGAL_STATE)
        };
        let mut direct = match Stream::open(broker, security, deadline) {
            Ok(stream) => over(stream),
            Err(Trouble::NotTls) => {
                let clear = Stream::in_the_clear(broker, deadline);
                let answered = clear.and_then(|stream| over(stream).handshake("PLAIN"));
                return Err(answered.map_or(Trouble::Closed, |_| Trouble::NotTls));
            }
            Err(trouble) => return Err(trouble),
        };
        let proved = if security.has_sasl() { direct.prove(security) } else { direct.greet() };
        match proved {
            // Behind TLS there may be an alert before the end, which is none of Kafka's answers.
            Err(Trouble::Closed | Trouble::Unknown(_))
                if !security.has_tls() && stream::speaks_tls(broker, deadline) =>
            {
                Err(Trouble::SpeaksTls)
            }
            Err(Trouble::Closed)
                if !security.has_sasl() && hears(Stream::open(broker, security, deadline)) =>
            {
                Err(Trouble::WantsCredentials)
            }
            proved => proved.map(|()| direct),
        }
    }

    /// Asks and returns the answer's body.
    pub(crate) fn ask(&mut self, api: Api, body: Writer) -> Result<Vec<u8>, Trouble> {
        self.asked = self.asked.wrapping_add(1);
        let (key, version) = api.key_and_version();
        let frame = body.frame(key, version, self.asked, &self.client_id);
        self.stream.write_all(&frame).map_err(|error| self.stream.trouble(&error))?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).map_err(|error| self.stream.trouble(&error))?;
        let length = u64::from(u32::from_be_bytes(length));
        if !(4..=LARGEST).contains(&length) {
            return Err(Trouble::Unknown("it answers something else than Kafka's protocol".to_owned()));
        }
        let mut answer = Vec::new();
        let taken = Read::take(&mut self.stream, length).read_to_end(&mut answer);
        taken.map_err(|error| self.stream.trouble(&error))?;
        match answer.split_first_chunk::<4>() {
            Some((correlation, body)) if i32::from_be_bytes(*correlation) == self.asked => Ok(body.to_vec()),
            _ => Err(Trouble::Unknown("its answer belongs to another question".to_owned())),
        }
    }

    /// Asks for nothing, to hear whether it listens to us.
    fn greet(&mut self) -> Result<(), Trouble> {
        let nothing = Writer::default().texts([].into_iter()).flag(false).flag(false).flag(false);
        self.ask(Api::Metadata, nothing).map(drop)
    }

    fn prove(&mut self, security: Security<'_>) -> Result<(), Trouble> {
        let mechanism = security.mechanism().unwrap_or_default();
        let (Some(user), Some(password)) = (security.username(), security.password()) else {
            return Err(Trouble::Unknown(format!("the mechanism {mechanism} is left to the client library")));
        };
        self.agree_on(mechanism)?;
        match mechanism {
            "PLAIN" => self.token(format!("\0{user}\0{password}").as_bytes()).map(drop),
            "SCRAM-SHA-256" => self.scram(Hash::Sha256, user, password),
            "SCRAM-SHA-512" => self.scram(Hash::Sha512, user, password),
            other => Err(Trouble::Unknown(format!("the mechanism {other} is left to the client library"))),
        }
    }

    fn agree_on(&mut self, mechanism: &str) -> Result<(), Trouble> {
        match self.handshake(mechanism)? {
            (0, _) => Ok(()),
            (UNSUPPORTED_MECHANISM, offered) => Err(Trouble::Mechanism(offered)),
            (ILLEGAL_STATE, _) => Err(Trouble::TakesNoCredentials),
            (code, _) => Err(Trouble::Unknown(format!("it answers error {code} to the SASL handshake"))),
        }
    }

    /// Asks for a mechanism; returns the broker's code, and the mechanisms that it knows.
    fn handshake(&mut self, mechanism: &str) -> Result<(i16, Vec<String>), Trouble> {
        let answer = self.ask(Api::SaslHandshake, Writer::default().text(mechanism))?;
        let mut reader = Reader::new(&answer);
        let parsed = reader.i16().and_then(|code| Ok((code, reader.list(Reader::text)?)));
        let (code, offered) = parsed.map_err(|error| Trouble::Unknown(error.to_string()))?;
        Ok((code, offered.into_iter().map(str::to_owned).collect()))
    }

    fn scram(&mut self, hash: Hash, user: &str, password: &str) -> Result<(), Trouble> {
        let nonce = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        let scram = Scram::new(hash, user, password, &nonce);
        let odd = || Trouble::Unknown("it does not answer as SCRAM says".to_owned());
        let first = self.token(scram.first().as_bytes())?;
        let first = String::from_utf8(first).map_err(|_not_text| odd())?;
        let last = scram.last(&first).ok_or_else(odd)?;
        let proof = self.token(last.message.as_bytes())?;
        if proof == last.expected.as_bytes() { Ok(()) } else { Err(odd()) }
    }

    /// Sends a piece of the proof and returns the broker's.
    fn token(&mut self, token: &[u8]) -> Result<Vec<u8>, Trouble> {
        let answer = self.ask(Api::SaslAuthenticate, Writer::default().bytes(token))?;
        let mut reader = Reader::new(&answer);
        let parsed = reader.i16().and_then(|code| Ok((code, reader.maybe_text()?, reader.bytes()?)));
        match parsed.map_err(|error| Trouble::Unknown(error.to_string()))? {
            (0, _, theirs) => Ok(theirs.to_vec()),
            (code, said, _) => {
                Err(Trouble::Credentials(said.map_or_else(|| format!("error {code}"), str::to_owned)))
            }
        }
    }
}

const UNSUPPORTED_MECHANISM: i16 = 33;
const ILLEGAL_STATE: i16 = 34;
/// The largest answer that is read, in bytes: the metadata of a large cluster's topics.
const LARGEST: u64 = 64 * 1_024 * 1_024;

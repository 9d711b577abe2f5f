//! The bytes beneath: TCP, and TLS on it, with errors that say whose fault it is.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{HandshakeError, SslConnector, SslMethod, SslStream, SslVerifyMode};

use crate::kafka::direct::security::Security;
use crate::kafka::direct::trouble::Trouble;

/// A connection.
pub(crate) enum Stream {
    Plain(Timed),
    Tls(Box<SslStream<Timed>>),
}

/// A connection that ends at its deadline, however little comes at a time.
#[derive(Debug)]
pub(crate) struct Timed {
    tcp: TcpStream,
    deadline: Instant,
}

impl Timed {
    /// Says how long a read or a write may take; fails as one that took too long.
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        // No other kind means to the TLS library that it was only late.
        if left.is_zero() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(Some(left)) }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.tcp.set_read_timeout(self.left()?)?;
        self.tcp.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tcp.set_write_timeout(self.left()?)?;
        self.tcp.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

impl Stream {
    /// Connects to `host:port`, and shakes hands where that is wanted.
    pub(crate) fn open(broker: &str, security: Security<'_>, deadline: Instant) -> Result<Self, Trouble> {
        let tcp = connect(broker, deadline)?;
        if !security.has_tls() {
            return Ok(Self::Plain(tcp));
        }
        let host = broker.rsplit_once(':').map_or(broker, |(host, _port)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let connector = connector(security)?;
        match connector.connect(host, tcp) {
            Ok(stream) => Ok(Self::Tls(Box::new(stream))),
            Err(error) => Err(of_handshake(&error)),
        }
    }

    /// Connects to `host:port`, whatever the configuration says.
    pub(crate) fn in_the_clear(broker: &str, deadline: Instant) -> Result<Self, Trouble> {
        connect(broker, deadline).map(Self::Plain)
    }

    /// Says what a failed read or write means.
    pub(crate) fn trouble(&self, error: &io::Error) -> Trouble {
        let alert = match self {
            Self::Plain(_) => None,
            // Whether our certificate is accepted is told behind the handshake.
            Self::Tls(_) => error.get_ref().and_then(|inner| inner.downcast_ref::<openssl::ssl::Error>()),
        };
        match alert.and_then(openssl::ssl::Error::ssl_error) {
            Some(stack) => Trouble::ClientCertificate(reason(stack)),
            None if HUNG_UP.contains(&error.kind()) => Trouble::Closed,
            None if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Trouble::Away("it did not answer in time".to_owned())
            }
            None => Trouble::Away(error.to_string()),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// Says whether the other side answers a TLS greeting, whatever its certificate is.
pub(crate) fn speaks_tls(broker: &str, deadline: Instant) -> bool {
    let Ok(tcp) = connect(broker, deadline) else { return false };
    let Ok(mut builder) = SslConnector::builder(SslMethod::tls_client()) else { return false };
    // Nothing is sent over it.
    builder.set_verify(SslVerifyMode::NONE);
    let Ok(configured) = builder.build().configure() else { return false };
    configured.verify_hostname(false).connect("localhost", tcp).is_ok()
}

fn connect(broker: &str, deadline: Instant) -> Result<Timed, Trouble> {
    let addresses = broker
        .to_socket_addrs()
        .map_err(|error| Trouble::Away(format!("the name cannot be resolved: {error}")))?;
    let mut last = Trouble::Away("the name has no address".to_owned());
    for address in addresses {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let connected = TcpStream::connect_timeout(&address, left.min(CONNECT_PATIENCE)).and_then(|stream| {
            stream.set_nodelay(true)?;
            Ok(Timed { tcp: stream, deadline })
        });
        match connected {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Trouble::Away(format!("connecting to {address}: {error}")),
        }
    }
    Err(last)
}

pub(crate) fn connector(security: Security<'_>) -> Result<SslConnector, Trouble> {
    let broken = |error: ErrorStack| Trouble::Local(format!("the TLS library fails: {}", reason(&error)));
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(broken)?;
    if let Some(file) = security.ca() {
        builder
            .set_ca_file(file)
            .map_err(|error| Trouble::Local(format!("kafka.tls.ca = {file}: {}", reason(&error))))?;
    }
    if let (Some(certificate), Some(key)) = (security.certificate(), security.key()) {
        builder.set_certificate_chain_file(certificate).map_err(|error| {
            Trouble::Local(format!("kafka.tls.certificate = {certificate}: {}", reason(&error)))
        })?;
        let unusable = |why: String| Trouble::Local(format!("kafka.tls.key = {key}: {why}"));
        let pem = std::fs::read(key).map_err(|error| unusable(error.to_string()))?;
        // Without a password an encrypted key must not ask for one at the terminal.
        let password = security.key_password().unwrap_or_default();
        let encrypted = pem.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED);
        let key = PKey::private_key_from_pem_passphrase(&pem, password.as_bytes()).map_err(|error| {
            unusable(match security.key_password() {
                None if encrypted => {
                    "it is encrypted: set kafka.tls.key_password_file (kafka.tls.key_password)".to_owned()
                }
                Some(_) if encrypted => "kafka.tls.key_password does not open it".to_owned(),
                _ => reason(&error),
            })
        })?;
        // It is compared with the certificate while it is set.
        builder.set_private_key(&key).and_then(|()| builder.check_private_key()).map_err(|_mismatch| {
            unusable(format!("it does not belong to kafka.tls.certificate = {certificate}"))
        })?;
    }
    Ok(builder.build())
}

fn of_handshake(error: &HandshakeError<Timed>) -> Trouble {
    let (HandshakeError::Failure(failed) | HandshakeError::WouldBlock(failed)) = error else {
        return Trouble::Local(format!("the TLS library fails: {error}"));
    };
    let verdict = failed.ssl().verify_result();
    match verdict.as_raw() {
        0 => {}
        EXPIRED => return Trouble::Expired,
        OTHER_HOST | OTHER_ADDRESS => return Trouble::WrongHost,
        _ => return Trouble::Untrusted(verdict.error_string().to_owned()),
    }
    if matches!(error, HandshakeError::WouldBlock(_)) {
        return Trouble::Away("it did not shake hands for TLS in time".to_owned());
    }
    match failed.error().ssl_error() {
        // An alert: the broker has something against what we offered.
        Some(stack) if reason(stack).contains("alert") => Trouble::ClientCertificate(reason(stack)),
        _ => Trouble::NotTls,
    }
}

fn reason(stack: &ErrorStack) -> String {
    let reasons: Vec<_> = stack.errors().iter().filter_map(openssl::error::Error::reason).collect();
    if reasons.is_empty() { stack.to_string() } else { reasons.join(", ") }
}

const HUNG_UP: [io::ErrorKind; 4] = [
    io::ErrorKind::UnexpectedEof,
    io::ErrorKind::ConnectionReset,
    io::ErrorKind::ConnectionAborted,
    io::ErrorKind::BrokenPipe,
];
/// What the head of an encrypted key holds.
const ENCRYPTED: &[u8] = b"ENCRYPTED";
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
// Numbers of OpenSSL's x509_vfy.h.
const EXPIRED: i32 = 10;
const OTHER_HOST: i32 = 62;
const OTHER_ADDRESS: i32 = 64;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::kafka::config::Connection;

    /// A server that answers everything with one byte a moment, for some seconds.
    fn dripping() -> (String, thread::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // For Kafka's protocol: an answer of 65,536 bytes. For TLS: a handshake record of 4,096.
            let mut answer = [22, 3, 3, 16].into_iter().chain(std::iter::repeat(0));
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(20) {
                if stream.write_all(&[answer.next().unwrap()]).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        (address, server)
    }

    #[test]
    fn a_broker_that_answers_byte_by_byte_is_left_at_the_deadline() {
        for (protocol, late) in
            [("plaintext", "it did not answer in time"), ("ssl", "it did not shake hands for TLS in time")]
        {
            let (address, server) = dripping();
            let mut connection = Connection::to(&address);
            connection.properties.insert("security.protocol".to_owned(), protocol.to_owned());
            let deadline = Instant::now() + Duration::from_millis(500);

            let stream = Stream::open(&address, Security::of(&connection), deadline);
            let trouble = stream.map(|mut stream| {
                let read = stream.read_exact(&mut [0; 65_536]);
                stream.trouble(&read.unwrap_err())
            });

            assert_eq!(
                trouble.unwrap_or_else(|trouble| trouble),
                Trouble::Away(late.to_owned()),
                "{protocol}"
            );
            server.join().unwrap();
        }
    }
}

//! A mail server that keeps what it gets in memory: the last few mails, to look at. It forwards nothing.

mod read;
mod session;

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

/// How many mails are kept, and how many bytes of them; the oldest go first.
const MAILS: usize = 200;
const BYTES: usize = 16 * 1024 * 1024;
/// The largest mail that is taken, in bytes.
const LARGEST: usize = 1024 * 1024;
/// How many connections are served at once; others wait.
const CONNECTIONS: usize = 32;

/// The mails that came.
#[derive(Debug)]
pub struct MailSink {
    address: SocketAddr,
    now: fn() -> i64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    mails: VecDeque<Arc<SunkMail>>,
    bytes: usize,
    came: u64,
}

/// A mail that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SunkMail {
    /// Its number, from 1, in the order of arrival.
    pub number: u64,
    /// When it came, in milliseconds since the Unix epoch.
    pub time: i64,
    /// The sender of the envelope.
    pub from: String,
    /// The recipients of the envelope.
    pub to: Vec<String>,
    /// The subject, as it reads.
    pub subject: String,
    /// The text part, as it reads.
    pub text: Option<String>,
    /// The HTML part: what others wrote is in it, so show it in a sandbox.
    pub html: Option<String>,
    /// The whole message, as it came.
    pub raw: Vec<u8>,
}

impl SunkMail {
    /// Returns the headers in their order, as they read.
    pub fn headers(&self) -> Vec<(String, String)> {
        read::headers(&self.raw)
    }
}

/// A sink that listens, but serves nobody yet.
#[derive(Debug)]
pub struct Listening {
    sink: Arc<MailSink>,
    listener: TcpListener,
}

impl MailSink {
    /// Listens on a free port of the loopback. `now` is the clock, in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// There is no free port.
    pub fn listen(now: fn() -> i64) -> io::Result<Listening> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Listening { sink: Arc::new(Self { address, now, kept: Mutex::default() }), listener })
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns how many mails came, those that are no longer kept included.
    pub fn came(&self) -> u64 {
        self.kept().came
    }

    /// Returns the mails that are kept, the newest first.
    pub fn list(&self) -> Vec<Arc<SunkMail>> {
        self.kept().mails.iter().rev().cloned().collect()
    }

    /// Returns the mail of that number, while it is kept.
    pub fn get(&self, number: u64) -> Option<Arc<SunkMail>> {
        self.kept().mails.iter().find(|mail| mail.number == number).cloned()
    }

    fn keep(&self, from: String, to: Vec<String>, raw: Vec<u8>) {
        let read::Parts { subject, text, html } = read::parts(&raw);
        let time = (self.now)();
        let mut kept = self.kept();
        kept.came = kept.came.saturating_add(1);
        kept.bytes = kept.bytes.saturating_add(raw.len());
        let number = kept.came;
        kept.mails.push_back(Arc::new(SunkMail { number, time, from, to, subject, text, html, raw }));
        while kept.mails.len() > MAILS || kept.bytes > BYTES {
            let Some(oldest) = kept.mails.pop_front() else { break };
            kept.bytes = kept.bytes.saturating_sub(oldest.raw.len());
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listening {
    /// Returns the sink.
    pub fn sink(&self) -> Arc<MailSink> {
        Arc::clone(&self.sink)
    }

    /// Serves until it is dropped, on the runtime that it is polled by.
    ///
    /// # Errors
    /// The listener broke.
    pub async fn serve(self) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut sessions = tokio::task::JoinSet::new();
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
            let (stream, _peer) = listener.accept().await?;
            let sink = Arc::clone(&self.sink);
            sessions.spawn(async move {
                let _place = place;
                // A client that goes away has said what it had to say.
                session::hold(stream, &sink).await.unwrap_or_default();
            });
            while sessions.try_join_next().is_some() {}
        }
    }
}

//! A relay in this process that does what its script says, and remembers what was said to it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// What the relay does.
#[derive(Clone, Copy)]
pub(crate) struct Script {
    /// Said at once; nothing is ever said where there is none.
    pub(crate) greeting: Option<&'static str>,
    /// What EHLO offers beside the name.
    pub(crate) offers: &'static [&'static str],
    /// The answer to AUTH.
    pub(crate) auth: &'static str,
    /// The answer to MAIL; the number counts the mails of the connection, from 1.
    pub(crate) sender: fn(nth: usize) -> &'static str,
    /// The answer to RCPT; the number counts how often this address was named, from 1.
    pub(crate) recipient: fn(address: &str, nth: usize) -> &'static str,
    /// The answer to the mail itself.
    pub(crate) content: Content,
}

#[derive(Clone, Copy)]
pub(crate) enum Content {
    Reply(&'static str),
    Drop,
    Silence,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            greeting: Some("220 relay ready"),
            offers: &["8BITMIME", "SMTPUTF8"],
            auth: "235 welcome",
            sender: |_| "250 ok",
            recipient: |_, _| "250 ok",
            content: Content::Reply("250 2.0.0 taken as 4711"),
        }
    }
}

/// A mail that came whole.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    pub(crate) data: Vec<u8>,
}

#[derive(Default)]
struct Seen {
    connections: usize,
    lines: Vec<String>,
    mails: Vec<Received>,
    named: BTreeMap<String, usize>,
}

/// A relay that is gone when it is dropped.
pub(crate) struct Relay {
    pub(crate) port: u16,
    runtime: Option<Runtime>,
    seen: Arc<Mutex<Seen>>,
}

impl Relay {
    pub(crate) fn start(script: Script) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let shared = Arc::clone(&seen);
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                shared.lock().unwrap().connections += 1;
                tokio::spawn(talk(stream, script, Arc::clone(&shared)));
            }
        });
        Self { port, runtime: Some(runtime), seen }
    }

    pub(crate) fn mails(&self) -> Vec<Received> {
        self.seen.lock().unwrap().mails.clone()
    }

    /// Everything that was said to it but the mails themselves.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen.lock().unwrap().lines.clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn talk(stream: TcpStream, script: Script, seen: Arc<Mutex<Seen>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    match script.greeting {
        Some(greeting) => say(&mut stream, greeting).await?,
        None => std::future::pending().await,
    }
    let (mut from, mut to, mut nth) = (String::new(), Vec::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return Some(());
        }
        seen.lock().unwrap().lines.push(line.trim_end().to_owned());
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" => {
                let offers = script.offers.iter().map(|offer| format!("250-{offer}\r\n")).collect::<String>();
                say(&mut stream, &format!("250-relay\r\n{offers}250 HELP")).await?;
            }
            "AUTH" => say(&mut stream, script.auth).await?,
            "MAIL" => {
                nth += 1;
                from = bracketed(&line);
                say(&mut stream, (script.sender)(nth)).await?;
            }
            "RCPT" => {
                let address = bracketed(&line);
                let named = {
                    let mut seen = seen.lock().unwrap();
                    let named = seen.named.entry(address.clone()).or_default();
                    *named += 1;
                    *named
                };
                let answer = (script.recipient)(&address, named);
                if answer.starts_with('2') {
                    to.push(address);
                }
                say(&mut stream, answer).await?;
            }
            "DATA" => {
                say(&mut stream, "354 go on").await?;
                let data = content(&mut stream).await?;
                let mail = Received { from: from.clone(), to: std::mem::take(&mut to), data };
                seen.lock().unwrap().mails.push(mail);
                match script.content {
                    Content::Reply(reply) => say(&mut stream, reply).await?,
                    Content::Drop => return Some(()),
                    Content::Silence => std::future::pending().await,
                }
            }
            "RSET" => {
                to.clear();
                say(&mut stream, "250 ok").await?;
            }
            "QUIT" => return say(&mut stream, "221 bye").await,
            _ => say(&mut stream, "250 ok").await?,
        }
    }
}

async fn say(stream: &mut BufReader<TcpStream>, reply: &str) -> Option<()> {
    stream.get_mut().write_all(format!("{reply}\r\n").as_bytes()).await.ok()
}

/// Reads up to the line with a dot, as RFC 5321 says, and takes the protecting dots away.
async fn content(stream: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line).await.ok()? == 0 {
            return None;
        }
        assert!(
            line.ends_with(b"\r\n") && !line[..line.len() - 2].contains(&b'\r'),
            "a bare CR or LF: {line:?}"
        );
        assert!(line.len() <= 1_000, "a line of {} octets", line.len());
        if line == b".\r\n" {
            return Some(data);
        }
        data.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}

fn bracketed(line: &str) -> String {
    let inner = line.split_once('<').and_then(|(_, rest)| rest.rsplit_once('>'));
    inner.map(|(address, _)| address.to_owned()).unwrap_or_default()
}

//! One client's dialogue, by RFC 5321.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::adapters::mail_sink::{LARGEST, MailSink};

/// The longest piece that is read at once, in bytes.
const PIECE: u64 = 4_096;
/// How many recipients one mail may have.
const RECIPIENTS: usize = 100;
/// How long a client may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// Talks to a client until it goes.
pub(super) async fn hold(stream: TcpStream, sink: &MailSink) -> io::Result<()> {
    let mut session = Session { stream: BufReader::new(stream), from: None, to: Vec::new() };
    session.say("220 postroom keeps mails to look at").await?;
    while let Some(line) = session.line().await? {
        let line = line.trim_end();
        let (verb, rest) = line.split_at_checked(4).unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => session.say("250-postroom\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE 1048576").await?,
            "HELO" | "NOOP" => session.say("250 ok").await?,
            "RSET" => session.forget("250 forgotten").await?,
            "MAIL" => session.sender(rest).await?,
            "RCPT" => session.recipient(rest).await?,
            "DATA" => session.data(sink).await?,
            "QUIT" => return session.say("221 good bye").await,
            _ => session.say("502 not known here").await?,
        }
    }
    Ok(())
}

struct Session {
    stream: BufReader<TcpStream>,
    from: Option<String>,
    to: Vec<String>,
}

impl Session {
    async fn say(&mut self, reply: &str) -> io::Result<()> {
        self.stream.get_mut().write_all(format!("{reply}\r\n").as_bytes()).await
    }

    async fn forget(&mut self, reply: &str) -> io::Result<()> {
        self.from = None;
        self.to.clear();
        self.say(reply).await
    }

    /// Reads a line; `None` at the end. One that is too long, or no text, is none of a mail client.
    async fn line(&mut self) -> io::Result<Option<String>> {
        let piece = self.piece().await?;
        if piece.is_empty() {
            return Ok(None);
        }
        match String::from_utf8(piece) {
            Ok(line) if line.ends_with('\n') => Ok(Some(line)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Reads to the line's end, but not too far.
    async fn piece(&mut self) -> io::Result<Vec<u8>> {
        let mut piece = Vec::new();
        let mut bounded = (&mut self.stream).take(PIECE);
        timeout(SILENCE, bounded.read_until(b'\n', &mut piece)).await??;
        Ok(piece)
    }

    async fn sender(&mut self, rest: &str) -> io::Result<()> {
        match path(rest, "FROM:") {
            Some(from) if self.from.is_none() => {
                self.from = Some(from);
                self.say("250 ok").await
            }
            Some(_) => self.say("503 one sender a mail").await,
            None => self.say("501 MAIL FROM:<address>").await,
        }
    }

    async fn recipient(&mut self, rest: &str) -> io::Result<()> {
        match path(rest, "TO:") {
            _ if self.from.is_none() => self.say("503 MAIL comes first").await,
            Some(_) if self.to.len() >= RECIPIENTS => self.say("452 enough recipients").await,
            Some(to) if !to.is_empty() => {
                self.to.push(to);
                self.say("250 ok").await
            }
            _ => self.say("501 RCPT TO:<address>").await,
        }
    }

    async fn data(&mut self, sink: &MailSink) -> io::Result<()> {
        if self.to.is_empty() {
            return self.say("503 RCPT comes first").await;
        }
        self.say("354 go on, a dot on a line of its own ends it").await?;
        let Some(message) = self.message().await? else {
            return self.forget("552 it is too large").await;
        };
        let from = self.from.take().unwrap_or_default();
        sink.keep(from, std::mem::take(&mut self.to), message);
        let number = sink.came();
        self.say(&format!("250 kept as number {number}")).await
    }

    /// Reads up to the dot, and takes away those that protected lines; `None` where it was too large.
    async fn message(&mut self) -> io::Result<Option<Vec<u8>>> {
        let (mut message, mut is_too_large, mut is_new_line) = (Vec::new(), false, true);
        loop {
            let piece = self.piece().await?;
            if piece.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if is_new_line && piece == b".\r\n" {
                return Ok((!is_too_large).then_some(message));
            }
            let kept = if is_new_line { piece.strip_prefix(b".").unwrap_or(&piece) } else { &piece };
            is_new_line = piece.ends_with(b"\r\n");
            is_too_large |= message.len().saturating_add(kept.len()) > LARGEST;
            if !is_too_large {
                message.extend_from_slice(kept);
            }
        }
    }
}

/// Returns what stands between the angle brackets.
fn path(rest: &str, keyword: &str) -> Option<String> {
    let rest = rest.trim_start();
    let (word, rest) = rest.split_at_checked(keyword.len())?;
    if !word.eq_ignore_ascii_case(keyword) {
        return None;
    }
    let rest = rest.trim_start().strip_prefix('<')?;
    let end = if rest.starts_with('"') { rest.rfind('>') } else { rest.find('>') };
    end.and_then(|end| rest.get(..end)).map(str::to_owned)
}

//! A host on loopback that answers as it is told, well or badly, and keeps what it was asked.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops where it is wrong")]
#![allow(dead_code, unreachable_pub, clippy::allow_attributes, reason = "each test uses its part")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// One request.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What to answer.
pub enum Script {
    /// These bytes, then the end.
    Say(Vec<u8>),
    /// The start, then the piece again and again, until nobody listens.
    Endless { start: Vec<u8>, piece: Vec<u8>, pause: Duration },
    /// Nothing, until the other side goes away.
    Hang,
}

/// An answer with a status, headers and a body.
pub fn status(code: u16, headers: &[(&str, &str)], body: &str) -> Script {
    let mut text = format!("HTTP/1.1 {code} As Told\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.push_str(body);
    Script::Say(text.into_bytes())
}

/// The host. Ends when it is dropped.
pub struct Host {
    address: SocketAddr,
    seen: watch::Sender<Vec<Seen>>,
    serving: JoinHandle<()>,
}

impl Host {
    pub async fn start(answer: impl Fn(&Seen) -> Script + Send + Sync + 'static) -> Self {
        // Room for a thousand that come at once.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(4_096).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = watch::Sender::new(Vec::new());
        let (noted, answer) = (seen.clone(), Arc::new(answer));
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, noted.clone(), Arc::clone(&answer)));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, seen, serving }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.borrow().clone()
    }

    /// Waits until enough was asked, and returns it.
    pub async fn until(&self, enough: impl FnMut(&Vec<Seen>) -> bool) -> Vec<Seen> {
        let mut seen = self.seen.subscribe();
        let waited = tokio::time::timeout(PATIENCE, seen.wait_for(enough)).await;
        match waited {
            Ok(seen) => seen.unwrap().clone(),
            Err(_late) => panic!("waited in vain; seen were {} requests", self.seen().len()),
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Answers one request of a connection; what breaks is the other side's wish.
async fn serve(mut stream: TcpStream, seen: watch::Sender<Vec<Seen>>, answer: Arc<impl Fn(&Seen) -> Script>) {
    let Some(asked) = request(&mut stream).await else { return };
    let script = answer(&asked);
    seen.send_modify(|all| all.push(asked));
    match script {
        Script::Say(bytes) => {
            stream.write_all(&bytes).await.unwrap_or_default();
            stream.shutdown().await.unwrap_or_default();
        }
        Script::Endless { start, piece, pause } => {
            let mut wrote = stream.write_all(&start).await;
            while wrote.is_ok() {
                tokio::time::sleep(pause).await;
                wrote = stream.write_all(&piece).await;
            }
        }
        Script::Hang => {
            let mut rest = [0; 64];
            while stream.read(&mut rest).await.is_ok_and(|count| count > 0) {}
        }
    }
}

async fn request(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let end = loop {
        let mut piece = [0; 4_096];
        let count = stream.read(&mut piece).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(piece.get(..count)?);
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
    };
    let head = String::from_utf8_lossy(bytes.get(..end)?).into_owned();
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        let mut piece = [0; 4_096];
        let count = stream.read(&mut piece).await.ok().filter(|count| *count > 0)?;
        body.extend_from_slice(piece.get(..count)?);
    }
    Some(Seen { method, path, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

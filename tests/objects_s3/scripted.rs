//! A server in this process that gives the answers of a script, one a request, and remembers the requests.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// What a request is answered with; the connection is closed behind it.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Nothing, while the connection stays open.
    Silence,
    /// These bytes, and then more for ever.
    Endless(Vec<u8>),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) line: String,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// Returns a header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// A server that is gone when it is dropped. After the script's end its last answer is repeated.
pub(crate) struct Server {
    pub(crate) port: u16,
    runtime: Option<Runtime>,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub(crate) fn start(script: Vec<Answer>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let seen = Arc::clone(&requests);
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(talk(stream, script.clone(), Arc::clone(&seen)));
            }
        });
        Self { port, runtime: Some(runtime), requests }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// An answer with a status line and headers; `head` ends without a line break.
pub(crate) fn answer(head: &str, body: &[u8]) -> Answer {
    let mut bytes = format!(
        "HTTP/1.1 {head}\r\nContent-Length: {}\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nConnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    Answer::Bytes(bytes)
}

/// An error as S3 words it.
pub(crate) fn error(status: u16, code: &str) -> Answer {
    let body = format!(
        "<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>said\nby the test</Message></Error>"
    );
    answer(&format!("{status} Odd\r\nContent-Type: application/xml"), body.as_bytes())
}

async fn talk(mut stream: TcpStream, script: Vec<Answer>, seen: Arc<Mutex<Vec<Request>>>) -> Option<()> {
    let request = read(&mut stream).await?;
    let nth = {
        let mut seen = seen.lock().unwrap();
        seen.push(request);
        seen.len() - 1
    };
    match script.get(nth).or_else(|| script.last())? {
        Answer::Bytes(bytes) => stream.write_all(bytes).await.ok()?,
        Answer::Silence => tokio::time::sleep(Duration::from_secs(3_600)).await,
        Answer::Endless(bytes) => {
            stream.write_all(bytes).await.ok()?;
            while stream.write_all(&[b'x'; 4_096]).await.is_ok() {}
        }
    }
    stream.shutdown().await.ok()
}

async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let line = head.lines().next()?.to_owned();
    let mut request = Request { line, head, body: bytes[end..].to_vec() };
    let length: usize = request.header("content-length").unwrap_or("0").parse().ok()?;
    while request.body.len() < length {
        if stream.read_buf(&mut request.body).await.ok()? == 0 {
            return None;
        }
    }
    Some(request)
}

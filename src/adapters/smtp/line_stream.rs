//! A connection that hands out one line at a time.
//!
//! What arrives behind the answer to STARTTLS, in the clear, must not be taken for an answer that came encrypted. The
//! client's buffer would keep it over the change; here it stays below the encryption, which then refuses it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A connection whose reads end with the line.
#[derive(Debug)]
pub(super) struct LineStream {
    inner: TcpStream,
    arrived: Vec<u8>,
    taken: usize,
}

impl LineStream {
    pub(super) fn new(inner: TcpStream) -> Self {
        Self { inner, arrived: Vec::new(), taken: 0 }
    }
}

impl AsyncRead for LineStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.taken == this.arrived.len() {
            let mut space = [0_u8; 4_096];
            let mut read = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut read))?;
            this.arrived.clear();
            this.arrived.extend_from_slice(read.filled());
            this.taken = 0;
        }
        let rest = this.arrived.get(this.taken..).unwrap_or_default();
        let line =
            rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |place| place.saturating_add(1));
        let count = line.min(out.remaining());
        out.put_slice(rest.get(..count).unwrap_or_default());
        this.taken = this.taken.saturating_add(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LineStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

impl AsyncTokioStream for LineStream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.inner.peer_addr()
    }
}

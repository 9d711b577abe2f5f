//! Asks a running instance over HTTP: one request, one answer, bounded in time and size.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::config::Secret;

/// Gets a page from `address` (`host:port`).
pub(crate) fn get(address: &str, path: &str, token: Option<&Secret>) -> Result<String, Failure> {
    let (code, body) = ask(address, path, token)?;
    match code.as_str() {
        "200" => Ok(body),
        "401" | "403" | "421" => {
            Err(Failure::new(Exit::NotAuthorised, format!("{address} refuses: {}", body.trim()))
                .fix("set admin.token_file in the configuration that this command reads"))
        }
        _ => Err(Failure::new(Exit::Unavailable, format!("{address} answers {code} to {path}"))
            .fix("is that address a Postroom of this version?")),
    }
}

/// Gets a page that needs no token: its code and what it says.
pub(crate) fn probe(address: &str, path: &str) -> Result<(String, String), Failure> {
    ask(address, path, None)
}

fn ask(address: &str, path: &str, token: Option<&Secret>) -> Result<(String, String), Failure> {
    let answer = exchange(address, path, token).map_err(|error| {
        Failure::new(Exit::Unavailable, format!("no Postroom answers at {address}: {error}"))
            .fix("start one with `postroom demo` or `postroom run`, or name another with --url")
    })?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let code = head.split(' ').nth(1).unwrap_or_default();
    Ok((code.to_owned(), body.to_owned()))
}

fn exchange(address: &str, path: &str, token: Option<&Secret>) -> io::Result<String> {
    let mut stream = connect(address.to_socket_addrs()?)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let bearer =
        token.map_or_else(String::new, |token| format!("Authorization: Bearer {}\r\n", token.expose()));
    let request =
        format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: application/json\r\n{bearer}\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(LARGEST).read_to_end(&mut answer)?;
    String::from_utf8(answer)
        .map_err(|_not_text| io::Error::new(io::ErrorKind::InvalidData, "the answer is not text"))
}

/// Connects to the first address that answers: `localhost` is often two, of which a process listens on one.
fn connect(addresses: impl Iterator<Item = SocketAddr>) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

const PATIENCE: Duration = Duration::from_secs(5);
const LARGEST: u64 = 32 * 1_024 * 1_024;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::net::TcpListener;

    use super::*;

    #[test]
    fn of_several_addresses_of_a_name_the_one_that_answers_counts() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();

        assert!(connect([closed, open].into_iter()).is_ok());
        assert!(connect([closed].into_iter()).is_err());
        assert!(connect([].into_iter()).is_err());
    }
}

//! Asks a running instance over HTTP: one request, one answer, bounded in time and size.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
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
    let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let target = address.to_socket_addrs()?.next().ok_or_else(none)?;
    let mut stream = TcpStream::connect_timeout(&target, PATIENCE)?;
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

const PATIENCE: Duration = Duration::from_secs(5);
const LARGEST: u64 = 32 * 1_024 * 1_024;

//! A registry behind TLS, with a certificate of its own authority.

use std::io::{Read, Write};
use std::net::TcpListener;

use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslAcceptor, SslMethod};
use openssl::x509::X509;
use postroom::codec::SchemaRef;
use postroom::ports::{SchemaAnswer, SchemaSource};

use super::*;
use crate::certificates::signed;

/// Makes an authority, and a certificate of it for a name.
fn certificates(name: &str) -> (X509, X509, PKey<Private>) {
    let (authority, authority_key) = signed(&format!("An authority of {name}"), None);
    let (certificate, key) = signed(name, Some((&authority, &authority_key)));
    (authority, certificate, key)
}

/// Serves one question over TLS; returns its port.
fn serve(certificate: &X509, key: &PKey<Private>) -> u16 {
    let mut acceptor = SslAcceptor::mozilla_intermediate(SslMethod::tls_server()).unwrap();
    acceptor.set_private_key(key).unwrap();
    acceptor.set_certificate(certificate).unwrap();
    let acceptor = acceptor.build();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        // A client that does not trust us goes away in mid-greeting.
        let Ok(mut stream) = acceptor.accept(stream) else { return };
        let mut asked = [0; 4_096];
        if stream.read(&mut asked).is_ok_and(|count| count > 0) {
            let body = r#"{"schema": "\"long\""}"#;
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).unwrap_or_default();
            drop(stream.shutdown());
        }
    });
    port
}

async fn asked(name: &str, trusted: &[&X509]) -> Result<SchemaAnswer, String> {
    let (authority, certificate, key) = certificates(name);
    let port = serve(&certificate, &key);
    let authorities: Vec<_> = if trusted.is_empty() { vec![] } else { vec![authority.to_pem().unwrap()] };
    let mut bundle = Vec::new();
    // Somebody else's first: a file may hold several.
    for one in trusted {
        bundle.extend(one.to_pem().unwrap());
    }
    let authorities = authorities.into_iter().map(|own| [bundle.clone(), own].concat()).collect();
    let settings = RegistrySettings { authorities, ..settings(&format!("https://localhost:{port}")) };
    let server = RegistryServer::new(settings).unwrap();
    server.schema(SchemaRef::Id(7)).await.map_err(|away| away.to_string())
}

#[tokio::test]
async fn a_certificate_of_a_configured_authority_is_taken_whichever_stands_first_in_the_file() {
    let (other, _, _) = certificates("other.example");

    let answer = asked("localhost", &[&other]).await;

    assert_eq!(answer, Ok(SchemaAnswer::Found { text: "\"long\"".to_owned(), guid: None }));
}

#[tokio::test]
async fn a_strangers_certificate_and_one_for_another_host_are_an_outage() {
    let (other, _, _) = certificates("other.example");

    let unknown = asked("localhost", &[]).await;
    let other_host = asked("other.example", &[&other]).await;

    for answer in [unknown, other_host] {
        assert!(answer.as_ref().is_err_and(|why| why.contains("certificate")), "{answer:?}");
    }
}

//! Encrypted connections, against Python's TLS with certificates that are made for the test.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use postroom::adapters::smtp::Smtp;
use postroom::config::{MailSecurity, Secret};
use postroom::ports::{MailError, MailReply, Mailer};
use tempfile::TempDir;

use crate::{mail, settings};

/// A certificate and its key, for one host name.
struct Certificate {
    folder: TempDir,
}

impl Certificate {
    /// `None`, and loudly, where the tool is missing.
    fn of(host: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
            ])
            .args(["-subj", "/CN=relay", "-addext", &format!("subjectAltName=DNS:{host}")])
            .arg("-out")
            .arg(folder.path().join("certificate.pem"))
            .arg("-keyout")
            .arg(folder.path().join("key.pem"))
            .output();
        match made {
            Ok(made) => assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr)),
            Err(error) => {
                eprintln!("SKIPPED: openssl cannot be run: {error}");
                return None;
            }
        }
        Some(Self { folder })
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }
}

/// A relay in a process of its own, which ends with its standard input.
struct TlsRelay {
    port: u16,
    child: Child,
    out: BufReader<ChildStdout>,
}

impl TlsRelay {
    fn start(mode: &str, certificate: &Certificate) -> Self {
        let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/smtp_tls.py");
        let mut child = Command::new("python3")
            .arg(server)
            .arg(mode)
            .arg(certificate.path())
            .arg(certificate.folder.path().join("key.pem"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut port = String::new();
        out.read_line(&mut port).unwrap();
        Self { port: port.trim().parse().unwrap(), child, out }
    }

    /// Ends it and returns what came.
    fn mails(mut self) -> Vec<String> {
        drop(self.child.stdin.take());
        let lines = (&mut self.out).lines().map(Result::unwrap).collect();
        self.child.wait().unwrap();
        lines
    }
}

impl Drop for TlsRelay {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().map(|_status| ()).unwrap_or_default();
    }
}

async fn send(
    relay: &TlsRelay,
    security: MailSecurity,
    trusted: Option<&Certificate>,
) -> Result<MailReply, MailError> {
    let mut settings = settings(relay.port);
    "localhost".clone_into(&mut settings.host);
    settings.security = security;
    settings.ca = trusted.map(Certificate::path);
    settings.credentials = Some(("user".to_owned(), Secret::new("s3cret-canary")));
    Smtp::new(settings).unwrap().send(&mail()).await
}

#[tokio::test]
async fn a_certificate_that_is_trusted_and_fits_lets_mail_through() {
    let Some(certificate) = Certificate::of("localhost") else { return };
    for (mode, security) in [("implicit", MailSecurity::Tls), ("starttls", MailSecurity::Starttls)] {
        let relay = TlsRelay::start(mode, &certificate);

        let sent = send(&relay, security, Some(&certificate)).await;

        assert_eq!(sent, Ok(MailReply("250 taken".to_owned())), "{mode}");
        assert_eq!(relay.mails(), ["mail <ana@example.org>"]);
    }
}

#[tokio::test]
async fn a_certificate_of_a_stranger_or_for_another_host_is_an_outage_and_nothing_is_sent() {
    let (Some(own), Some(other)) = (Certificate::of("localhost"), Certificate::of("elsewhere.example"))
    else {
        return;
    };
    for (presented, trusted) in [(&own, None), (&own, Some(&other)), (&other, Some(&other))] {
        for (mode, security) in [("implicit", MailSecurity::Tls), ("starttls", MailSecurity::Starttls)] {
            let relay = TlsRelay::start(mode, presented);

            let sent = send(&relay, security, trusted).await;

            assert!(matches!(sent, Err(MailError::Away(_))), "{mode}: {sent:?}");
            assert!(relay.mails().is_empty());
        }
    }
}

#[tokio::test]
async fn what_somebody_adds_behind_the_answer_to_starttls_is_not_taken_for_the_relays() {
    let Some(certificate) = Certificate::of("localhost") else { return };
    let relay = TlsRelay::start("injecting", &certificate);

    let sent = send(&relay, MailSecurity::Starttls, Some(&certificate)).await;

    let Err(MailError::Away(why)) = sent else { panic!("{sent:?}") };
    assert!(why.starts_with("the connection cannot be encrypted by STARTTLS"), "{why}");
    assert!(relay.mails().is_empty());
}

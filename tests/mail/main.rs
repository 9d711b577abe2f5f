//! Mail against SMTP servers that behave as servers do: well, badly, and not at all.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests"
)]

mod addresses;
mod classes;
mod corpora;
mod effect;
mod relay;
mod sink;
mod tls;

use std::path::{Path, PathBuf};
use std::time::Duration;

use postroom::adapters::smtp::{Smtp, SmtpSettings};
use postroom::config::{MailSecurity, UrlTemplate};
use postroom::effects::mail::{Stationery, Templates};
use postroom::event::MailRequested;
use postroom::ports::Mail;

const NOW: i64 = 1_800_000_000_000;

fn settings(port: u16) -> SmtpSettings {
    SmtpSettings {
        host: "127.0.0.1".to_owned(),
        port,
        security: MailSecurity::Plaintext,
        ca: None,
        credentials: None,
        helo: Some("blog.example".to_owned()),
        timeout: Duration::from_secs(20),
        rate: None,
    }
}

fn smtp(port: u16) -> Smtp {
    Smtp::new(settings(port)).unwrap()
}

fn mail() -> Mail {
    mail_with("Subject: x\r\n\r\nbody\r\n")
}

fn mail_with(message: &str) -> Mail {
    Mail {
        from: "blog@blog.example".to_owned(),
        to: "ana@example.org".to_owned(),
        message: message.as_bytes().to_vec(),
    }
}

fn stationery() -> Stationery {
    Stationery {
        from: "The Blog <blog@blog.example>".parse().unwrap(),
        domain: "blog.example".to_owned(),
        link: Some(UrlTemplate::read("https://blog.example/{slug}").unwrap()),
        unsubscribe: Some(
            UrlTemplate::read("https://blog.example/unsubscribe?who={recipient}&what={reason}").unwrap(),
        ),
        templates: Templates::new([]).unwrap(),
    }
}

fn request(id: &str, address: &str) -> MailRequested {
    MailRequested {
        event_id: id.to_owned(),
        blog: "blog".to_owned(),
        recipient: id.to_owned(),
        address: address.to_owned(),
        locale: "en".to_owned(),
        reason: "comment".to_owned(),
        source_event: "event-1".to_owned(),
        post_id: Some("post-1".to_owned()),
        post_title: Some("Hello".to_owned()),
        post_slug: Some("hello".to_owned()),
        author: Some("bo".to_owned()),
        text: Some("First!".to_owned()),
        occurred_at: NOW,
        requested_at: NOW,
        ..MailRequested::default()
    }
}

/// Returns a file of the shared data; `None`, and loudly, where it is missing.
fn shared(path: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let folder = std::env::var_os("POSTROOM_SHARED_DATA").map_or(beside, PathBuf::from);
    let file = folder.join(path);
    if !file.exists() {
        eprintln!("SKIPPED: {} is missing", file.display());
        return None;
    }
    Some(file)
}

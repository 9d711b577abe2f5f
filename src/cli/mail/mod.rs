//! Mail from the configuration, and what a person can see of it.

pub(crate) mod preview;

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

use crate::adapters::smtp::{Smtp, SmtpSettings};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::config::{Config, MAILS_AT_ONCE, MailSection, Relay, Sender};
use crate::effects::mail::{DEPENDENCY, Mail, Stationery, Templates};
use crate::runtime::Group;

/// Says what is wrong with the templates and with the relay's settings, without a network; nothing where no mail is
/// configured.
pub(crate) fn check(config: &Config) -> Result<(), Failure> {
    let mail = &config.mail;
    templates(mail)?;
    match &mail.relay {
        Some(relay) => smtp(mail, relay).map(|_smtp| ()),
        None => Ok(()),
    }
}

/// Makes the group; `None` where it is not configured.
pub(crate) fn group(config: &Config) -> Result<Option<Group>, Failure> {
    let mail = &config.mail;
    let (Some(relay), Some(from)) = (&mail.relay, &mail.from) else { return Ok(None) };
    let handler = Mail {
        mailer: Arc::new(smtp(mail, relay)?),
        stationery: stationery(mail, from)?,
        budget: mail.budget,
        on_unknown: mail.on_unknown,
        owner: owner(),
        now,
    };
    let group = Group::each("mail", handler).concurrency(MAILS_AT_ONCE);
    Ok(Some(group.depends_on(DEPENDENCY)))
}

/// What all mails have in common.
pub(crate) fn stationery(mail: &MailSection, from: &Sender) -> Result<Stationery, Failure> {
    Ok(Stationery {
        from: from.0.clone(),
        domain: mail.domain.clone().unwrap_or_else(|| from.0.email.domain().to_owned()),
        link: mail.link.clone(),
        unsubscribe: mail.unsubscribe.clone(),
        templates: templates(mail)?,
    })
}

/// The present, in milliseconds since the Unix epoch.
pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Makes the client of the relay.
pub(crate) fn smtp(mail: &MailSection, relay: &Relay) -> Result<Smtp, Failure> {
    let settings = SmtpSettings {
        host: relay.host.clone(),
        port: relay.port,
        security: mail.security,
        ca: mail.ca.clone(),
        credentials: mail.username.clone().zip(mail.password.clone()),
        helo: mail.helo.clone(),
        timeout: mail.timeout,
        rate: NonZeroU32::new(mail.rate),
    };
    Smtp::new(settings).map_err(|error| Failure::new(Exit::Configuration, error.to_string()))
}

/// Who we are in the ledger: no two processes are alike, and none is like one before it.
fn owner() -> String {
    format!("{}/{:016x}", std::process::id(), fastrand::u64(..))
}

fn templates(mail: &MailSection) -> Result<Templates, Failure> {
    let replaced = mail.templates.as_deref().map_or_else(|| Ok(Vec::new()), sources)?;
    Templates::new(replaced).map_err(|problems| {
        let folder = mail.templates.as_deref().unwrap_or_else(|| Path::new(""));
        let lines: Vec<_> =
            problems.iter().map(|problem| folder.join(problem.to_string()).display().to_string()).collect();
        Failure::new(Exit::Configuration, lines.join("\n"))
            .fix("mend the templates in mail.templates; `postroom mail preview` shows what they make")
    })
}

/// Reads the templates of a folder. Other files in it are left alone.
fn sources(folder: &Path) -> Result<Vec<(String, String)>, Failure> {
    let unreadable = |path: &Path, error: std::io::Error| {
        Failure::new(
            Exit::Configuration,
            format!("mail.templates: {} cannot be read: {error}", path.display()),
        )
    };
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| unreadable(folder, error))? {
        let path = entry.map_err(|error| unreadable(folder, error))?.path();
        let is_template = path.extension().is_some_and(|end| end == "txt" || end == "html");
        let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|_| is_template) else {
            continue;
        };
        let source = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, error))?;
        sources.push((name.to_owned(), source));
    }
    sources.sort();
    Ok(sources)
}

//! What effects need beside Kafka: the registry, the mail relay, caches, pictures.

use std::io::Cursor;

use crate::adapters::registry::{Compatibility, ServerError};
use crate::cli::doctor::finding::Finding;
use crate::cli::doctor::host::writable;
use crate::cli::doctor::patient::{Patient, kinds};
use crate::cli::{effects, mail as mails, schemas};
use crate::config::Place;
use crate::ports::{CacheError, MailError, ObjectError, Pictures, Stale};
use crate::runtime::registry_server;

pub(crate) fn effects(patient: &Patient) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(failure) = &patient.flawed {
        findings.push(Finding::of(failure));
    }
    if !patient.groups.is_empty() {
        let names: Vec<_> = patient.groups.iter().map(|member| member.group.as_str()).collect();
        findings.push(Finding::ok(format!("{} groups: {}", names.len(), names.join(", "))));
    }
    for (name, lacks) in &patient.lacking {
        findings.push(Finding::skip(format!("{name} does not run: {lacks}")));
    }
    findings
}

pub(crate) async fn registry(patient: &Patient) -> Vec<Finding> {
    let server = match registry_server(&patient.config) {
        Err(why) => return vec![Finding::fail(why, "correct [registry]")],
        Ok(None) => {
            return vec![match schemas::codec(&patient.config) {
                Ok(_) => Finding::ok(
                    "no registry server is used: schemas are those built in and of registry.directory",
                ),
                Err(failure) => Finding::of(&failure),
            }];
        }
        Ok(Some(server)) => server,
    };
    let mut findings = match server.look().await {
        Ok((subjects, _)) => vec![Finding::ok(format!("it answers, and has {subjects} subjects"))],
        Err(error) => return vec![refused(&error)],
    };
    let mut fresh = Vec::new();
    for kind in kinds() {
        let subject = format!("{}-{}", kind.topic, kind.record);
        match server.check(&subject, kind.schema).await {
            Ok(Compatibility::Compatible) => {}
            Ok(Compatibility::New) => fresh.push(subject),
            Ok(Compatibility::Incompatible(lines)) => findings.push(Finding::warn(
                format!("our schema may not follow the newest of {subject}: {}", lines.join("; ")),
                "use the version of Postroom that this schema was made for, or change the subject's compatibility",
            )),
            Err(error) => {
                findings.push(refused(&error));
                return findings;
            }
        }
    }
    if !fresh.is_empty() {
        findings.push(Finding::ok(format!("not registered yet, producers do that: {}", fresh.join(", "))));
    }
    findings
}

fn refused(error: &ServerError) -> Finding {
    Finding::fail(
        error.to_string(),
        match error {
            ServerError::Away(_) => "start the registry, or correct registry.url",
            ServerError::Unauthorised(_) => {
                "correct registry.username and registry.password_file, or registry.token_file"
            }
            ServerError::Refused(_)
            | ServerError::Unregistered { .. }
            | ServerError::Foreign(_)
            | ServerError::Unusable(_) => "correct registry.url",
        },
    )
}

pub(crate) async fn mail(patient: &Patient) -> Vec<Finding> {
    let settings = &patient.config.mail;
    let Some(relay) = &settings.relay else {
        return vec![Finding::skip("mail.relay is not set: no mail is sent")];
    };
    let smtp = match mails::smtp(settings, relay) {
        Ok(smtp) => smtp,
        Err(failure) => return vec![Finding::of(&failure)],
    };
    match smtp.check().await {
        Ok(()) => {
            let login = if settings.username.is_some() { ", and lets us in" } else { "" };
            vec![Finding::ok(format!("{relay} answers ({}){login}", settings.security.word()))]
        }
        Err(error) => {
            let fix = match &error {
                MailError::Misconfigured(_) => "correct mail.username and mail.password_file",
                MailError::Refused(_)
                | MailError::Later(_)
                | MailError::Away(_)
                | MailError::BadAddress(_)
                | MailError::Unknown(_) => {
                    "check mail.relay, mail.security and mail.ca, and that the relay runs; mails wait meanwhile"
                }
            };
            vec![Finding::fail(error.to_string(), fix)]
        }
    }
}

pub(crate) async fn pictures(patient: &Patient) -> Vec<Finding> {
    let objects = &patient.config.objects;
    let (Some(source), Some(target)) = (&objects.source, objects.target()) else {
        return vec![Finding::skip("objects.source is not set: no thumbnails are made")];
    };
    let mut findings = vec![place("objects.source", source, patient).await];
    if let Place::Folder(folder) = target
        && let Err(why) = writable(folder)
    {
        findings.push(Finding::fail(
            format!("thumbnails go to {target}: {why}"),
            "make the folder, and let this user write to it",
        ));
    } else if target != source {
        findings.push(place("objects.target", target, patient).await);
    }
    let (pool, spec) = effects::pictures(&patient.config);
    findings.push(match pool.thumbnails(dot(), &spec).await {
        Ok(_) => Finding::ok("the worker makes thumbnails"),
        Err(error) => Finding::fail(
            format!("the worker does not work: {error}"),
            "check thumbnails.worker, thumbnails.memory and thumbnails.timeout",
        ),
    });
    findings
}

/// Asks a place for an object that is not there.
async fn place(setting: &str, place: &Place, patient: &Patient) -> Finding {
    let asked = match effects::open(place, &patient.config) {
        Ok(objects) => objects.read(NOTHING, 1).await,
        Err(failure) => return Finding::of(&failure),
    };
    let seen = |why: &dyn std::fmt::Display| format!("{setting} = {place}: {why}");
    match asked {
        Ok(_) | Err(ObjectError::NotFound(_) | ObjectError::TooLarge { .. }) => {
            Finding::ok(format!("{setting} = {place} answers"))
        }
        Err(error @ (ObjectError::Away(_) | ObjectError::Failed { .. } | ObjectError::BadKey { .. })) => {
            Finding::fail(seen(&error), "make it and let this user in, or correct [objects] and [s3]")
        }
    }
}

/// A picture of two by two pixels.
fn dot() -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    let picture = image::RgbImage::from_pixel(2, 2, image::Rgb([200, 100, 50]));
    // It goes into memory.
    picture.write_to(&mut file, image::ImageFormat::Png).unwrap_or_default();
    file.into_inner()
}

pub(crate) async fn caches(patient: &Patient) -> Vec<Finding> {
    let caches = effects::caches(&patient.config);
    if caches.is_empty() {
        return vec![Finding::skip("[purge] names no cache")];
    }
    // Of a name that nothing has.
    let urls = patient.config.purge.urls.0.iter();
    let mut pages: Vec<String> = urls.filter_map(|pattern| nowhere(&pattern.to_string())).collect();
    pages.sort();
    pages.dedup();
    let stale =
        Stale { urls: pages, surrogate_keys: vec![NOTHING.to_owned()], entries: vec![NOTHING.to_owned()] };
    let mut findings = Vec::new();
    for cache in caches {
        if let Err(error) = cache.purge(&stale).await {
            let fix = match error {
                CacheError::Away(_) => "start the cache, let this machine purge it, or correct [purge]",
                CacheError::Refused { .. } => "correct [purge]",
            };
            findings.push(Finding::fail(error.to_string(), fix));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok("they let us purge"));
    }
    findings
}

/// Returns an address at the same server at which nothing is.
fn nowhere(pattern: &str) -> Option<String> {
    let bare = pattern.replace(['{', '}'], "-");
    let url = url::Url::parse(&bare).ok()?;
    url.join(&format!("/{NOTHING}")).ok().map(|url| url.to_string())
}

const NOTHING: &str = "postroom-doctor";

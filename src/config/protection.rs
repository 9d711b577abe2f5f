//! How connections to Kafka are protected: what single settings of `[kafka]` cannot show.

use std::path::Path;

use crate::config::load::Reader;
use crate::config::sections::{Kafka, SaslMechanism, Security};

pub(super) fn check(kafka: &Kafka, reader: &mut Reader<'_>) {
    credentials(kafka, reader);
    certificates(kafka, reader);
    if !reader.is_for_elsewhere() {
        readable(kafka, reader);
    }
}

fn credentials(kafka: &Kafka, reader: &mut Reader<'_>) {
    let word = kafka.security.word();
    let sasl = matches!(kafka.security, Security::SaslPlaintext | Security::SaslSsl);
    let complete =
        kafka.sasl.mechanism.is_some() && kafka.sasl.username.is_some() && kafka.sasl.password.is_some();
    if sasl && !complete {
        let why = format!("{word} needs kafka.sasl.mechanism, username and password");
        reader.refuse("kafka.security", why, "set all three; the password best by kafka.sasl.password_file");
    }
    if !sasl && kafka.sasl.password.is_some() {
        let why = format!("is set, but kafka.security = {word:?} never uses it");
        reader.refuse("kafka.sasl.password", why, "set kafka.security = \"sasl_ssl\"");
    } else if !sasl && kafka.sasl.mechanism.is_some() {
        let why = format!("is set, but kafka.security = {word:?} never uses it");
        reader.warn("kafka.sasl.mechanism", why, "set kafka.security = \"sasl_ssl\", or remove it");
    }
    let scram = matches!(kafka.sasl.mechanism, Some(SaslMechanism::ScramSha256 | SaslMechanism::ScramSha512));
    if kafka.security == Security::SaslPlaintext && scram && !kafka.insecure_dev {
        reader.warn(
            "kafka.security",
            "sasl_plaintext with SCRAM hides the password, but others can read and change the events",
            "set kafka.security = \"sasl_ssl\"",
        );
    }
}

fn certificates(kafka: &Kafka, reader: &mut Reader<'_>) {
    let tls = &kafka.tls;
    if matches!(kafka.security, Security::Plaintext | Security::SaslPlaintext) {
        let set = [
            ("ca", tls.ca.is_some()),
            ("certificate", tls.certificate.is_some()),
            ("key", tls.key.is_some()),
        ];
        for (name, _) in set.into_iter().filter(|(_, is_set)| *is_set) {
            let why = format!("is set, but kafka.security = {:?} never uses it", kafka.security.word());
            reader.refuse(&format!("kafka.tls.{name}"), why, "set kafka.security = \"ssl\" or \"sasl_ssl\"");
        }
    }
    if tls.certificate.is_some() != tls.key.is_some() {
        let (is, lacks) = if tls.key.is_some() { ("key", "certificate") } else { ("certificate", "key") };
        let why = format!("is set, but kafka.tls.{lacks} is not: they belong together");
        reader.refuse(&format!("kafka.tls.{is}"), why, format!("set kafka.tls.{lacks}"));
    }
    if tls.key_password.is_some() && tls.key.is_none() {
        reader.refuse("kafka.tls.key_password", "is set, but kafka.tls.key is not", "set kafka.tls.key");
    }
}

fn readable(kafka: &Kafka, reader: &mut Reader<'_>) {
    let tls = &kafka.tls;
    for (name, file) in [("ca", &tls.ca), ("certificate", &tls.certificate), ("key", &tls.key)] {
        let Some(file) = file else { continue };
        if let Some(why) = flaw(file) {
            let why = format!("{} {why}", file.display());
            reader.refuse(
                &format!("kafka.tls.{name}"),
                why,
                "name a file in PEM format that this user can read",
            );
        }
    }
}

fn flaw(file: &Path) -> Option<String> {
    match std::fs::read(file) {
        Err(error) => Some(format!("cannot be read: {error}")),
        Ok(bytes) if !bytes.windows(PEM.len()).any(|window| window == PEM) => {
            Some("is not in PEM format".to_owned())
        }
        Ok(_) => None,
    }
}

const PEM: &[u8] = b"-----BEGIN ";

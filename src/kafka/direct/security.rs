//! How a connection is protected, read from the properties that every client is built with; and under which name the
//! broker knows us.

use std::path::Path;

use openssl::asn1::Asn1Time;
use openssl::nid::Nid;
use openssl::x509::X509;

use crate::kafka::config::Connection;

/// The security of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Security<'a>(&'a Connection);

impl<'a> Security<'a> {
    pub(crate) fn of(connection: &'a Connection) -> Self {
        Self(connection)
    }

    fn property(self, name: &str) -> Option<&'a str> {
        self.0.properties.get(name).map(String::as_str)
    }

    /// The protocol's name, in small letters.
    pub(crate) fn protocol(self) -> String {
        self.property("security.protocol").unwrap_or("plaintext").to_ascii_lowercase()
    }

    pub(crate) fn has_tls(self) -> bool {
        self.protocol().ends_with("ssl")
    }

    pub(crate) fn has_sasl(self) -> bool {
        self.protocol().starts_with("sasl")
    }

    pub(crate) fn ca(self) -> Option<&'a str> {
        self.property("ssl.ca.location")
    }

    pub(crate) fn certificate(self) -> Option<&'a str> {
        self.property("ssl.certificate.location")
    }

    pub(crate) fn key(self) -> Option<&'a str> {
        self.property("ssl.key.location")
    }

    pub(crate) fn key_password(self) -> Option<&'a str> {
        self.property("ssl.key.password")
    }

    pub(crate) fn mechanism(self) -> Option<&'a str> {
        self.property("sasl.mechanism").or_else(|| self.property("sasl.mechanisms"))
    }

    pub(crate) fn username(self) -> Option<&'a str> {
        self.property("sasl.username")
    }

    pub(crate) fn password(self) -> Option<&'a str> {
        self.property("sasl.password")
    }

    /// For how many more days our certificate is valid; negative once it is over.
    pub(crate) fn certificate_days(self) -> Option<i32> {
        let file = self.certificate().filter(|_| self.has_tls())?;
        let certificate = X509::from_pem(&std::fs::read(file).ok()?).ok()?;
        let now = Asn1Time::days_from_now(0).ok()?;
        now.diff(certificate.not_after()).ok().map(|left| left.days.saturating_add(left.secs.min(0).signum()))
    }

    /// The principal that the broker's rules are about, as far as it can be known here: a broker may map names.
    pub(crate) fn principal(self) -> String {
        if self.has_sasl() {
            return format!("User:{}", self.username().unwrap_or("ANONYMOUS"));
        }
        let subject = self.certificate().filter(|_| self.has_tls()).and_then(|file| subject(Path::new(file)));
        format!("User:{}", subject.as_deref().unwrap_or("ANONYMOUS"))
    }
}

/// The subject of a certificate as Java writes it (RFC 2253): the last part first.
fn subject(file: &Path) -> Option<String> {
    let certificate = X509::from_pem(&std::fs::read(file).ok()?).ok()?;
    let part = |entry: &openssl::x509::X509NameEntryRef| {
        let value = entry.data().to_string().ok()?;
        let escaped: String = value
            .chars()
            .flat_map(|char| {
                let odd = ",+\"\\<>;".contains(char);
                odd.then_some('\\').into_iter().chain([char])
            })
            .collect();
        let name = match entry.object().nid() {
            Nid::UNDEF => entry.object().to_string(),
            nid => nid.short_name().ok()?.to_owned(),
        };
        Some(format!("{name}={escaped}"))
    };
    let mut parts: Vec<_> = certificate.subject_name().entries().map(part).collect::<Option<_>>()?;
    parts.reverse();
    Some(parts.join(","))
}

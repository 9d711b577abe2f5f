//! Why a broker does not talk to us, and what to do about it.

use crate::kafka::config::Connection;
use crate::kafka::direct::security::Security;
use crate::ports::EdgeError;

/// Why a broker does not talk to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nobody is there, or it does not answer in time: may pass.
    Away(String),
    /// It hung up.
    Closed,
    /// We shake hands for TLS, and the other side does not speak it.
    NotTls,
    /// We speak in the clear, and the other side speaks TLS.
    SpeaksTls,
    /// The broker's certificate comes from nobody whom we trust.
    Untrusted(String),
    /// It names other hosts than the one we asked for.
    WrongHost,
    /// It is not valid any more.
    Expired,
    /// The broker does not accept our certificate, or wants one.
    ClientCertificate(String),
    /// It wants to know who we are first.
    WantsCredentials,
    /// It does not ask for credentials, and takes none.
    TakesNoCredentials,
    /// It does not know our mechanism, but these.
    Mechanism(Vec<String>),
    /// It refuses our credentials, in its words.
    Credentials(String),
    /// Our own files cannot be used.
    Local(String),
    /// This client does not know how: nothing is said about the broker.
    Unknown(String),
}

/// Something that is in the way between a broker and us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// What was seen.
    pub seen: String,
    /// What to do about it.
    pub fix: String,
    /// Whether nobody was there at all: that may pass by itself.
    pub is_away: bool,
    refused: bool,
}

impl Obstacle {
    /// Turns it into an error that says both.
    pub fn error(self) -> EdgeError {
        let text = if self.fix.is_empty() { self.seen } else { format!("{}: {}", self.seen, self.fix) };
        match (self.is_away, self.refused) {
            (true, _) => EdgeError::Unreachable(text),
            (false, true) => EdgeError::NotAuthorised(text),
            (false, false) => EdgeError::Configuration(text),
        }
    }
}

impl Trouble {
    /// Says whether it may pass by itself, or is not for us to judge.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Away(_) | Self::Closed | Self::Unknown(_))
    }

    /// Says what was seen at `broker`, and what to do.
    pub(crate) fn obstacle(self, broker: &str, connection: &Connection) -> Obstacle {
        let security = Security::of(connection);
        let is_away = self.may_pass();
        let refused = matches!(self, Self::Credentials(_));
        let fix = self.fix(security);
        let seen = if let Self::Local(why) = self {
            why
        } else {
            format!("broker {broker}: {}", self.seen(security))
        };
        Obstacle { seen, fix, is_away, refused }
    }

    fn seen(self, security: Security<'_>) -> String {
        let protocol = security.protocol();
        match self {
            Self::Away(why) | Self::Unknown(why) | Self::Local(why) => why,
            Self::Closed => "it closed the connection".to_owned(),
            Self::NotTls => {
                format!("it does not speak TLS at this port, but kafka.security = \"{protocol}\"")
            }
            Self::SpeaksTls => format!("it speaks TLS at this port, but kafka.security = \"{protocol}\""),
            Self::Untrusted(why) => match security.ca() {
                Some(ca) => {
                    format!("its certificate was not issued by an authority in kafka.tls.ca = {ca} ({why})")
                }
                None => {
                    format!("its certificate was not issued by an authority that this system trusts ({why})")
                }
            },
            Self::WrongHost => "its certificate is for another host name".to_owned(),
            Self::Expired => "its certificate has expired".to_owned(),
            Self::ClientCertificate(why) => match security.certificate() {
                Some(file) => {
                    format!("it does not accept our certificate kafka.tls.certificate = {file} ({why})")
                }
                None => format!("it wants a client certificate ({why})"),
            },
            Self::WantsCredentials => "it closes the connection, since it wants credentials".to_owned(),
            Self::TakesNoCredentials => "it does not ask for credentials at this port".to_owned(),
            Self::Mechanism(_) => {
                format!("it does not know the SASL mechanism {}", security.mechanism().unwrap_or_default())
            }
            Self::Credentials(said) => format!(
                "it refuses the credentials of user {:?} by {} ({said})",
                security.username().unwrap_or_default(),
                security.mechanism().unwrap_or_default()
            ),
        }
    }

    fn fix(&self, security: Security<'_>) -> String {
        let (sasl, tls) = (security.has_sasl(), security.has_tls());
        match self {
            Self::Away(_) | Self::Closed | Self::Unknown(_) | Self::Local(_) => String::new(),
            Self::NotTls => format!(
                "set kafka.security = \"{}\", or name the broker's TLS port in kafka.brokers",
                if sasl { "sasl_plaintext" } else { "plaintext" }
            ),
            Self::SpeaksTls => format!(
                "set kafka.security = {}, or name the broker's plaintext port in kafka.brokers",
                if sasl { "\"sasl_ssl\"" } else { "\"ssl\" or \"sasl_ssl\"" }
            ),
            Self::Untrusted(_) if security.ca().is_some() => {
                "put the certificate of the broker's authority into that file".to_owned()
            }
            Self::Untrusted(_) => "set kafka.tls.ca to the certificate of the broker's authority".to_owned(),
            Self::WrongHost => {
                "name the broker in kafka.brokers as its certificate does, or have one issued that holds \
                                this name as subjectAltName"
                    .to_owned()
            }
            Self::Expired => "renew it on the broker, and look at this machine's clock".to_owned(),
            Self::ClientCertificate(_) if security.certificate().is_some() => {
                "it must be valid, for clients, and issued by an authority in the broker's ssl.truststore"
                    .to_owned()
            }
            Self::ClientCertificate(_) => "set kafka.tls.certificate and kafka.tls.key".to_owned(),
            Self::WantsCredentials => format!(
                "set kafka.security = \"{}\" and [kafka.sasl]",
                if tls { "sasl_ssl" } else { "sasl_plaintext" }
            ),
            Self::TakesNoCredentials => format!(
                "set kafka.security = \"{}\", or name the broker's SASL port in kafka.brokers",
                if tls { "ssl" } else { "plaintext" }
            ),
            Self::Mechanism(offered) => {
                format!("set kafka.sasl.mechanism to one of {}", offered.join(", "))
            }
            Self::Credentials(_) => {
                "check kafka.sasl.username and kafka.sasl.password_file, and that the broker knows \
                                     this user for this mechanism"
                    .to_owned()
            }
        }
    }
}

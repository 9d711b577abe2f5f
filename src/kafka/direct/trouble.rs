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

impl Trouble {
    /// Says whether it may pass by itself, or is not for us to judge.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Away(_) | Self::Closed | Self::Unknown(_))
    }

    /// Turns it into an error that says what to do. `broker` is where it was met.
    pub(crate) fn error(self, broker: &str, connection: &Connection) -> EdgeError {
        let security = Security::of(connection);
        let protocol = security.protocol();
        let wrong = |text: String| EdgeError::Configuration(format!("broker {broker}: {text}"));
        match self {
            Self::Away(why) | Self::Unknown(why) => EdgeError::Unreachable(format!("{broker}: {why}")),
            Self::Closed => EdgeError::Unreachable(format!("{broker}: it closed the connection")),
            Self::NotTls => wrong(format!(
                "it does not speak TLS at this port, but kafka.security = \"{protocol}\": set it to \"{}\", or name the \
                 broker's TLS port in kafka.brokers",
                if security.has_sasl() { "sasl_plaintext" } else { "plaintext" }
            )),
            Self::SpeaksTls => wrong(format!(
                "it speaks TLS at this port, but kafka.security = \"{protocol}\": set it to \"{}\", or name the broker's \
                 plaintext port in kafka.brokers",
                if security.has_sasl() { "sasl_ssl" } else { "ssl\" or \"sasl_ssl" }
            )),
            Self::Untrusted(why) => wrong(match security.ca() {
                Some(ca) => format!(
                    "its certificate was not issued by an authority in kafka.tls.ca = {ca} ({why}): put the certificate \
                     of the broker's authority into that file"
                ),
                None => format!(
                    "its certificate was not issued by an authority that this system trusts ({why}): set kafka.tls.ca to \
                     the certificate of the broker's authority"
                ),
            }),
            Self::WrongHost => wrong(
                "its certificate is for another host name: name the broker in kafka.brokers as its certificate does, or \
                 have one issued that holds this name as subjectAltName"
                    .to_owned(),
            ),
            Self::Expired => wrong(
                "its certificate has expired: renew it on the broker, and look at this machine's clock".to_owned(),
            ),
            Self::ClientCertificate(why) => wrong(match security.certificate() {
                Some(file) => format!(
                    "it does not accept our certificate kafka.tls.certificate = {file} ({why}): it must be valid, for \
                     clients, and issued by an authority in the broker's ssl.truststore"
                ),
                None => format!(
                    "it wants a client certificate ({why}): set kafka.tls.certificate and kafka.tls.key"
                ),
            }),
            Self::WantsCredentials => wrong(format!(
                "it closes the connection, as a listener does that wants credentials: set kafka.security = \"{}\" and \
                 [kafka.sasl]",
                if security.has_tls() { "sasl_ssl" } else { "sasl_plaintext" }
            )),
            Self::TakesNoCredentials => wrong(format!(
                "it does not ask for credentials at this port: set kafka.security = \"{}\", or name its SASL port in \
                 kafka.brokers",
                if security.has_tls() { "ssl" } else { "plaintext" }
            )),
            Self::Mechanism(offered) => wrong(format!(
                "it does not know the SASL mechanism {}: set kafka.sasl.mechanism to one of {}",
                security.mechanism().unwrap_or_default(),
                offered.join(", ")
            )),
            Self::Credentials(said) => EdgeError::NotAuthorised(format!(
                "broker {broker} refuses the credentials of user {:?} by {} ({said}): check kafka.sasl.username and \
                 kafka.sasl.password_file, and that the broker knows this user for this mechanism",
                security.username().unwrap_or_default(),
                security.mechanism().unwrap_or_default(),
            )),
            Self::Local(why) => EdgeError::Configuration(why),
        }
    }
}

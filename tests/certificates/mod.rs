//! Certificates that are made by the test: of an authority, and of it for a name.
#![expect(clippy::unwrap_used, reason = "tests")]

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};

/// Makes an authority, or a certificate of one, with its key. It is valid for two days.
pub(crate) fn signed(name: &str, by: Option<(&X509, &PKey<Private>)>) -> (X509, PKey<Private>) {
    valid(name, by, (0, 2))
}

/// Makes one that is valid from a day to another, counted from now.
pub(crate) fn valid(
    name: &str,
    by: Option<(&X509, &PKey<Private>)>,
    days: (i64, i64),
) -> (X509, PKey<Private>) {
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
    let at = |days: i64| Asn1Time::from_unix(now + days * 86_400).unwrap();
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_text("CN", name).unwrap();
    let subject = subject.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let number = if by.is_some() { 2 } else { 1 };
    builder.set_serial_number(&BigNum::from_u32(number).unwrap().to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_issuer_name(by.map_or(&*subject, |(authority, _)| authority.subject_name())).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&at(days.0)).unwrap();
    builder.set_not_after(&at(days.1)).unwrap();
    if by.is_none() {
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
    } else {
        let names = SubjectAlternativeName::new().dns(name).build(&builder.x509v3_context(None, None));
        builder.append_extension(names.unwrap()).unwrap();
    }
    builder.sign(by.map_or(&*key, |(_, key)| key), MessageDigest::sha256()).unwrap();
    (builder.build(), key)
}

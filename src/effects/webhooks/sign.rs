//! Signatures as Standard Webhooks wants them: HMAC-SHA256 over `id.timestamp.body`.

use standardwebhooks::Webhook;

/// Why a secret cannot be used. The secret itself is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSecret {
    /// There is none.
    #[error("there is no secret to sign with")]
    None,
    /// It is not `whsec_` and base64.
    #[error("a secret is not written as whsec_ and base64")]
    NotBase64,
    /// It has too few or too many bytes.
    #[error("a secret has {0} bytes, not 24 to 64")]
    Length(usize),
}

/// Says whether a secret is `whsec_` and base64 of 24 to 64 bytes.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_secret(secret: &str) -> Result<(), BadSecret> {
    let text = secret.strip_prefix("whsec_").ok_or(BadSecret::NotBase64)?;
    key(secret)?;
    let bytes = text.trim_end_matches('=').len() * 3 / 4;
    if (24..=64).contains(&bytes) { Ok(()) } else { Err(BadSecret::Length(bytes)) }
}

/// Signs a message with each secret: `v1,…` words, with spaces between.
///
/// # Errors
/// A secret cannot be used, or there is none: nothing goes out without a signature.
pub fn signature(secrets: &[String], id: &str, seconds: i64, body: &str) -> Result<String, BadSecret> {
    if secrets.is_empty() {
        return Err(BadSecret::None);
    }
    let signed: Result<Vec<_>, _> = secrets
        .iter()
        .map(|secret| {
            check_secret(secret)?;
            key(secret)?.sign(id, seconds, body.as_bytes()).map_err(|_unfit| BadSecret::NotBase64)
        })
        .collect();
    Ok(signed?.join(" "))
}

fn key(secret: &str) -> Result<Webhook, BadSecret> {
    Webhook::new(secret).map_err(|_unfit| BadSecret::NotBase64)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// The example of the specification.
    #[test]
    fn the_known_vector_is_signed_as_known() {
        let signed = signature(
            &[SECRET.to_owned()],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            "{\"test\": 2432232314}",
        );

        assert_eq!(signed.unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn two_secrets_make_two_signatures() {
        let other = format!("whsec_{}", "A".repeat(43) + "=");
        let both = signature(&[other.clone(), SECRET.to_owned()], "id", 1, "{}").unwrap();
        let alone = [&other, SECRET].map(|secret| signature(&[secret.to_owned()], "id", 1, "{}").unwrap());

        assert_eq!(both, alone.join(" "));
    }

    #[test]
    fn weak_and_broken_secrets_are_refused() {
        for (secret, why) in [
            ("", BadSecret::NotBase64),
            ("whsec_", BadSecret::Length(0)),
            ("whsec_c2hvcnQ=", BadSecret::Length(5)),
            ("whsec_not base64 at all, though it is long", BadSecret::NotBase64),
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", BadSecret::NotBase64),
        ] {
            assert_eq!(check_secret(secret), Err(why), "{secret}");
            assert!(signature(&[secret.to_owned()], "id", 1, "{}").is_err(), "{secret}");
        }
        assert_eq!(signature(&[], "id", 1, "{}"), Err(BadSecret::None));
        assert_eq!(check_secret(SECRET), Ok(()));
    }
}

//! What a server's refusal means: decided here, once.

use std::error::Error as _;
use std::fmt;

use object_store::client::HttpError;

use crate::ports::ObjectError;

/// The bucket that was asked, for messages.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    pub(super) name: String,
    pub(super) prefix: String,
}

/// An answer that is no success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    status: u16,
    /// The word for it in S3's dialect; `None` where something else answered.
    code: Option<String>,
    message: String,
    /// Where the bucket is, if the answer says so.
    region: Option<String>,
}

impl Fault {
    /// Reads an answer.
    pub(super) fn read(status: u16, region: Option<String>, body: &[u8]) -> Self {
        let body = String::from_utf8_lossy(body);
        let code = between(&body, "<Code>", "</Code>").map(in_a_line);
        let message = between(&body, "<Message>", "</Message>").map(in_a_line).unwrap_or_default();
        Self { status, code, message, region: region.as_deref().map(in_a_line) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}

/// Returns what an error means for the object `key`.
pub(super) fn meaning(error: object_store::Error, key: &str, bucket: &Bucket) -> ObjectError {
    let mut cause = error.source();
    let mut broken = None;
    while let Some(at) = cause {
        if let Some(fault) = at.downcast_ref::<Fault>() {
            return of_fault(fault, key, bucket);
        }
        if let Some(http) = at.downcast_ref::<HttpError>() {
            broken = Some(chain(http));
        }
        cause = at.source();
    }
    // No answer, or none that can be read: nothing of it says anything about the object.
    let why = broken.unwrap_or_else(|| error.to_string());
    ObjectError::Away(format!("the bucket {}: {}", bucket.name, in_a_line(&why)))
}

fn of_fault(fault: &Fault, key: &str, bucket: &Bucket) -> ObjectError {
    let name = &bucket.name;
    let away = |why: String| ObjectError::Away(format!("the bucket {name}: {why} ({fault})"));
    let Some(code) = fault.code.as_deref() else {
        return match fault.status {
            300..=499 => away("what answers does not speak S3: look at s3.endpoint".to_owned()),
            _ => away("it cannot serve".to_owned()),
        };
    };
    match (fault.status, code) {
        (404, "NoSuchKey") => ObjectError::NotFound(key.to_owned()),
        (404, "NoSuchBucket") => away("it does not exist".to_owned()),
        (300..=399, _) | (_, "AuthorizationHeaderMalformed" | "PermanentRedirect" | "TemporaryRedirect") => {
            let region = fault.region.as_deref().map(|region| format!(" = {region:?}")).unwrap_or_default();
            away(format!("it is in another region or at another endpoint: set s3.region{region}"))
        }
        (_, "RequestTimeTooSkewed") => away("this machine's clock is wrong".to_owned()),
        (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch") => {
            away("the credentials are not accepted".to_owned())
        }
        (_, "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired") => {
            away("the credentials are no longer valid".to_owned())
        }
        // An object in the archive; others are served.
        (_, "InvalidObjectState" | "KeyTooLongError" | "EntityTooLarge" | "MethodNotAllowed") => {
            failed(fault, key)
        }
        (401 | 403, _) => away(format!(
            "access denied to {}{key}. Allowed must be s3:GetObject, s3:PutObject where thumbnails go, and s3:ListBucket, without which a missing object looks like this",
            if bucket.prefix.is_empty() { String::new() } else { format!("{}/", bucket.prefix) }
        )),
        (_, "RequestTimeout" | "SlowDown" | "OperationAborted" | "ServiceUnavailable" | "InternalError")
        | (404 | 408 | 409 | 429 | 500.., _) => away("it cannot serve".to_owned()),
        (_, _) => failed(fault, key),
    }
}

fn failed(fault: &Fault, key: &str) -> ObjectError {
    ObjectError::Failed { key: key.to_owned(), why: fault.to_string() }
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    let (_before, rest) = text.split_once(begin)?;
    rest.split_once(end).map(|(found, _behind)| found)
}

/// An error with its causes, each once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}

/// What others say goes into logs and tables: one line, without control characters, not too long.
fn in_a_line(text: &str) -> String {
    let words = text.split(|char: char| char.is_control() || char.is_whitespace());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ").chars().take(300).collect()
}

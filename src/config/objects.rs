//! `[objects]` and `[s3]`: where pictures lie and thumbnails go.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use figment::value::Value;

use crate::config::leaf::is_loopback_host;
use crate::config::load::Reader;
use crate::config::part::{Leaf, Refusal, section};
use crate::config::secret::Secret;
use crate::config::sections::Config;

section! {
    /// `[objects]`: where uploaded pictures lie and thumbnails go.
    pub struct Objects {
        /// Where uploaded pictures lie: a folder that object keys are paths in, such as Django's media root (links in it are not followed), or `s3://bucket/prefix`. Without it there are no thumbnails.
        source: Option<Place> = None,
        /// Where thumbnails go; to the pictures where it is not set.
        target: Option<Place> = None,
    }
}

impl Objects {
    /// Returns where thumbnails go.
    pub fn target(&self) -> Option<&Place> {
        self.target.as_ref().or(self.source.as_ref())
    }
}

section! {
    /// `[s3]`: how the buckets of `[objects]` are reached. What is not set here is taken from the usual variables of AWS: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL_S3`, `AWS_ROLE_ARN` with `AWS_WEB_IDENTITY_TOKEN_FILE`, `AWS_CONTAINER_CREDENTIALS_*`; then from the instance.
    pub struct S3Section {
        /// The server's address, such as `https://minio.example.org:9000`; Amazon's where it is not set.
        endpoint: Option<String> = None,
        /// The region that requests are signed for; `us-east-1` where nothing says another.
        region: Option<String> = None,
        /// Whether the bucket is named in the path of addresses, which all servers understand, or in their host.
        path_style: bool = true,
        /// The key's id; where it is set, the environment's credentials are not looked at.
        access_key_id: Option<Secret> = None,
        /// The key.
        secret_access_key: Option<Secret> = None,
        /// The token of a key that ends.
        session_token: Option<Secret> = None,
        /// Whether the endpoint may have an `http` address outside of this machine. Pictures can then be read and changed on their way.
        allow_http: bool = false,
        /// A PEM file of authorities to trust beside the system's.
        ca: Option<PathBuf> = None,
        /// How long one reading or writing may take in all, with two repeats of requests that failed.
        timeout: Duration = Duration::from_secs(10),
        /// The `Cache-Control` of thumbnails. Their names come from the pictures, so that caches may keep them.
        cache_control: String = "public, max-age=31536000, immutable".to_owned(),
    }
}

/// Where objects are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a folder, as files.
    Folder(PathBuf),
    /// In a bucket.
    S3 {
        /// The bucket.
        bucket: String,
        /// What keys begin with there, without slashes around it; may be empty.
        prefix: String,
    },
}

impl Place {
    /// Says whether it is in S3.
    pub fn is_s3(&self) -> bool {
        matches!(self, Self::S3 { .. })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

impl Leaf for Place {
    const KIND: &'static str = "a path, or `s3://bucket/prefix`";

    fn parse(value: &Value) -> Result<Self, Refusal> {
        let text = String::parse(value)?;
        let fix = "write a path, or \"s3://bucket/prefix\"";
        let Some((scheme, rest)) = text.split_once("://") else { return Ok(Self::Folder(text.into())) };
        if scheme != "s3" {
            return Err(Refusal::new("names a kind of store that is not known", fix));
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let odd = |char: char| !char.is_ascii_alphanumeric() && !"._-".contains(char);
        if !(3..=63).contains(&bucket.len()) || bucket.contains(odd) {
            return Err(Refusal::new(format!("{bucket:?} is no bucket's name"), fix));
        }
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let odd = |part: &str| matches!(part, "" | "." | "..") || part.contains(char::is_control);
        if !prefix.is_empty() && (prefix.split('/').any(odd) || prefix.len() > LONGEST_PREFIX) {
            return Err(Refusal::new(format!("{prefix:?} is no relative path of plain names"), fix));
        }
        if prefix.contains(['\\', '?', '#']) {
            return Err(Refusal::new("holds a backslash, a question mark or a hash", fix));
        }
        Ok(Self::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }

    fn text(&self) -> String {
        format!("{:?}", self.to_string())
    }
}

/// Checks what single values cannot show.
pub(super) fn check(config: &Config, reader: &mut Reader<'_>) {
    let Objects { source, target } = &config.objects;
    if source.is_none() && target.is_some() {
        let why = "is set, but objects.source is not: there are no thumbnails";
        reader.warn("objects.target", why, "set objects.source");
    }
    let mut used = false;
    for (path, place) in [("objects.source", source), ("objects.target", target)] {
        let Some(place) = place.as_ref().filter(|place| place.is_s3()) else { continue };
        used = true;
        if !cfg!(feature = "s3") {
            let why = format!("{place} is in S3, and this program was built without the feature s3");
            reader.refuse(path, why, "build it with `cargo build --release --features s3`, or name a folder");
        }
    }
    let s3 = &config.s3;
    if let Some(endpoint) = &s3.endpoint {
        check_endpoint(endpoint, s3.allow_http, reader);
    }
    if s3.access_key_id.is_some() != s3.secret_access_key.is_some() {
        let why = "s3.access_key_id and s3.secret_access_key belong together, and one of them is not set";
        let fix = "set both, best by s3.secret_access_key_file; or none, for the environment's";
        reader.refuse("s3.access_key_id", why, fix);
    }
    if s3.session_token.is_some() && s3.access_key_id.is_none() {
        let why = "is set, but s3.access_key_id is not: it is never used";
        reader.refuse("s3.session_token", why, "set all three, or none");
    }
    if s3.timeout.is_zero() {
        reader.refuse("s3.timeout", "nothing is read in no time", "use 10s");
    } else if used {
        in_time(config, reader);
    }
    if s3.cache_control.contains(|char: char| !char.is_ascii() || char.is_ascii_control()) {
        reader.refuse("s3.cache_control", "holds what no header may hold", "use \"no-cache\"");
    }
}

/// An attempt must end by its own time-outs, before the effect's deadline: a bucket that hangs is an outage then, and
/// not an attempt of the picture's.
fn in_time(config: &Config, reader: &mut Reader<'_>) {
    let deadline = crate::config::check::deadline(config, "thumbnails");
    let (transfer, picture) = (config.s3.timeout, config.thumbnails.timeout);
    if transfer.saturating_mul(2).saturating_add(picture) >= deadline {
        let why = format!(
            "twice {} to read and to write, and thumbnails.timeout = {} between them, are not shorter than effects.thumbnails.deadline = {}",
            super::span::written(transfer),
            super::span::written(picture),
            super::span::written(deadline)
        );
        reader.refuse("s3.timeout", why, "shorten it, or lengthen the deadline");
    }
}

fn check_endpoint(endpoint: &str, allow_http: bool, reader: &mut Reader<'_>) {
    let path = "s3.endpoint";
    let fix = "write \"https://host:port\"";
    let url = match url::Url::parse(endpoint) {
        Ok(url) => url,
        Err(error) => return reader.refuse(path, format!("it is no address: {error}"), fix),
    };
    if !url.username().is_empty() || url.password().is_some() {
        let fix = "set s3.access_key_id_file and s3.secret_access_key_file";
        return reader.refuse(path, "it holds credentials", fix);
    }
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return reader.refuse(path, format!("{} is no web address", url.scheme()), fix);
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return reader.refuse(path, "it has more than a host and a port", fix);
    }
    if url.scheme() == "http" && !allow_http && !is_loopback_host(url.host_str().unwrap_or_default()) {
        let why = "over http others can read and change what is sent";
        reader.refuse(path, why, "write https, or set s3.allow_http = true in a network of your own");
    }
}

const LONGEST_PREFIX: usize = 500;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn place(text: &str) -> Result<Place, Refusal> {
        Place::parse(&Value::from(text))
    }

    #[test]
    fn a_place_is_a_folder_or_a_bucket_and_reads_the_same_again() {
        let bucket = |bucket: &str, prefix: &str| Place::S3 { bucket: bucket.into(), prefix: prefix.into() };
        for (text, expected) in [
            ("/srv/media", Place::Folder("/srv/media".into())),
            ("media", Place::Folder("media".into())),
            ("s3://blog-media", bucket("blog-media", "")),
            ("s3://blog.media/", bucket("blog.media", "")),
            ("s3://blog/a/b b/", bucket("blog", "a/b b")),
        ] {
            let read = place(text).unwrap();
            assert_eq!(read, expected, "{text}");
            assert_eq!(place(&read.to_string()).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn a_place_that_is_neither_is_refused() {
        for odd in
            ["gs://blog/a", "https://s3.example.org/blog", "s3://", "s3://ab", "s3://b g/a", "s3:///key"]
        {
            assert!(place(odd).is_err(), "{odd}");
        }
        for odd in ["s3://blog/../a", "s3://blog//a", "s3://blog/a?versionId=1", "s3://blog/a/./b"] {
            assert!(place(odd).is_err(), "{odd}");
        }
    }
}

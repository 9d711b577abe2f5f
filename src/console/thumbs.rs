//! The thumbnails that were made, to be looked at.

use std::future::Future;
use std::pin::Pin;

use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::console::pages::Desk;

/// Where thumbnails are found.
pub trait Gallery: Send + Sync + 'static {
    /// Returns the latest thumbnails, newest first; none where the store does not answer.
    fn recent(&self, count: usize) -> GalleryFuture<'_, Vec<Thumb>>;

    /// Reads the bytes of a thumbnail by its checked name; `None` where there is none.
    fn read<'a>(&'a self, name: &'a str) -> GalleryFuture<'a, Option<Vec<u8>>>;
}

/// The answer of a gallery.
pub type GalleryFuture<'a, V> = Pin<Box<dyn Future<Output = V> + Send + 'a>>;

/// One thumbnail.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Thumb {
    /// Its name below `/thumbs/`: the object's key.
    pub name: String,
    /// What it is made of: the picture's object key.
    pub of: String,
    /// Its size in pixels.
    pub width: u32,
    /// Its height in pixels.
    pub height: u32,
    /// A tiny picture as a `data:` URL, to be seen before the thumbnail is there.
    pub placeholder: Option<String>,
    /// The event that asked for it.
    pub event: Option<String>,
}

/// Leaves of the placeholders those that are pictures.
pub(crate) fn checked(mut thumbs: Vec<Thumb>) -> Vec<Thumb> {
    thumbs.retain(|thumb| is_checked(&thumb.name));
    for thumb in &mut thumbs {
        thumb.placeholder = thumb.placeholder.take().filter(|url| url.starts_with("data:image/"));
    }
    thumbs
}

/// Serves a thumbnail's bytes, if they are a picture.
pub(crate) async fn serve(State(desk): State<Desk>, Path(name): Path<String>) -> Response {
    let none = || (StatusCode::NOT_FOUND, "there is no such picture\n").into_response();
    let Some(gallery) = desk.gallery().filter(|_| is_checked(&name)) else { return none() };
    let Some(bytes) = desk.in_time(gallery.read(&name)).await.flatten() else { return none() };
    let Some(kind) = kind(&bytes) else { return none() };
    let mut answer = bytes.into_response();
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("inline"));
    // Names come from the content.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=86400, immutable"));
    answer
}

/// Says whether a name can only be a file below the folder.
fn is_checked(name: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    };
    name.len() <= 512 && name.split('/').all(is_part)
}

/// Returns the media type that the first bytes tell.
fn kind(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_below_the_folder_pass() {
        assert!(is_checked("thumbs/ab12/320.webp"));
        for odd in
            ["", "/etc/passwd", "../x", "a/../b", "a//b", ".env", "a/.b", "a\\b", "a b", "a%2f", "ü.png"]
        {
            assert!(!is_checked(odd), "{odd}");
        }
    }

    #[test]
    fn only_pictures_are_served() {
        assert_eq!(kind(b"\x89PNG\r\n"), Some("image/png"));
        assert_eq!(kind(b"RIFF\0\0\0\0WEBPVP8 "), Some("image/webp"));
        assert_eq!(kind(b"<svg onload=alert(1)>"), None);
        assert_eq!(kind(b"<html>"), None);
    }
}

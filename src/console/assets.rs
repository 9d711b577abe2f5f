//! The style and the script of the page, served from the binary under names that change with their content.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

/// Where the style and the script lie.
pub(crate) static STYLE: LazyLock<String> = LazyLock::new(|| name("console", CSS, "css"));
pub(crate) static SCRIPT: LazyLock<String> = LazyLock::new(|| name("console", JS, "js"));

/// Serves an asset by its name.
pub(crate) async fn serve(Path(asked): Path<String>) -> Response {
    let (kind, text) = if asked == *STYLE {
        ("text/css; charset=utf-8", CSS)
    } else if asked == *SCRIPT {
        ("text/javascript; charset=utf-8", JS)
    } else {
        return (StatusCode::NOT_FOUND, "there is no such asset\n").into_response();
    };
    // The name changes with the content.
    let forever = "public, max-age=31536000, immutable";
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, forever)], text).into_response()
}

fn name(stem: &str, text: &str, ending: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let short: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("{stem}-{short}.{ending}")
}

const CSS: &str = include_str!("templates/console.css");
const JS: &str = include_str!("templates/console.js");

//! Thumbnails: the worker process, hostile pictures, published corpora, and the effect.
#![expect(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests"
)]

mod bombs;
mod corpora;
mod effect;
mod made;
mod workers;

use std::path::PathBuf;
use std::time::Duration;

use postroom::adapters::pictures::{PicturePool, WorkerSettings};
use postroom::ports::{PictureError, PictureFlaw, Pictures, ThumbnailSpec, Thumbnails};

/// What a worker may have, and what it must never use of it on a picture that is refused.
const MEMORY: u64 = 1 << 30;

fn settings() -> WorkerSettings {
    WorkerSettings {
        program: PathBuf::from(env!("CARGO_BIN_EXE_postroom")),
        workers: 1,
        memory: MEMORY,
        timeout: Duration::from_secs(120),
    }
}

fn pool() -> PicturePool {
    PicturePool::new(settings())
}

fn spec() -> ThumbnailSpec {
    ThumbnailSpec { widths: vec![320, 640, 1_280], max_pixels: 50_000_000, quality: 82 }
}

async fn thumbnails(pool: &PicturePool, picture: Vec<u8>) -> Result<Thumbnails, PictureError> {
    pool.thumbnails(picture, &spec()).await
}

/// Returns what is wrong with a picture that must be refused.
async fn flaw(pool: &PicturePool, picture: Vec<u8>) -> (PictureFlaw, String) {
    match thumbnails(pool, picture).await {
        Err(PictureError::Bad { flaw, message }) => (flaw, message),
        other => panic!("not refused as a bad picture: {other:?}"),
    }
}

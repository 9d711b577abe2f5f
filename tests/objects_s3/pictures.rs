//! Real pictures out of a bucket into another, as out of a folder: the same bytes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use postroom::Group;
use postroom::adapters::objects::Folder;
use postroom::adapters::pictures::{PicturePool, WorkerSettings};
use postroom::effects::Thumbnail;
use postroom::event::ImageUploaded;
use postroom::ports::{Objects, ThumbnailSpec};
use postroom::testkit::TestBench;
use sha2::{Digest, Sha256};

use crate::moto::Moto;
use crate::{bucket, section};

/// The shared collection of pictures, good and broken, where it is.
fn collection() -> Vec<PathBuf> {
    let root = std::env::var_os("POSTROOM_SHARED_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    let folder = root.join("images");
    if folder.is_dir() {
        return files(&folder);
    }
    eprintln!("SKIPPED: {} is missing", folder.display());
    Vec::new()
}

fn group(source: Arc<dyn Objects>, target: Arc<dyn Objects>) -> Group {
    let pictures = PicturePool::new(WorkerSettings {
        program: PathBuf::from(env!("CARGO_BIN_EXE_postroom")),
        workers: 1,
        memory: 1 << 30,
        timeout: Duration::from_secs(120),
    });
    let thumbnail = Thumbnail {
        source,
        target,
        pictures: Arc::new(pictures),
        spec: ThumbnailSpec { widths: vec![320, 640, 1_280], max_pixels: 50_000_000, quality: 82 },
        max_bytes: 32 << 20,
        prefix: "thumbs".to_owned(),
    };
    Group::each("thumbnails", thumbnail).deadline(Duration::from_secs(300))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

#[test]
fn thumbnails_of_real_pictures_in_a_bucket_are_those_of_a_folder() {
    let Some(moto) = Moto::start() else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        moto.make_bucket("uploads").await;
        moto.make_bucket("thumbs").await;
    });
    let root = tempfile::tempdir().unwrap();
    let folder = Arc::new(Folder::new(root.path()));
    let uploads = Arc::new(bucket("uploads", "blog", section(moto.port)));
    let thumbs = Arc::new(bucket("thumbs", "", section(moto.port)));
    let mut in_folder = TestBench::new(group(folder.clone(), folder.clone()));
    let mut in_bucket = TestBench::new(group(uploads.clone(), thumbs));
    let pictures = collection();
    for (number, path) in pictures.iter().enumerate() {
        let bytes = std::fs::read(path).unwrap();
        let key = format!("images/{number}/{}", path.file_name().unwrap().to_str().unwrap());
        let event = ImageUploaded {
            event_id: format!("e{number}"),
            object_key: key.clone(),
            sha256: Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect(),
            size: i64::try_from(bytes.len()).unwrap(),
            occurred_at: 1_700_000_000_000,
            ..ImageUploaded::default()
        };
        runtime.block_on(async {
            folder.write(&key, bytes.clone(), "image/jpeg").await.unwrap();
            uploads.write(&key, bytes, "image/jpeg").await.unwrap();
        });
        in_folder = in_folder.given(&event);
        in_bucket = in_bucket.given(&event);
    }

    let (of_folder, of_bucket) = (in_folder.run(), in_bucket.run());

    assert_eq!(of_folder.dead_letters(), of_bucket.dead_letters());
    let rows = "SELECT name, media_type, width, height FROM thumbnail_files ORDER BY name";
    assert_eq!(of_folder.rows(rows), of_bucket.rows(rows));
    let made = if pictures.is_empty() { Vec::new() } else { files(&root.path().join("thumbs")) };
    for path in &made {
        let key = path.strip_prefix(root.path()).unwrap().to_str().unwrap();
        let (kind, _, served) = runtime.block_on(moto.served(&format!("thumbs/{key}")));
        assert_eq!(served, std::fs::read(path).unwrap(), "{key}");
        assert_eq!(kind, if key.ends_with(".png") { "image/png" } else { "image/jpeg" });
    }
    assert_eq!(runtime.block_on(moto.keys("thumbs")).len(), made.len());
    let bad = of_bucket.dead_letters().len();
    eprintln!("{} files, {bad} of them refused, {} thumbnails, equal in both", pictures.len(), made.len());
}

#[test]
fn a_demo_reads_its_pictures_from_a_bucket_and_writes_their_thumbnails_into_another() {
    let Some(moto) = Moto::start() else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        moto.make_bucket("uploads").await;
        moto.make_bucket("thumbs").await;
    });
    let home = tempfile::tempdir().unwrap();

    let output = Command::new(env!("CARGO_BIN_EXE_postroom"))
        .args(["demo", "--until-idle", "--events", "300", "--port", "0", "-o", "json"])
        .args(["--set", "objects.source=s3://uploads/in", "--set", "objects.target=s3://thumbs/out"])
        .env_clear()
        .env("HOME", home.path())
        .env("TMPDIR", home.path())
        .env("AWS_ENDPOINT_URL_S3", format!("http://127.0.0.1:{}", moto.port))
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "a/key+that=is-none")
        .current_dir(home.path())
        .output()
        .unwrap();

    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let (uploads, thumbs) = (runtime.block_on(moto.keys("uploads")), runtime.block_on(moto.keys("thumbs")));
    assert!(!uploads.is_empty() && uploads.iter().all(|key| key.starts_with("in/")), "{uploads:?}");
    assert!(thumbs.len() >= uploads.len() / 2, "{uploads:?} {thumbs:?}");
    assert!(thumbs.iter().all(|key| key.starts_with("out/thumbs/")), "{thumbs:?}");
}

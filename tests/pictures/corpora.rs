//! Published collections of good and broken pictures: every good one gets thumbnails, every broken one a reason.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use image::RgbImage;
use postroom::adapters::pictures::PicturePool;
use postroom::ports::{PictureError, PictureFlaw, Thumbnails};

use crate::{pool, thumbnails};

/// What no picture of the collections makes a worker use, its program included, in bytes.
const RESIDENT: u64 = 128 << 20;

/// Finds a collection, or says that it is missing.
fn collection(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("POSTROOM_SHARED_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    let folder = root.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: {} is missing", folder.display());
    None
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

/// Asks for a file's thumbnails; that a worker dies, hangs or grows fails the test.
async fn judged(pool: &PicturePool, path: &Path) -> Result<Thumbnails, (PictureFlaw, String)> {
    match thumbnails(pool, std::fs::read(path).unwrap()).await {
        Ok(made) => {
            let peak = made.peak_memory.unwrap();
            assert!(peak < RESIDENT, "{}: {peak} bytes resident", path.display());
            for one in &made.sizes {
                let read = image::load_from_memory(&one.bytes).unwrap();
                assert_eq!((read.width(), read.height()), (one.width, one.height), "{}", path.display());
            }
            assert!(!made.sizes.is_empty(), "{}", path.display());
            Ok(made)
        }
        Err(PictureError::Bad { flaw, message }) => Err((flaw, message)),
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

#[tokio::test]
async fn pngsuite_is_read_but_for_the_files_that_are_broken_on_purpose() {
    let Some(folder) = collection("pngsuite") else { return };
    let pool = pool();
    let mut counted = (0, 0);
    for path in files(&folder) {
        if path.extension() != Some(OsStr::new("png")) {
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let broken = name.starts_with('x');
        match judged(&pool, &path).await {
            Ok(made) => {
                assert!(!broken, "{name} is broken and was read");
                assert_eq!(made.media_type, "image/png");
                counted.0 += 1;
            }
            Err((flaw, message)) => {
                assert!(broken, "{name} was refused: {message}");
                assert!(!message.is_empty(), "{name}: {flaw:?} without a reason");
                counted.1 += 1;
            }
        }
    }
    assert_eq!(counted, (161, 14));
}

#[tokio::test]
async fn the_nine_portraits_get_the_same_thumbnail() {
    let Some(folder) = collection("exif-orientation") else { return };
    let pool = pool();
    let mut upright: Option<RgbImage> = None;
    for turn in 0..9 {
        let made = judged(&pool, &folder.join(format!("Portrait_{turn}.jpg"))).await.unwrap();
        assert_eq!((made.width, made.height), (1_200, 1_800), "Portrait_{turn}");
        let smallest = image::load_from_memory(&made.sizes[0].bytes).unwrap().into_rgb8();
        assert_eq!(smallest.dimensions(), (320, 480));
        let first = upright.get_or_insert_with(|| smallest.clone());
        let apart = |x, y| {
            let pair = first.get_pixel(x, y).0.into_iter().zip(smallest.get_pixel(x, y).0);
            pair.map(|(a, b)| u32::from(a.abs_diff(b))).max().unwrap()
        };
        let (mut sum, mut far) = (0, 0);
        for (x, y) in (0..320).flat_map(|x| (0..480).map(move |y| (x, y))) {
            sum += apart(x, y);
            // Across the middle each has its own number, and words beside it that are a little higher or lower.
            far += u32::from(!(205..265).contains(&y) && apart(x, y) > 60);
        }
        assert!(sum < 4 * 320 * 480, "Portrait_{turn}: the channels differ by {sum} in all");
        assert!(far < 30, "Portrait_{turn}: {far} pixels differ by more than 60");
    }
}

#[tokio::test]
async fn pictures_of_an_image_library_are_read_or_refused_with_a_reason_by_what_they_are() {
    let Some(folder) = collection("images") else { return };
    let pool = pool();
    let mut refused = BTreeMap::new();
    let mut read = 0;
    for path in files(&folder) {
        let name = path.strip_prefix(&folder).unwrap().display().to_string();
        match judged(&pool, &path).await {
            Ok(made) => {
                read += 1;
                assert!(!name.starts_with("bad/"), "{name} is broken and was read: {made:?}");
            }
            Err((flaw, message)) => {
                refused.insert(name, (flaw, message));
            }
        }
    }

    for (name, (flaw, message)) in &refused {
        let kind = Path::new(name).extension().and_then(OsStr::to_str).unwrap_or_default();
        let is_read = matches!(kind, "jpg" | "jpeg" | "png" | "webp" | "gif");
        if is_read {
            eprintln!("{name}: {} ({message})", flaw.code());
            assert!(KNOWN_BAD.contains(&name.as_str()), "{name} was refused: {message}");
        } else {
            assert_eq!(*flaw, PictureFlaw::Unsupported, "{name}: {message}");
        }
    }
    assert!(read > 50, "only {read} were read");
}

/// Files that no decoder can read: fuzzed, and 15 bytes long.
const KNOWN_BAD: [&str; 2] = ["regression/gif/zero-loop-count.gif", "regression/jpg/oss-fuzz-36829.jpeg"];

//! The effect: from an event to files and rows, or to a dead letter with a reason.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use postroom::Group;
use postroom::adapters::objects::Folder;
use postroom::adapters::pictures::{PicturePool, WorkerSettings};
use postroom::adapters::store::SqliteStore;
use postroom::core::{Partition, Reason, Topic, TopicPartition};
use postroom::effects::Thumbnail;
use postroom::event::{EventId, ImageUploaded};
use postroom::ports::{
    Applied, Change, Guard, Param, PictureError, PictureFuture, Pictures, Store, ThumbnailFile,
    ThumbnailSpec, Thumbnails, ThumbnailsMade, Unit,
};
use postroom::testkit::{Report, TestBench};
use sha2::{Digest, Sha256};

use crate::made::{encoded, jpeg, quarters};
use crate::{settings, spec};

fn group(root: &Path) -> Group {
    group_with(root, settings())
}

fn group_with(root: &Path, settings: WorkerSettings) -> Group {
    group_of(root, PicturePool::new(settings))
}

fn group_of(root: &Path, pictures: impl Pictures) -> Group {
    let folder = Arc::new(Folder::new(root));
    let thumbnail = Thumbnail {
        source: folder.clone(),
        target: folder,
        pictures: Arc::new(pictures),
        spec: spec(),
        max_bytes: 1 << 20,
        prefix: "thumbs".to_owned(),
    };
    Group::each("thumbnails", thumbnail)
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn upload(event_id: &str, key: &str, bytes: &[u8]) -> ImageUploaded {
    ImageUploaded {
        event_id: event_id.to_owned(),
        object_key: key.to_owned(),
        media_type: "image/jpeg".to_owned(),
        sha256: sha256(bytes),
        size: i64::try_from(bytes.len()).unwrap(),
        post_id: Some("post:1".to_owned()),
        occurred_at: 1_700_000_000_000,
        ..ImageUploaded::default()
    }
}

fn put(root: &Path, key: &str, bytes: &[u8]) {
    let path = root.join(key);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn dead(report: &Report) -> (Reason, &str) {
    let [(reason, message)] = report.dead_letters() else { panic!("{:?}", report.dead_letters()) };
    (*reason, message)
}

#[test]
fn an_upload_becomes_files_named_by_its_content_and_rows_and_a_repeat_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let picture = jpeg(&quarters(800, 600));
    put(root.path(), "images/a.jpg", &picture);
    let event = upload("e1", "images/a.jpg", &picture);
    let again = upload("e2", "images/a.jpg", &picture);

    let report = TestBench::new(group(root.path())).given(&event).given(&event).given(&again).run();

    assert_eq!(report.dead_letters(), []);
    assert_eq!(report.committed(), 3);
    let sha256 = sha256(&picture);
    let folder = root.path().join("thumbs").join(&sha256[..2]);
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let expected: Vec<_> = [1_280, 320, 640].map(|width| format!("{sha256}-{width}.jpg")).to_vec();
    assert_eq!(names, expected);
    let rows = report
        .rows("SELECT event, object_key, media_type, width, height, placeholder FROM thumbnails ORDER BY id");
    assert_eq!(rows.len(), 2);
    let text = |text: &str| Param::Text(text.to_owned());
    let expected =
        [text("e1"), text("images/a.jpg"), text("image/jpeg"), Param::Integer(800), Param::Integer(600)];
    assert_eq!(rows[0][..5], expected);
    assert!(matches!(&rows[0][5], Param::Text(address) if address.starts_with("data:image/jpeg;base64,")));
    let files = report.rows("SELECT name FROM thumbnail_files ORDER BY thumbnail, width");
    assert_eq!(files.len(), 6);
    assert_eq!(files[0][0], text(&format!("thumbs/{}/{sha256}-320.jpg", &sha256[..2])));
}

#[test]
fn an_object_that_is_not_there_yet_or_is_another_is_tried_again_and_then_dead() {
    let root = tempfile::tempdir().unwrap();
    let picture = jpeg(&quarters(20, 20));
    put(root.path(), "short.jpg", &picture[..picture.len() - 1]);
    let mut other = picture.clone();
    other[300] ^= 1;
    put(root.path(), "other.jpg", &other);
    for (key, word) in [("none.jpg", "no object"), ("short.jpg", "still written"), ("other.jpg", "SHA-256")] {
        let report = TestBench::new(group(root.path())).given(&upload("e1", key, &picture)).run();

        assert_eq!(report.retries(), 7, "{key}");
        let (reason, message) = dead(&report);
        assert_eq!(reason, Reason::Exhausted);
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn a_key_that_leaves_the_folder_is_a_dead_letter_at_once() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "secret", b"not yours");
    let media = root.path().join("media");
    std::fs::create_dir(&media).unwrap();
    std::os::unix::fs::symlink("../secret", media.join("link.jpg")).unwrap();
    let secret = root.path().join("secret").display().to_string();
    for key in ["../secret", &secret, "a/../../secret", "..\\secret", "C:\\secret", "link.jpg", "", "a\u{1}b"]
    {
        let report = TestBench::new(group(&media)).given(&upload("e1", key, b"not yours")).run();

        let (reason, message) = dead(&report);
        assert_eq!((reason, report.retries()), (Reason::Invalid, 0), "{key:?}: {message}");
        assert!(message.contains("is no object key"), "{message}");
    }
    // Names that only look like it are names.
    put(&media, "%2e%2e%2fsecret", &jpeg(&quarters(9, 9)));
    let event = upload("e1", "%2e%2e%2fsecret", &jpeg(&quarters(9, 9)));
    assert_eq!(TestBench::new(group(&media)).given(&event).run().dead_letters(), []);
}

#[test]
fn a_bad_picture_is_a_dead_letter_that_says_what_is_wrong() {
    let root = tempfile::tempdir().unwrap();
    let cut = &jpeg(&quarters(200, 200))[..900];
    for (bytes, word) in [(cut, "truncated"), (b"<svg/>", "SVG"), (b"", "empty")] {
        put(root.path(), "bad.jpg", bytes);

        let report = TestBench::new(group(root.path())).given(&upload("e1", "bad.jpg", bytes)).run();

        let (reason, message) = dead(&report);
        assert_eq!((reason, report.retries()), (Reason::Invalid, 0), "{message}");
        assert!(message.contains("bad picture") && message.contains(word), "{message}");
    }
}

#[test]
fn a_picture_that_is_too_large_is_refused_before_it_is_read() {
    let root = tempfile::tempdir().unwrap();
    let event = ImageUploaded { size: 2 << 20, ..upload("e1", "none.jpg", b"") };

    let report = TestBench::new(group(root.path())).given(&event).run();

    let (reason, message) = dead(&report);
    assert_eq!((reason, report.retries()), (Reason::Rejected, 0));
    assert!(message.contains("more than 1048576"), "{message}");
}

#[test]
fn a_picture_that_a_worker_has_no_memory_for_is_a_dead_letter_and_the_next_one_is_done() {
    let root = tempfile::tempdir().unwrap();
    let deep = image::ImageBuffer::from_pixel(3_000, 3_000, image::Rgba([1_u16, 2, 3, 65_535]));
    let (large, small) = (encoded(deep, image::ImageFormat::Png), jpeg(&quarters(30, 20)));
    put(root.path(), "large.png", &large);
    put(root.path(), "small.jpg", &small);
    let tight = WorkerSettings { memory: 160 << 20, ..settings() };

    let report = TestBench::new(group_with(root.path(), tight))
        .given(&upload("e1", "large.png", &large))
        .given(&upload("e2", "small.jpg", &small))
        .run();

    assert_eq!(report.rows("SELECT event FROM thumbnails"), [[Param::Text("e2".to_owned())]]);
    let (reason, message) = dead(&report);
    assert_eq!((reason, report.retries()), (Reason::Invalid, 0), "{message}");
    assert!(message.contains("too_large"), "{message}");
}

/// Dies over the first pictures.
struct Frail {
    deaths: AtomicU32,
    pool: PicturePool,
}

impl Pictures for Frail {
    fn thumbnails<'a>(&'a self, picture: Vec<u8>, spec: &'a ThumbnailSpec) -> PictureFuture<'a, Thumbnails> {
        let left = self.deaths.load(Ordering::Relaxed);
        if left == 0 {
            return self.pool.thumbnails(picture, spec);
        }
        self.deaths.store(left - 1, Ordering::Relaxed);
        Box::pin(async { Err(PictureError::Died("signal: 9".to_owned())) })
    }
}

#[test]
fn a_picture_whose_worker_died_is_tried_again_until_its_attempts_are_used_up() {
    let root = tempfile::tempdir().unwrap();
    let picture = jpeg(&quarters(30, 20));
    put(root.path(), "a.jpg", &picture);
    for (deaths, outcome) in [(2, None), (8, Some(Reason::Exhausted))] {
        let frail = Frail { deaths: AtomicU32::new(deaths), pool: PicturePool::new(settings()) };

        let report =
            TestBench::new(group_of(root.path(), frail)).given(&upload("e1", "a.jpg", &picture)).run();

        assert_eq!(report.dead_letters().first().map(|(reason, _)| *reason), outcome);
        assert_eq!(report.retries(), usize::try_from(deaths.min(7)).unwrap());
    }
}

#[tokio::test]
async fn what_was_made_is_read_again_newest_first_and_by_event() {
    let store = SqliteStore::in_memory().unwrap();
    let partition = TopicPartition::new(Topic::new("blog.media"), Partition(0));
    let mut claim = store.claim("thumbnails", &partition).await.unwrap();
    for (event, width) in [("e1", 10), ("e2", 20), ("e1", 30)] {
        let file = |name: &str, width| ThumbnailFile {
            name: name.to_owned(),
            media_type: "image/png".to_owned(),
            width,
            height: 1,
        };
        let made = ThumbnailsMade {
            event: EventId::parse(event).unwrap(),
            object_key: "a.png".to_owned(),
            sha256: "ab".to_owned(),
            post: None,
            media_type: "image/png".to_owned(),
            width,
            height: 5,
            placeholder: "data:".to_owned(),
            time: 7,
            files: vec![file("wide", width), file("narrow", 1)],
        };
        let guard = Guard::Once { id: format!("{event}-{width}") };
        let unit = Unit { guard, changes: vec![Change::Thumbnails(made)] };
        assert_eq!(store.apply(&mut claim, unit).await.unwrap(), Applied::Committed);
    }

    let recent = store.recent_thumbnails(5).await.unwrap();
    let first = store.thumbnails_of_event("e1").await.unwrap().unwrap();

    let events: Vec<_> = recent.iter().map(|line| line.event.as_str()).collect();
    assert_eq!(events, ["e2", "e1"]);
    assert_eq!(recent[1], first);
    assert_eq!((first.width, first.height, first.post.as_deref()), (30, 5, None));
    let names: Vec<_> = first.files.iter().map(|file| (file.name.as_str(), file.width)).collect();
    assert_eq!(names, [("narrow", 1), ("wide", 30)]);
    assert_eq!(store.thumbnails_of_event("e3").await.unwrap(), None);
    assert_eq!(store.recent_thumbnails(1).await.unwrap().len(), 1);
}

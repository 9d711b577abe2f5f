//! The worker process: what it makes, how it dies, and what becomes of it.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use image::ImageFormat;
use postroom::adapters::pictures::{PicturePool, WorkerSettings};
use postroom::ports::{Encoding, PictureError, Pictures};

use crate::made::{encoded, exif, glass, jpeg, quarters, with_segments};
use crate::{pool, settings, spec, thumbnails};

#[tokio::test]
async fn a_picture_gets_each_width_it_fills_and_is_never_enlarged() {
    let pool = pool();
    for (width, height, expected) in [
        (2_000, 1_000, vec![(320, 320, 160), (640, 640, 320), (1_280, 1_280, 640)]),
        (1_280, 100, vec![(320, 320, 25), (640, 640, 50), (1_280, 1_280, 100)]),
        (500, 250, vec![(320, 320, 160), (640, 500, 250)]),
        (1, 1, vec![(320, 1, 1)]),
        (20, 6_000, vec![(320, 4, 1_280), (640, 9, 2_560), (1_280, 17, 5_120)]),
        (6_000, 1, vec![(320, 320, 1), (640, 640, 1), (1_280, 1_280, 1)]),
    ] {
        let made = thumbnails(&pool, jpeg(&quarters(width, height))).await.unwrap();

        let sizes: Vec<_> = made.sizes.iter().map(|one| (one.wanted, one.width, one.height)).collect();
        assert_eq!(sizes, expected, "{width} × {height}");
        assert_eq!((made.width, made.height), (width, height));
        for one in &made.sizes {
            let decoded = image::load_from_memory(&one.bytes).unwrap();
            assert_eq!((decoded.width(), decoded.height()), (one.width, one.height));
        }
    }
}

#[tokio::test]
async fn every_format_is_read_and_transparency_decides_how_it_is_written() {
    let pool = pool();
    for (picture, media_type, encoding) in [
        (jpeg(&quarters(400, 300)), "image/jpeg", Encoding::Jpeg),
        (encoded(quarters(400, 300), ImageFormat::Png), "image/png", Encoding::Jpeg),
        (encoded(quarters(400, 300), ImageFormat::WebP), "image/webp", Encoding::Jpeg),
        (encoded(quarters(400, 300), ImageFormat::Gif), "image/gif", Encoding::Jpeg),
        (encoded(glass(400, 300), ImageFormat::Png), "image/png", Encoding::Png),
        (encoded(glass(400, 300), ImageFormat::WebP), "image/webp", Encoding::Png),
    ] {
        let made = thumbnails(&pool, picture).await.unwrap();

        assert_eq!(made.media_type, media_type);
        assert_eq!((made.width, made.height), (400, 300));
        assert!(made.sizes.iter().all(|one| one.encoding == encoding), "{media_type}");
        assert!(made.placeholder.starts_with(&format!("data:{};base64,", encoding.media_type())));
        assert!(made.placeholder.len() < 1_450, "{} bytes", made.placeholder.len());
    }
}

#[tokio::test]
async fn the_same_picture_makes_the_same_bytes_in_another_worker() {
    let picture = jpeg(&quarters(900, 700));

    let first = thumbnails(&pool(), picture.clone()).await.unwrap();
    let second = thumbnails(&pool(), picture).await.unwrap();

    assert_eq!(first.sizes, second.sizes);
    assert_eq!(first.placeholder, second.placeholder);
}

#[tokio::test]
async fn what_a_camera_wrote_beside_the_picture_is_gone_and_its_turn_is_applied() {
    let picture = jpeg(&quarters(400, 200));
    let secrets = [(0xe1, exif(6)), (0xfe, b"GPS 53.55 N 9.99 E".to_vec())];

    let made = thumbnails(&pool(), with_segments(&picture, &secrets)).await.unwrap();

    assert_eq!((made.width, made.height), (200, 400));
    let largest = made.sizes.last().unwrap();
    assert!(!largest.bytes.windows(4).any(|window| window == b"Exif" || window == b"GPS "));
    // Turned to the right by a quarter: what was at the left bottom is at the left top.
    let decoded = image::load_from_memory(&largest.bytes).unwrap().into_rgb8();
    let [red, green, blue] = decoded.get_pixel(40, 40).0;
    assert!(blue > 180 && red < 80 && green < 80, "{red} {green} {blue}");
}

#[tokio::test]
async fn a_worker_is_used_again_and_has_no_environment_of_ours() {
    let pool = pool();
    thumbnails(&pool, jpeg(&quarters(9, 9))).await.unwrap();
    let first = pool.idle_workers();
    thumbnails(&pool, jpeg(&quarters(9, 9))).await.unwrap();

    assert_eq!(pool.idle_workers(), first);
    let environment = std::fs::read(format!("/proc/{}/environ", first[0])).unwrap();
    assert!(environment.is_empty() || environment.starts_with(b"LD_LIBRARY_PATH="), "{environment:?}");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", first[0])).unwrap();
    for (what, most) in [
        ("Max address space", "1073741824"),
        ("Max file size", "0"),
        ("Max processes", "0"),
        ("Max open files", "0"),
    ] {
        let line = limits.lines().find(|line| line.starts_with(what)).unwrap();
        assert!(line.split_whitespace().any(|word| word == most), "{line}");
    }
}

#[tokio::test]
async fn a_worker_that_died_while_it_waited_is_replaced_unnoticed() {
    let pool = pool();
    thumbnails(&pool, jpeg(&quarters(9, 9))).await.unwrap();
    let first = pool.idle_workers();
    signal("KILL", first[0]);
    wait_until(|| !runs(first[0])).await;

    thumbnails(&pool, jpeg(&quarters(9, 9))).await.unwrap();

    assert_ne!(pool.idle_workers(), first);
}

#[tokio::test]
async fn a_worker_killed_in_mid_work_is_an_error_that_may_be_tried_again_and_the_next_one_does_it() {
    let pool = Arc::new(pool());
    thumbnails(&pool, jpeg(&quarters(9, 9))).await.unwrap();
    let worker = pool.idle_workers()[0];
    // Stopped, it cannot finish before it is killed.
    signal("STOP", worker);
    let picture = jpeg(&quarters(800, 800));
    let asked = tokio::spawn({
        let (pool, picture) = (Arc::clone(&pool), picture.clone());
        async move { thumbnails(&pool, picture).await }
    });
    wait_until(|| pool.idle_workers().is_empty()).await;

    signal("KILL", worker);

    let error = asked.await.unwrap().unwrap_err();
    assert!(matches!(&error, PictureError::Died(how) if how.contains("signal: 9")), "{error}");
    assert_eq!(thumbnails(&pool, picture).await.unwrap().sizes.len(), 3);
}

#[tokio::test]
async fn a_worker_that_hangs_is_killed_at_the_deadline() {
    let limit = Duration::from_secs(3);
    let pool = PicturePool::new(WorkerSettings { timeout: limit, ..settings() });
    let picture = jpeg(&quarters(9, 9));
    // The first start of a program may be slow; only what comes then is stopped.
    while thumbnails(&pool, picture.clone()).await.is_err() {}
    let worker = pool.idle_workers()[0];
    signal("STOP", worker);

    // More than a pipe holds: the parent must not hang in writing either.
    let error = thumbnails(&pool, vec![0; 1 << 20]).await.unwrap_err();

    assert_eq!(error, PictureError::TimedOut(limit));
    wait_until(|| !runs(worker)).await;
}

#[tokio::test]
async fn a_worker_whose_asker_is_gone_is_killed() {
    let pool = Arc::new(pool());
    thumbnails(&pool, jpeg(&quarters(9, 9))).await.unwrap();
    let worker = pool.idle_workers()[0];
    signal("STOP", worker);
    let asked = tokio::spawn({
        let pool = Arc::clone(&pool);
        async move { thumbnails(&pool, jpeg(&quarters(9, 9))).await }
    });
    wait_until(|| pool.idle_workers().is_empty()).await;

    asked.abort();

    wait_until(|| !runs(worker)).await;
}

#[tokio::test]
async fn workers_end_with_their_pool() {
    let pool = pool();
    thumbnails(&pool, jpeg(&quarters(9, 9))).await.unwrap();
    let worker = pool.idle_workers()[0];

    drop(pool);

    wait_until(|| !runs(worker)).await;
}

#[tokio::test]
async fn a_program_that_is_missing_or_no_worker_is_an_outage_and_not_the_picture_s_fault() {
    for program in ["/nowhere/postroom", "/bin/cat", "/bin/true"] {
        let pool = PicturePool::new(WorkerSettings { program: program.into(), ..settings() });

        let error = pool.thumbnails(vec![1], &spec()).await.unwrap_err();

        assert!(matches!(error, PictureError::Away(_)), "{program}: {error}");
    }
}

fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Says whether a process is there and no zombie.
fn runs(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

async fn wait_until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

//! Reading and writing on a real server, and its refusals.

use postroom::config::{S3Section, Secret};
use postroom::ports::{ObjectError, Objects};

use crate::moto::Moto;
use crate::{bucket, section};

const MIB: usize = 1 << 20;

#[tokio::test]
async fn what_is_written_is_served_as_what_it_is_read_again_and_replaced() {
    let Some(moto) = Moto::start() else { return };
    moto.make_bucket("blog-media").await;
    let media = bucket("blog-media", "site one/up", section(moto.port));

    media.write("ab/x.png", b"first, and longer".to_vec(), "image/png").await.unwrap();
    media.write("ab/x.png", b"second".to_vec(), "image/png").await.unwrap();

    assert_eq!(media.read("ab/x.png", 6).await.unwrap(), b"second");
    let (kind, caching, bytes) = moto.served("blog-media/site%20one/up/ab/x.png").await;
    assert_eq!((kind.as_str(), bytes.as_slice()), ("image/png", b"second".as_slice()));
    assert_eq!(caching, "public, max-age=31536000, immutable");
    assert_eq!(moto.keys("blog-media").await, ["site one/up/ab/x.png"]);
    assert_eq!(media.read("ab/y.png", 6).await, Err(ObjectError::NotFound("ab/y.png".to_owned())));
    let large = vec![7; 5 * MIB];
    media.write("large", large.clone(), "image/png").await.unwrap();
    assert_eq!(media.read("large", 5 << 20).await.unwrap(), large);
    let read = media.read("large", (5 << 20) - 1).await;
    assert!(matches!(read, Err(ObjectError::TooLarge { size: 5_242_880, .. })), "{read:?}");
    // Odd names are the names of what they name.
    for key in ["é/ü 1.jpg", "a+b&c=d.jpg", "%2e%2e%2fx", "...", "q?v=1#f", "~'()*!.jpg", "图片/一.jpg"]
    {
        media.write(key, key.as_bytes().to_vec(), "image/jpeg").await.unwrap();
        assert_eq!(media.read(key, 100).await.unwrap(), key.as_bytes(), "{key}");
    }
    let missing = bucket("no-such-bucket", "", section(moto.port));
    for failed in [missing.read("a", 1).await.map(drop), missing.write("a", vec![1], "image/png").await] {
        let Err(ObjectError::Away(why)) = failed else { panic!("{failed:?}") };
        assert!(why.contains("the bucket no-such-bucket: it does not exist"), "{why}");
    }
}

#[tokio::test]
async fn a_server_that_checks_signatures_and_rights_takes_ours_and_says_why_it_refuses_others() {
    let Some(moto) = Moto::start() else { return };
    moto.make_bucket("media").await;
    moto.make_bucket("secret").await;
    let policy = r#"{"Version":"2012-10-17","Statement":[
        {"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":"arn:aws:s3:::media/*"},
        {"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::media"}]}"#;
    let (id, key) = moto.user("postroom", policy).await;
    moto.check_from_now_on().await;
    let of = |name: &str, id: &str, key: &str| {
        let key = Secret::new(key);
        let settings = S3Section {
            access_key_id: Some(Secret::new(id)),
            secret_access_key: Some(key),
            ..section(moto.port)
        };
        bucket(name, "", settings)
    };
    let media = of("media", &id, &key);

    // Keys with other letters this server decodes before it computes the signature.
    for name in ["plain.jpg", "a b/c~d.jpg"] {
        media.write(name, b"signed".to_vec(), "image/jpeg").await.unwrap();
        assert_eq!(media.read(name, 6).await.unwrap(), b"signed");
    }

    for (bucket, word) in [
        (of("secret", &id, &key), "access denied to a.jpg"),
        (of("media", &id, "another-key"), "credentials are not accepted"),
        (of("media", "AKIDNOBODY", &key), "credentials are not accepted"),
    ] {
        for failed in [bucket.read("a.jpg", 1).await.map(drop), bucket.write("a.jpg", vec![1], "a/b").await] {
            let Err(ObjectError::Away(why)) = failed else { panic!("{failed:?}") };
            assert!(why.contains(word), "{why}");
            assert!(!why.contains(&key), "{why}");
        }
    }
}

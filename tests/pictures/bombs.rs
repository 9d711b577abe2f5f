//! Pictures made to hurt.

use image::ImageFormat;
use postroom::ports::{PictureError, PictureFlaw};

use crate::made::{chunk, encoded, gif, jpeg, png_head, quarters, with_chunks, with_segments, zlib_bomb};
use crate::{flaw, pool, thumbnails};

/// What a worker may use over a small picture, its program included, in bytes.
const SMALL: u64 = 96 << 20;

#[tokio::test]
async fn a_picture_that_claims_to_be_huge_is_refused_by_its_header() {
    let pool = pool();
    let idat = chunk(b"IDAT", &zlib_bomb(1 << 20));
    for (width, height) in [(65_535, 65_535), (0x7fff_ffff, 0x7fff_ffff), (16_384, 16_384), (1, 0x7fff_ffff)]
    {
        let bomb = [png_head(width, height), idat.clone(), chunk(b"IEND", b"")].concat();
        let (flaw, message) = flaw(&pool, bomb).await;
        assert_eq!(flaw, PictureFlaw::TooLarge, "{width} × {height}: {message}");
    }
    let mut gif = gif(1, 8, 8);
    gif[6..10].fill(0xff);
    assert_eq!(flaw(&pool, gif).await.0, PictureFlaw::TooLarge);
    assert!(peak(&pool).await < SMALL);
}

#[tokio::test]
async fn an_animation_costs_what_its_first_frame_costs() {
    let pool = pool();

    let made = thumbnails(&pool, gif(10_000, 40, 30)).await.unwrap();

    assert_eq!((made.width, made.height, made.sizes.len()), (40, 30, 1));
    assert!(peak(&pool).await < SMALL);
}

#[tokio::test]
async fn text_and_profiles_that_unpack_to_a_gigabyte_are_not_unpacked() {
    let pool = pool();
    let picture = encoded(quarters(30, 20), ImageFormat::Png);
    let bomb = zlib_bomb(1 << 30);
    assert!(bomb.len() < 8 << 20);
    for (kind, head) in [
        (b"zTXt", b"Comment\0\0".as_slice()),
        (b"iTXt", b"XML:com.adobe.xmp\0\x01\0\0\0"),
        (b"iCCP", b"profile\0\0"),
    ] {
        let body = [head, &bomb].concat();
        let made = thumbnails(&pool, with_chunks(&picture, &[chunk(kind, &body)])).await.unwrap();
        assert_eq!((made.width, made.height), (30, 20));
    }
    assert!(peak(&pool).await < SMALL, "{}", peak(&pool).await);
}

#[tokio::test]
async fn pixels_that_unpack_beyond_the_picture_are_not_kept() {
    let pool = pool();
    let bomb = [png_head(64, 64), chunk(b"IDAT", &zlib_bomb(1 << 30)), chunk(b"IEND", b"")].concat();

    // Whether it counts as broken is the decoder's business: what it costs is ours.
    drop(thumbnails(&pool, bomb).await);

    assert!(peak(&pool).await < SMALL, "{}", peak(&pool).await);
}

#[tokio::test]
async fn a_jpeg_of_ten_thousand_markers_is_read() {
    let pool = pool();
    let comments = vec![(0xfe, vec![b'x'; 100]); 10_000];

    let made = thumbnails(&pool, with_segments(&jpeg(&quarters(40, 30)), &comments)).await.unwrap();

    assert_eq!((made.width, made.height), (40, 30));
    assert!(peak(&pool).await < SMALL);
}

#[tokio::test]
async fn a_page_that_is_also_a_jpeg_leaves_nothing_of_the_page() {
    let page = b"*/--><html><script>alert(1)</script><!--".to_vec();
    let picture = with_segments(&jpeg(&quarters(40, 30)), &[(0xfe, page.clone())]);

    let made = thumbnails(&pool(), [picture, page].concat()).await.unwrap();

    for one in &made.sizes {
        assert!(!one.bytes.windows(7).any(|window| window == b"<script"));
    }
}

#[tokio::test]
async fn drawings_pages_and_other_formats_are_refused_whatever_their_name() {
    let pool = pool();
    let laughs =
        "<?xml version=\"1.0\"?><!DOCTYPE svg [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;\">]><svg>&b;</svg>";
    for (bytes, word) in [
        (laughs.as_bytes(), "an SVG drawing"),
        (b"<svg><image href=\"http://169.254.169.254/\"/></svg>", "an SVG drawing"),
        (b"<!DOCTYPE html><img src=x onerror=alert(1)>", "an HTML page"),
        (b"II*\0\x08\0\0\0\xff\xff\xff\xff", "a TIFF picture"),
        (b"\0\0\x01\0\x01\0\0\0", "an icon"),
        (b"", "empty"),
        (b"not a picture at all", "of no known kind"),
    ] {
        let (flaw, message) = flaw(&pool, bytes.to_vec()).await;
        assert_eq!(flaw, PictureFlaw::Unsupported);
        assert!(message.contains(word), "{message}");
    }
}

#[tokio::test]
async fn a_picture_cut_off_anywhere_is_refused() {
    let pool = pool();
    let noise = image::RgbImage::from_fn(120, 90, |x, y| {
        let mixed = x.wrapping_mul(2_654_435_761_u32.wrapping_mul(y + 7)) ^ y.wrapping_mul(40_503);
        image::Rgb([mixed as u8, (mixed >> 8) as u8, (mixed >> 16) as u8])
    });
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP, ImageFormat::Gif] {
        let whole = encoded(noise.clone(), format);
        thumbnails(&pool, whole.clone()).await.unwrap();
        for end in (0..whole.len()).step_by(1_024) {
            let cut = thumbnails(&pool, whole[..end].to_vec()).await;
            assert!(matches!(cut, Err(PictureError::Bad { .. })), "{format:?} cut at {end}: {cut:?}");
        }
    }
}

/// Asks the pool's worker for the most memory that it has used.
async fn peak(pool: &postroom::adapters::pictures::PicturePool) -> u64 {
    thumbnails(pool, jpeg(&quarters(9, 9))).await.unwrap().peak_memory.unwrap()
}

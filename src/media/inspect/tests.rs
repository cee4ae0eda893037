//! Headers made by real encoders where there is one, else by the letter of the format's specification.

use std::io::Cursor;

use super::*;

fn encoded(format: ImageFormat, width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image::RgbImage::new(width, height).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn ftyp(brands: &[&[u8; 4]]) -> Vec<u8> {
    let length = u32::try_from(12 + 4 * brands.len()).unwrap();
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(b"ftyp");
    bytes.extend_from_slice(brands[0]);
    bytes.extend_from_slice(&[0; 4]);
    brands[1..].iter().for_each(|brand| bytes.extend_from_slice(*brand));
    bytes
}

#[test]
fn pictures_of_real_encoders_are_known_and_measured() {
    for (format, media) in [(ImageFormat::Png, PNG), (ImageFormat::Jpeg, JPEG), (ImageFormat::WebP, WEBP)] {
        let bytes = encoded(format, 321, 123);
        assert_eq!(sniff(&bytes), Some(media));
        assert_eq!(dimensions(media, &bytes), Some((321, 123)), "{media:?}");
    }
}

#[test]
fn the_header_is_enough_to_measure_a_picture() {
    for (format, media) in [(ImageFormat::Png, PNG), (ImageFormat::Jpeg, JPEG), (ImageFormat::WebP, WEBP)] {
        let bytes = encoded(format, 1_500, 1_100);
        let head = &bytes[..bytes.len().min(700)];
        assert_eq!(dimensions(media, head), Some((1_500, 1_100)), "{media:?}");
    }
}

#[test]
fn a_jpeg_is_measured_behind_its_metadata() {
    let plain = encoded(ImageFormat::Jpeg, 64, 48);
    let mut bytes = plain[..2].to_vec();
    for _ in 0..3 {
        bytes.extend_from_slice(b"\xff\xe1\xff\xff");
        bytes.extend_from_slice(&[b' '; 65_533]);
    }
    bytes.extend_from_slice(&plain[2..]);
    assert!(bytes.len() > 196_000 && bytes.len() < HEADER_BYTES);
    assert_eq!(dimensions(JPEG, &bytes), Some((64, 48)));
}

#[test]
fn every_form_of_webp_is_measured() {
    let riff = |chunk: &[u8]| [b"RIFF\0\0\0\0WEBP".as_slice(), chunk].concat();
    // VP8X: flags, three reserved bytes, width - 1 and height - 1 in 24 bits each.
    let extended = riff(b"VP8X\x0a\0\0\0\x10\0\0\0\xff\x03\0\xff\x02\0");
    assert_eq!(dimensions(WEBP, &extended), Some((1_024, 768)));
    // VP8: three bytes of frame tag, the start code, 14 bits each with two bits of scaling above.
    let lossy = riff(b"VP8 \0\0\0\0\x30\x01\0\x9d\x01\x2a\x40\xc1\xc8\x40");
    assert_eq!(dimensions(WEBP, &lossy), Some((320, 200)));
    assert_eq!(dimensions(WEBP, &lossy[..29]), None);
}

#[test]
fn a_gif_is_known_and_measured() {
    let gif = b"GIF89a\x40\x01\xc8\x00\xf7\0\0";
    assert_eq!(sniff(gif), Some(GIF));
    assert_eq!(sniff(b"GIF87a\x01\0\x01\0"), Some(GIF));
    assert_eq!(dimensions(GIF, gif), Some((320, 200)));
}

#[test]
fn containers_are_told_apart_by_their_brands() {
    assert_eq!(sniff(&ftyp(&[b"isom", b"iso2", b"avc1", b"mp41"])), Some(MP4));
    assert_eq!(sniff(&ftyp(&[b"mp42"])), Some(MP4));
    assert_eq!(sniff(&ftyp(&[b"qt  "])), Some(MOV));
    assert_eq!(sniff(&ftyp(&[b"avif", b"mif1"])), Some(AVIF));
    assert_eq!(sniff(&ftyp(&[b"mif1", b"avif"])), Some(AVIF));
    assert_eq!(sniff(&ftyp(&[b"heic", b"mif1"])), Some(HEIC));
    assert_eq!(sniff(&ftyp(&[b"mif1", b"heic"])), Some(HEIC));
    assert_eq!(sniff(&ftyp(&[b"mif1"])), None);
    assert_eq!(sniff(&ftyp(&[b"M4A ", b"isom"])), None);
}

#[test]
fn a_brand_behind_the_end_of_its_box_does_not_count() {
    let mut bytes = ftyp(&[b"mif1"]);
    bytes.extend_from_slice(b"avif");
    assert_eq!(sniff(&bytes), None);
}

#[test]
fn webm_is_known_and_other_matroska_is_not() {
    let header = |doctype: &[u8]| [b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82".as_slice(), doctype].concat();
    assert_eq!(sniff(&header(b"\x84webm")), Some(WEBM));
    assert_eq!(sniff(&header(b"\x88matroska")), None);
}

#[test]
fn what_is_no_medium_is_not_taken_for_one_at_any_length() {
    for bytes in [b"<!DOCTYPE html>".as_slice(), b"{\"a\":1}", b"RIFF\0\0\0\0WAVE", b"\x1f\x8b\x08", b"\0\0\0\x18ftyp"] {
        for end in 0..=bytes.len() {
            assert_eq!(sniff(&bytes[..end]), None, "{:?}", &bytes[..end]);
        }
    }
}

#[test]
fn a_broken_header_has_no_dimensions_and_does_no_harm() {
    for media in ALL {
        for length in 0..64 {
            assert_eq!(dimensions(media, &vec![0; length]), None);
        }
    }
    let mut png = encoded(ImageFormat::Png, 10, 10);
    png[16..20].copy_from_slice(&[0; 4]);
    assert_eq!(dimensions(PNG, &png), None);
}

#[test]
fn extensions_and_types_belong_together() {
    for media in ALL {
        assert_eq!(mime_of_extension(media.ext), Some(media.mime));
    }
    assert_eq!(mime_of_extension("html"), None);
}

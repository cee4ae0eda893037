//! What a file is, by its magic bytes, and how large a picture is, by its header. Names and `Content-Type` headers are not
//! believed: providers mislabel, and error pages come with status 200. No pixel is decoded here.

use std::io::Cursor;

use image::{ImageFormat, ImageReader, Limits};

use crate::domain::record::Kind;

/// Bytes at the start of a file that [`sniff`] wants to see; fewer do when the file has no more.
pub const SNIFF_BYTES: usize = 512;

/// Bytes at the start of a file that [`dimensions`] wants to see: a JPEG's size comes after its metadata, of which EXIF with
/// a thumbnail takes up to 64 KiB and a colour profile often more.
pub const HEADER_BYTES: usize = 256 * 1024;

/// What a decoder may allocate to read a header.
const HEADER_ALLOC: u64 = 8 * 1024 * 1024;

/// A type of file that the service stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaType {
    /// MIME type.
    pub mime: &'static str,
    /// Extension without a dot.
    pub ext: &'static str,
    /// What it is.
    pub kind: Kind,
}

const PNG: MediaType = MediaType { mime: "image/png", ext: "png", kind: Kind::Image };
const JPEG: MediaType = MediaType { mime: "image/jpeg", ext: "jpg", kind: Kind::Image };
const WEBP: MediaType = MediaType { mime: "image/webp", ext: "webp", kind: Kind::Image };
const GIF: MediaType = MediaType { mime: "image/gif", ext: "gif", kind: Kind::Image };
const AVIF: MediaType = MediaType { mime: "image/avif", ext: "avif", kind: Kind::Image };
const HEIC: MediaType = MediaType { mime: "image/heic", ext: "heic", kind: Kind::Image };
const MP4: MediaType = MediaType { mime: "video/mp4", ext: "mp4", kind: Kind::Video };
const MOV: MediaType = MediaType { mime: "video/quicktime", ext: "mov", kind: Kind::Video };
const WEBM: MediaType = MediaType { mime: "video/webm", ext: "webm", kind: Kind::Video };

/// Every type that is stored.
pub const ALL: [MediaType; 9] = [PNG, JPEG, WEBP, GIF, AVIF, HEIC, MP4, MOV, WEBM];

/// The MIME type of a stored file by the extension of its key.
#[must_use]
pub fn mime_of_extension(ext: &str) -> Option<&'static str> {
    ALL.iter().find(|media| media.ext == ext).map(|media| media.mime)
}

/// Tells a file's type by its first bytes; none when it is nothing the service stores.
#[must_use]
pub fn sniff(first: &[u8]) -> Option<MediaType> {
    if first.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some(PNG)
    } else if first.starts_with(b"\xff\xd8\xff") {
        Some(JPEG)
    } else if first.starts_with(b"GIF87a") || first.starts_with(b"GIF89a") {
        Some(GIF)
    } else if first.starts_with(b"RIFF") && first.get(8..12) == Some(b"WEBP") {
        Some(WEBP)
    } else if first.starts_with(b"\x1a\x45\xdf\xa3") {
        webm(first)
    } else if first.get(4..8) == Some(b"ftyp") {
        iso(first)
    } else {
        None
    }
}

/// EBML holds WebM and Matroska; the document type (element 0x4282) tells which (RFC 8794 §11.2.4).
fn webm(first: &[u8]) -> Option<MediaType> {
    first.windows(7).any(|window| window.starts_with(b"\x42\x82") && window.ends_with(b"webm")).then_some(WEBM)
}

/// The ISO base media format holds many things; the major brand says which, the compatible ones when it is a general one
/// (ISO/IEC 14496-12 §4.3; the image brands: ISO/IEC 23008-12 annex B, AVIF §6).
fn iso(first: &[u8]) -> Option<MediaType> {
    let size = first.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes))?;
    let end = usize::try_from(size).ok()?.min(first.len());
    let major = first.get(8..12)?;
    // Bytes 12 to 16 are the minor version.
    let compatible = first.get(16..end).unwrap_or_default();
    let has = |brand: &[u8; 4]| major == brand || compatible.chunks_exact(4).any(|other| other == brand);
    match major {
        b"qt  " => Some(MOV),
        b"avif" | b"avis" => Some(AVIF),
        b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" => Some(HEIC),
        b"mif1" | b"msf1" | b"miaf" => {
            if has(b"avif") || has(b"avis") {
                Some(AVIF)
            } else {
                (has(b"heic") || has(b"heix")).then_some(HEIC)
            }
        }
        // Sound alone.
        b"M4A " | b"M4B " | b"M4P " => None,
        _ => Some(MP4),
    }
}

/// Width and height of a picture by its header, from its first [`HEADER_BYTES`]; none when they do not show there, and for
/// types whose containers are not read yet (AVIF, HEIC, video).
#[must_use]
pub fn dimensions(media: MediaType, first: &[u8]) -> Option<(u32, u32)> {
    let size = match media.ext {
        "png" => by_decoder(first, ImageFormat::Png),
        "jpg" => by_decoder(first, ImageFormat::Jpeg),
        "webp" => webp(first),
        "gif" => gif(first),
        _ => None,
    };
    size.filter(|(width, height)| *width > 0 && *height > 0)
}

fn by_decoder(first: &[u8], format: ImageFormat) -> Option<(u32, u32)> {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(HEADER_ALLOC);
    let mut reader = ImageReader::with_format(Cursor::new(first), format);
    reader.limits(limits);
    reader.into_dimensions().ok()
}

/// The decoder wants the whole file to be there; the size lies in the first 30 bytes (RFC 9649 §2.5 to 2.7).
fn webp(first: &[u8]) -> Option<(u32, u32)> {
    let little = |at: usize, bytes: usize| -> Option<u32> {
        first.get(at..at.checked_add(bytes)?)?.iter().rev().try_fold(0_u32, |sum, byte| Some((sum << 8) | u32::from(*byte)))
    };
    match first.get(12..16)? {
        b"VP8X" => Some((little(24, 3)?.checked_add(1)?, little(27, 3)?.checked_add(1)?)),
        b"VP8L" if first.get(20) == Some(&0x2f) => {
            let bits = little(21, 4)?;
            Some(((bits & 0x3fff).checked_add(1)?, ((bits >> 14) & 0x3fff).checked_add(1)?))
        }
        b"VP8 " if first.get(23..26) == Some(b"\x9d\x01\x2a") => Some((little(26, 2)? & 0x3fff, little(28, 2)? & 0x3fff)),
        _ => None,
    }
}

/// The logical screen (GIF89a specification §18).
fn gif(first: &[u8]) -> Option<(u32, u32)> {
    let [width_low, width_high, height_low, height_high] = *first.get(6..)?.first_chunk::<4>()?;
    Some((u16::from_le_bytes([width_low, width_high]).into(), u16::from_le_bytes([height_low, height_high]).into()))
}

/// Names what came instead of a picture or a video, for the error that an operator reads.
#[must_use]
pub fn describe(first: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(first).trim_start_matches('\u{feff}').trim_start().chars().take(64).collect();
    let lower = text.to_ascii_lowercase();
    if first.is_empty() {
        "nothing".to_owned()
    } else if lower.starts_with("<!doctype html") || lower.starts_with("<html") || lower.starts_with("<head") {
        "an HTML page".to_owned()
    } else if lower.starts_with("<?xml") || lower.starts_with("<svg") || lower.starts_with("<error") {
        "an XML document".to_owned()
    } else if lower.starts_with('{') || lower.starts_with('[') {
        "JSON".to_owned()
    } else if first.starts_with(b"\x1f\x8b") {
        "gzip data".to_owned()
    } else if first.starts_with(b"%PDF") {
        "a PDF document".to_owned()
    } else if std::str::from_utf8(first.get(..32).unwrap_or(first)).is_ok_and(|text| !text.contains('\0')) {
        "plain text".to_owned()
    } else {
        let hex: Vec<String> = first.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("unknown data that begins with {}", hex.join(" "))
    }
}

#[cfg(test)]
mod tests;

//! Real output bytes: PNG, JPEG and WebP pictures of the size asked for, and small H.264 videos in MP4.
//!
//! Pixels are costly, so a picture is made once per size and hue and kept; each generation's id is then spliced in as a
//! comment, which keeps the file decodable and makes any two generations differ. Hues differ too, for the eye.

mod h264;
mod mp4;

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::{Mutex, PoisonError};

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder as _, Rgb, RgbImage};
use serde::{Deserialize, Serialize};

/// Hues in use: enough to see a mix-up, few enough to keep every size.
const HUES: u8 = 6;
/// Pictures kept; beyond it the store starts anew. About 40 MB at 4 megapixels of this plain content.
const MAX_KEPT: usize = 64;
/// Edge of a tiny output.
const TINY: u32 = 32;

/// Says what a generation makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Media {
    /// A picture: `png`, `jpeg` or `webp`.
    Image { format: Format, width: u32, height: u32 },
    /// A video with its length.
    Video { width: u32, height: u32, millis: u32 },
}

/// Names a picture format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Format {
    Png,
    Jpeg,
    Webp,
}

impl Media {
    /// A picture; an unknown format name means PNG.
    pub(super) fn image(format: &str, width: u32, height: u32) -> Self {
        let format = match format {
            "jpeg" | "jpg" => Format::Jpeg,
            "webp" => Format::Webp,
            _ => Format::Png,
        };
        Self::Image { format, width, height }
    }

    pub(super) fn video(width: u32, height: u32, seconds: u32) -> Self {
        Self::Video { width, height, millis: seconds.saturating_mul(1_000) }
    }

    pub(super) fn is_video(&self) -> bool {
        matches!(self, Self::Video { .. })
    }

    pub(super) fn extension(&self) -> &'static str {
        match self {
            Self::Image { format: Format::Png, .. } => "png",
            Self::Image { format: Format::Jpeg, .. } => "jpeg",
            Self::Image { format: Format::Webp, .. } => "webp",
            Self::Video { .. } => "mp4",
        }
    }

    pub(super) fn content_type(&self) -> &'static str {
        match self {
            Self::Image { format: Format::Png, .. } => "image/png",
            Self::Image { format: Format::Jpeg, .. } => "image/jpeg",
            Self::Image { format: Format::Webp, .. } => "image/webp",
            Self::Video { .. } => "video/mp4",
        }
    }
}

/// Makes outputs and keeps the costly part of them.
#[derive(Debug)]
pub(super) struct Studio {
    tiny: bool,
    max_pixels: u64,
    kept: Mutex<HashMap<(Media, u8), Vec<u8>>>,
}

impl std::hash::Hash for Media {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let sizes = match self {
            Self::Image { format, width, height } => (Some(*format), *width, *height, 0),
            Self::Video { width, height, millis } => (None, *width, *height, *millis),
        };
        sizes.hash(state);
    }
}

impl Studio {
    pub(super) fn new(tiny: bool, max_pixels: u64) -> Self {
        Self { tiny, max_pixels, kept: Mutex::default() }
    }

    /// Makes the bytes of one output; the same `name` always gives the same bytes. May take a second for a large picture.
    pub(super) fn render(&self, media: &Media, name: &str) -> Result<Vec<u8>, image::ImageError> {
        let media = self.fitted(media);
        let hue = name.bytes().fold(0u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte)) % HUES;
        let key = (media, hue);
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let base = match kept {
            Some(bytes) => bytes,
            None => {
                let made = make(&key.0, hue)?;
                let mut store = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
                if store.len() >= MAX_KEPT {
                    store.clear();
                }
                store.insert(key.clone(), made.clone());
                made
            }
        };
        Ok(sign(&key.0, base, name))
    }

    /// Scales a request to what is really made.
    fn fitted(&self, media: &Media) -> Media {
        match media {
            Media::Image { format, .. } if self.tiny => Media::Image { format: *format, width: TINY, height: TINY },
            Media::Video { .. } if self.tiny => Media::Video { width: TINY, height: TINY, millis: 500 },
            Media::Image { format, width, height } => {
                let (mut width, mut height) = ((*width).max(1), (*height).max(1));
                while u64::from(width) * u64::from(height) > self.max_pixels.max(1) && (width > 1 || height > 1) {
                    (width, height) = ((width * 9 / 10).max(1), (height * 9 / 10).max(1));
                }
                Media::Image { format: *format, width, height }
            }
            Media::Video { .. } => media.clone(),
        }
    }
}

fn make(media: &Media, hue: u8) -> Result<Vec<u8>, image::ImageError> {
    let Media::Image { format, width, height } = media else {
        let Media::Video { width, height, millis } = media else { return Ok(Vec::new()) };
        return Ok(mp4::compose(*width, *height, *millis, hue));
    };
    let (width, height) = (*width, *height);
    let picture = paint(width, height, hue);
    let mut out = Cursor::new(Vec::new());
    let (pixels, color) = (picture.as_raw(), ExtendedColorType::Rgb8);
    match format {
        Format::Png => PngEncoder::new_with_quality(&mut out, CompressionType::Fast, FilterType::Up)
            .write_image(pixels, width, height, color)?,
        Format::Jpeg => JpegEncoder::new_with_quality(&mut out, 70).write_image(pixels, width, height, color)?,
        Format::Webp => WebPEncoder::new_lossless(&mut out).write_image(pixels, width, height, color)?,
    }
    Ok(out.into_inner())
}

/// Paints bands of one hue: plain enough to compress well, not so plain that an upside-down picture would look right.
fn paint(width: u32, height: u32, hue: u8) -> RgbImage {
    let [red, green, blue] = rgb(hue);
    RgbImage::from_fn(width, height, |_, y| {
        let band = u8::try_from(y.saturating_mul(8) / height.max(1)).unwrap_or(7) * 12;
        Rgb([red.saturating_add(band), green.saturating_add(band), blue.saturating_add(band)])
    })
}

fn rgb(hue: u8) -> [u8; 3] {
    match hue {
        0 => [150, 40, 40],
        1 => [40, 150, 40],
        2 => [40, 40, 150],
        3 => [150, 150, 40],
        4 => [40, 150, 150],
        _ => [150, 40, 150],
    }
}

/// Splices the generation's name into the file as a comment of its format.
fn sign(media: &Media, base: Vec<u8>, name: &str) -> Vec<u8> {
    match media {
        Media::Image { format: Format::Png, .. } => insert(base, 33, &png_text(name)),
        Media::Image { format: Format::Jpeg, .. } => insert(base, 2, &jpeg_comment(name)),
        Media::Image { format: Format::Webp, .. } => append_riff(base, name),
        Media::Video { .. } => append_box(base, name),
    }
}

fn insert(mut base: Vec<u8>, at: usize, part: &[u8]) -> Vec<u8> {
    let at = at.min(base.len());
    let tail = base.split_off(at);
    base.extend_from_slice(part);
    base.extend_from_slice(&tail);
    base
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// A `tEXt` chunk, to stand right after IHDR (8 bytes of signature and 25 of chunk).
fn png_text(name: &str) -> Vec<u8> {
    let data = format!("Comment\0{name}");
    let typed = [b"tEXt", data.as_bytes()].concat();
    [&length(data.as_bytes()).to_be_bytes()[..], &typed, &crc32fast::hash(&typed).to_be_bytes()].concat()
}

/// A COM segment, to stand right after SOI.
fn jpeg_comment(name: &str) -> Vec<u8> {
    let size = u16::try_from(name.len() + 2).unwrap_or(u16::MAX);
    [&[0xFF, 0xFE][..], &size.to_be_bytes(), name.as_bytes()].concat()
}

/// An unknown chunk at the end, which readers must skip; the size in the header grows with it.
fn append_riff(mut base: Vec<u8>, name: &str) -> Vec<u8> {
    base.extend_from_slice(b"note");
    base.extend_from_slice(&length(name.as_bytes()).to_le_bytes());
    base.extend_from_slice(name.as_bytes());
    if name.len() % 2 == 1 {
        base.push(0);
    }
    let size = length(&base).saturating_sub(8).to_le_bytes();
    if let Some(field) = base.get_mut(4..8) {
        field.copy_from_slice(&size);
    }
    base
}

/// A `free` box at the end of an MP4.
fn append_box(mut base: Vec<u8>, name: &str) -> Vec<u8> {
    base.extend_from_slice(&length(name.as_bytes()).saturating_add(8).to_be_bytes());
    base.extend_from_slice(b"free");
    base.extend_from_slice(name.as_bytes());
    base
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_picture_format_decodes_at_its_size_and_differs_by_name() {
        let studio = Studio::new(false, 1_000_000);
        for format in ["png", "jpeg", "webp"] {
            let media = Media::image(format, 320, 200);
            let one = studio.render(&media, "task-1").unwrap();
            let two = studio.render(&media, "task-2").unwrap();
            let seen = image::load_from_memory(&one).unwrap_or_else(|error| panic!("{format}: {error}"));
            assert_eq!((seen.width(), seen.height()), (320, 200));
            image::load_from_memory(&two).unwrap();
            assert_ne!(one, two);
            assert_eq!(one, studio.render(&media, "task-1").unwrap());
        }
    }

    #[test]
    fn a_request_beyond_the_pixel_bound_is_scaled_and_tiny_outputs_are_tiny() {
        let large = Studio::new(false, 10_000).render(&Media::image("png", 4_000, 1_000), "x").unwrap();
        let seen = image::load_from_memory(&large).unwrap();
        assert!(seen.width() * seen.height() <= 10_000 && seen.width() > 3 * seen.height());
        let studio = Studio::new(true, 10_000);
        for media in [Media::image("png", 1_024, 1_024), Media::image("jpeg", 512, 512), Media::video(1_280, 720, 5)] {
            assert!(studio.render(&media, "x").unwrap().len() <= 4_096);
        }
    }
}

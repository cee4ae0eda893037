//! BFL's models: which fields each takes within which bounds, what it makes and what it costs (1 credit = 0.01 USD).

use serde_json::Value;

use crate::simulator::fields::{Fields, Wrong, pixels, wrong};
use crate::simulator::media::Media;

/// Holds what a validated request makes and costs.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) prompt: String,
    pub(super) media: Media,
    pub(super) micro_usd: u64,
}

/// The groups of models that share their fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    /// Width and height in steps of 32: pro 1.1, dev.
    One,
    Ultra,
    Kontext,
    Fill,
    Expand,
    Two,
    Video,
}

fn family(model: &str) -> Option<Family> {
    Some(match model {
        "flux-pro-1.1" | "flux-dev" => Family::One,
        "flux-pro-1.1-ultra" => Family::Ultra,
        "flux-kontext-pro" | "flux-kontext-max" => Family::Kontext,
        "flux-pro-1.0-fill" => Family::Fill,
        "flux-pro-1.0-expand" => Family::Expand,
        "flux-2-pro" | "flux-2-max" | "flux-2-flex" | "flux-2-pro-preview" => Family::Two,
        "flux-2-klein-4b" | "flux-2-klein-9b" | "flux-2-klein-9b-preview" => Family::Two,
        "flux-3-video" => Family::Video,
        _ => return None,
    })
}

/// Tells whether the model exists.
pub(super) fn exists(model: &str) -> bool {
    family(model).is_some()
}

/// Micro-USD of the first megapixel and of each further one. flux-dev and flux-3-video have no price in our sources: 2.5
/// credits, and 10 a second, stand in.
fn price(model: &str) -> (u64, u64) {
    match model {
        "flux-pro-1.1" | "flux-kontext-pro" => (40_000, 0),
        "flux-pro-1.1-ultra" => (60_000, 0),
        "flux-kontext-max" => (80_000, 0),
        "flux-pro-1.0-fill" | "flux-pro-1.0-expand" => (50_000, 0),
        "flux-2-klein-4b" => (14_000, 0),
        "flux-2-klein-9b" | "flux-2-klein-9b-preview" => (15_000, 0),
        "flux-2-pro" | "flux-2-pro-preview" => (30_000, 15_000),
        "flux-2-max" => (70_000, 30_000),
        "flux-2-flex" => (50_000, 50_000),
        "flux-3-video" => (100_000, 0),
        _ => (25_000, 0),
    }
}

/// Validates a body for a model.
pub(super) fn read(model: &str, body: Fields<'_>) -> Result<Made, Wrong> {
    let family = family(model).unwrap_or(Family::One);
    let prompt = match family {
        Family::Kontext | Family::Two | Family::Video => body.required_text("prompt", 32_000)?,
        Family::One | Family::Ultra | Family::Fill | Family::Expand => body.text("prompt")?.unwrap_or(""),
    };
    // FLUX.2 and later take a stricter bound.
    let tolerance = if matches!(family, Family::Two | Family::Video) { 5 } else { 6 };
    body.int("safety_tolerance", 0, tolerance)?;
    body.any_int("seed")?;
    body.flag("prompt_upsampling")?;
    body.flag("raw")?;
    body.float("guidance", 1.5, 100.0)?;
    body.int("steps", 1, 50)?;
    body.float("image_prompt_strength", 0.0, 1.0)?;
    for name in ["image_prompt", "input_image", "input_image_2", "input_image_3", "input_image_4", "image", "mask"] {
        body.text(name)?;
    }
    if matches!(family, Family::Fill | Family::Expand) {
        body.required_text("image", usize::MAX)?;
    }
    let default = if family == Family::Kontext { "png" } else { "jpeg" };
    let format = body.one_of("output_format", &["jpeg", "png", "webp"])?.unwrap_or(default);
    let media = match family {
        Family::Video => video(body)?,
        Family::One | Family::Ultra | Family::Kontext | Family::Fill | Family::Expand | Family::Two => {
            let (width, height) = size(family, body)?;
            Media::image(format, width, height)
        }
    };
    let micro_usd = cost(model, &media);
    Ok(Made { prompt: prompt.to_owned(), media, micro_usd })
}

fn video(body: Fields<'_>) -> Result<Media, Wrong> {
    body.one_of("mode", &["t2v", "i2v", "v2v", "draft_enhance"])?;
    let seconds = body.int("duration", 5, 20)?.unwrap_or(5);
    let short = if body.one_of("resolution", &["hd", "fhd"])? == Some("fhd") { 1_080 } else { 720 };
    let (width, height) = pixels(body.text("aspect_ratio")?.unwrap_or("16:9"), short);
    Ok(Media::video(width, height, seconds))
}

fn size(family: Family, body: Fields<'_>) -> Result<(u32, u32), Wrong> {
    match family {
        Family::One => {
            let width = side(body, "width", (256, 1_440), 32)?.unwrap_or(1_024);
            Ok((width, side(body, "height", (256, 1_440), 32)?.unwrap_or(768)))
        }
        Family::Two => {
            let width = side(body, "width", (64, 4_096), 16)?.unwrap_or(1_024);
            let height = side(body, "height", (64, 4_096), 16)?.unwrap_or(1_024);
            if width * height > 4_194_304 { Err(wrong("width", "at most 4 megapixels are allowed")) } else { Ok((width, height)) }
        }
        Family::Ultra => ratio(body, "16:9", 1_536),
        Family::Kontext => ratio(body, "1:1", 1_024),
        Family::Fill | Family::Expand | Family::Video => Ok((1_024, 1_024)),
    }
}

fn ratio(body: Fields<'_>, default: &str, short: u32) -> Result<(u32, u32), Wrong> {
    let text = body.text("aspect_ratio")?.unwrap_or(default);
    let parts = text.split_once(':').and_then(|(w, h)| Some((w.parse::<u32>().ok()?, h.parse::<u32>().ok()?)));
    match parts {
        // Between 21:9 and 9:21.
        Some((w, h)) if w > 0 && h > 0 && w * 9 <= h * 21 && h * 9 <= w * 21 => Ok(pixels(text, short)),
        _ => Err(wrong("aspect_ratio", "must be between 21:9 and 9:21")),
    }
}

/// Reads a side; 0 means that the model chooses, where the lower bound is that of FLUX.2.
fn side(body: Fields<'_>, name: &str, (min, max): (u32, u32), step: u32) -> Result<Option<u32>, Wrong> {
    if min == 64 && body.raw(name).and_then(Value::as_u64) == Some(0) {
        return Ok(None);
    }
    match body.int(name, min, max)? {
        Some(side) if side % step != 0 => Err(wrong(name, format!("must be a multiple of {step}"))),
        other => Ok(other),
    }
}

fn cost(model: &str, media: &Media) -> u64 {
    let (first, further) = price(model);
    match media {
        Media::Video { millis, .. } => first * u64::from(*millis) / 1_000,
        Media::Image { width, height, .. } => {
            let megapixels = (u64::from(*width) * u64::from(*height)).div_ceil(1_048_576).max(1);
            first + further * (megapixels - 1)
        }
    }
}

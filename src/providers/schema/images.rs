//! Input images: how many, in which form, and whether inline bytes are what they say. Nothing is fetched.

use base64::{Engine, engine::general_purpose::STANDARD};
use url::Url;

use crate::{
    config::models::ImageForm,
    providers::{catalogue::Model, schema::FieldError},
};

/// Longest URL, in bytes: signed ones stay far below; beyond, proxies and providers refuse.
const LONGEST_URL: usize = 8_192;

/// What is wrong with one image: a stable word and a sentence.
type ImageFault = (&'static str, String);

/// Images with the places among them that are not known yet.
type Images<'a> = (&'a [String], &'a [usize]);

pub(super) fn check(model: &Model, (images, unknown): Images<'_>, errors: &mut Vec<FieldError>) {
    let count = images.len();
    if count > model.max_images {
        let most = if model.max_images == 0 { "none".to_owned() } else { format!("at most {}", model.max_images) };
        let detail = format!("{count} input images were given; {} takes {most}", model.id);
        errors.push(FieldError::new("#/inputImages", "too_many", detail));
    } else if count < model.min_images {
        let detail = format!("{} needs at least {} input images; {count} were given", model.id, model.min_images);
        errors.push(FieldError::new("#/inputImages", "too_few", detail));
    }
    for (index, image) in known(images, unknown) {
        if let Err((code, detail)) = one(model, image) {
            errors.push(FieldError::new(format!("#/inputImages/{index}"), code, detail));
        }
    }
}

/// Whether each image is one at all, whatever the model takes.
pub(super) fn check_forms((images, unknown): Images<'_>, errors: &mut Vec<FieldError>) {
    for (index, image) in known(images, unknown) {
        if let Err((code, detail)) = form(image) {
            errors.push(FieldError::new(format!("#/inputImages/{index}"), code, detail));
        }
    }
}

fn known<'a>(images: &'a [String], unknown: &[usize]) -> impl Iterator<Item = (usize, &'a String)> {
    images.iter().enumerate().filter(|(index, _)| !unknown.contains(index))
}

fn form(image: &str) -> Result<ImageForm, ImageFault> {
    if image.starts_with("data:") {
        inline(image)?;
        Ok(ImageForm::Data)
    } else {
        remote(image)?;
        Ok(ImageForm::Url)
    }
}

fn one(model: &Model, image: &str) -> Result<(), ImageFault> {
    let form = form(image)?;
    if model.max_images == 0 || model.image_forms.contains(&form) {
        return Ok(());
    }
    let accepted: Vec<&str> = model.image_forms.iter().map(|form| form.phrase()).collect();
    Err(("not_accepted", format!("{} takes input images only as {}", model.id, accepted.join(" or "))))
}

fn remote(image: &str) -> Result<(), ImageFault> {
    let fault = |detail: &str| Err(("invalid_url", detail.to_owned()));
    if image.len() > LONGEST_URL {
        return fault("an image URL may have at most 8,192 bytes");
    }
    let Ok(url) = Url::parse(image) else {
        return fault("an image is an http(s) URL or data:image/(png|jpeg|jpg|webp);base64,…; this is neither");
    };
    if url.scheme() != "http" && url.scheme() != "https" {
        return fault("an image URL begins with http:// or https://");
    }
    if url.host_str().is_none_or(str::is_empty) {
        return fault("an image URL names a host");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return fault("an image URL must not carry a user name or password: it is handed to the provider");
    }
    Ok(())
}

fn inline(image: &str) -> Result<(), ImageFault> {
    let fault = |detail: &str| Err(("invalid_data", detail.to_owned()));
    let rest = image.strip_prefix("data:image/").and_then(|rest| rest.split_once(";base64,"));
    let (subtype, text) = match rest {
        Some((subtype @ ("png" | "jpeg" | "jpg" | "webp"), text)) => (subtype, text),
        Some(_) | None => return fault("an inline image begins with data:image/(png|jpeg|jpg|webp);base64,"),
    };
    let Ok(bytes) = STANDARD.decode(text) else {
        return fault("the inline image's base64 does not decode (RFC 4648 §4, with padding)");
    };
    match sniff(&bytes) {
        Some(found) if found == subtype.replace("jpg", "jpeg") => Ok(()),
        Some(found) => fault(&format!("the inline image says image/{subtype} but its bytes are {found}")),
        None => fault("the inline image's bytes are neither PNG, JPEG nor WebP"),
    }
}

/// By magic bytes: PNG §5.2, JPEG's SOI marker, WebP's RIFF header.
fn sniff(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some("png")
    } else if bytes.starts_with(b"\xff\xd8\xff") {
        Some("jpeg")
    } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        Some("webp")
    } else {
        None
    }
}

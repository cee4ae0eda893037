//! Input images on the wire, by trivial re-framing only, and sizes: nothing is decoded into pixels here.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::{Fault, ImageForms, table::unsendable};
use crate::domain::error::ErrorCode;

/// Standard alphabet, padding optional: providers leave it away now and then.
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// The base64 part of a `data:` URL; none for anything else.
#[must_use]
pub fn base64_part(image: &str) -> Option<&str> {
    let (head, body) = image.strip_prefix("data:")?.split_once(',')?;
    head.ends_with(";base64").then_some(body)
}

/// The bytes of a `data:` URL.
#[must_use]
pub fn decoded(image: &str) -> Option<Vec<u8>> {
    from_base64(base64_part(image)?)
}

/// The bytes of a bare base64 text; none when it is empty or none.
#[must_use]
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    LENIENT.decode(text.trim()).ok().filter(|bytes| !bytes.is_empty())
}

/// Refuses images that this wire does not take.
///
/// # Errors
/// INVALID_PARAMETERS that names the accepted form.
pub fn admit(provider: &str, images: &[String], forms: ImageForms) -> Result<(), Fault> {
    if images.len() > forms.most {
        let most = forms.most;
        return Err(unsendable(ErrorCode::InvalidParameters, format!("{provider} takes at most {most} input images here")));
    }
    let accepted = match (forms.url, forms.data) {
        (true, true) => return Ok(()),
        (true, false) => "http(s) URLs",
        (false, true) => "data: URLs",
        (false, false) => "no images",
    };
    let wrong = images.iter().any(|image| image.starts_with("data:") != forms.data);
    if wrong || !(forms.url || forms.data || images.is_empty()) {
        return Err(unsendable(ErrorCode::InvalidParameters, format!("{provider} takes input images as {accepted} here")));
    }
    Ok(())
}

/// The image as raw base64 where it is a `data:` URL, else as it is.
#[must_use]
pub fn bare(image: &str) -> &str {
    base64_part(image).unwrap_or(image)
}

/// A size as the client may write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// `16:9`.
    Ratio(u64, u64),
    /// `1024x768`.
    Pixels(u64, u64),
}

impl Size {
    /// Reads `W:H` or `WxH`; sides up to 99,999.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let side = |text: &str| text.parse::<u64>().ok().filter(|side| (1..100_000).contains(side));
        if let Some((w, h)) = text.split_once(':') {
            return Some(Self::Ratio(side(w)?, side(h)?));
        }
        let (w, h) = text.split_once(['x', 'X'])?;
        Some(Self::Pixels(side(w)?, side(h)?))
    }

    /// As a ratio in lowest terms.
    #[must_use]
    pub fn ratio(self) -> String {
        match self {
            // As written: 21:9 is what providers list, not 7:3.
            Self::Ratio(w, h) => format!("{w}:{h}"),
            Self::Pixels(w, h) => {
                let by = divisor(w, h);
                format!("{}:{}", w / by, h / by)
            }
        }
    }

    /// As pixels: as given, or for a ratio about one megapixel with sides that are multiples of `step` up to `most`.
    #[must_use]
    pub fn pixels(self, step: u64, most: u64) -> (u64, u64) {
        const AREA: u64 = 1024 * 1024;
        match self {
            Self::Pixels(w, h) => (w, h),
            Self::Ratio(w, h) => {
                let ideal = (AREA * w / h).isqrt();
                let width = ideal.min(most).min(most * w / h);
                (rounded(width, step), rounded((width * h / w).min(most), step))
            }
        }
    }
}

fn rounded(side: u64, step: u64) -> u64 {
    ((side + step / 2) / step * step).max(step)
}

const fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_becomes_about_one_megapixel_in_allowed_steps() {
        let sizes = ["1:1", "4:3", "3:4", "16:9", "9:16", "21:9", "9:21"].map(|text| Size::parse(text).unwrap().pixels(32, 1440));
        assert_eq!(sizes, [(1024, 1024), (1184, 896), (896, 1184), (1376, 768), (768, 1376), (1440, 608), (608, 1440)]);
    }

    #[test]
    fn pixels_become_a_ratio_in_lowest_terms_and_a_ratio_stays_as_written() {
        assert_eq!(Size::parse("1024x1024").unwrap().ratio(), "1:1");
        assert_eq!(Size::parse("1920x1080").unwrap().ratio(), "16:9");
        assert_eq!(Size::parse("21:9").unwrap().ratio(), "21:9");
        assert_eq!([Size::parse("0x5"), Size::parse("axb"), Size::parse("16/9"), Size::parse("")], [None; 4]);
    }

    #[test]
    fn an_image_form_that_the_wire_does_not_take_is_refused_by_name() {
        let url = vec!["https://a.test/x.png".to_owned()];
        let data = vec!["data:image/png;base64,AAAA".to_owned()];
        let only_url = ImageForms { url: true, data: false, most: 1 };
        let only_data = ImageForms { url: false, data: true, most: 1 };
        assert_eq!((admit("p", &url, only_url), admit("p", &data, only_data)), (Ok(()), Ok(())));
        assert!(admit("p", &data, only_url).unwrap_err().message.contains("http(s) URLs"));
        assert!(admit("p", &url, only_data).unwrap_err().message.contains("data: URLs"));
        assert!(admit("p", &url, ImageForms::NONE).is_err());
        assert_eq!(bare(&data[0]), "AAAA");
    }
}

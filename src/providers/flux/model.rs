//! What the families of Flux models take: pixels or a ratio, base64 or URLs, how many images.

use crate::providers::adapter::ImageForms;

/// How a model takes a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeField {
    /// `width` and `height`, multiples of `step`, sides up to `most`.
    Pixels {
        /// Multiple.
        step: u64,
        /// Largest side that a ratio is turned into.
        most: u64,
    },
    /// `aspect_ratio`.
    Ratio,
    /// None: the input image decides.
    Image,
}

/// How a model takes images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageField {
    /// One, under this name, as base64 alone.
    Base64(&'static str),
    /// `input_image`, `input_image_2`, … up to this many, as URL or base64.
    Inputs(usize),
    /// None.
    Nothing,
}

/// What a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Size.
    pub size: SizeField,
    /// Images.
    pub images: ImageField,
}

impl Shape {
    /// By the model's name (BFL OpenAPI). An unknown one is taken for one of the newest family.
    pub fn of(upstream: &str) -> Self {
        let has = |part: &str| upstream.contains(part);
        let (size, images) = if has("flux-3") {
            (SizeField::Ratio, ImageField::Nothing)
        } else if has("kontext") {
            (SizeField::Ratio, ImageField::Inputs(4))
        } else if has("ultra") {
            (SizeField::Ratio, ImageField::Base64("image_prompt"))
        } else if has("fill") || has("expand") {
            (SizeField::Image, ImageField::Base64("image"))
        } else if has("flux-pro") || has("flux-dev") {
            (SizeField::Pixels { step: 32, most: 1440 }, ImageField::Base64("image_prompt"))
        } else {
            let most = if has("klein") { 4 } else { 8 };
            (SizeField::Pixels { step: 16, most: 2048 }, ImageField::Inputs(most))
        };
        Self { size, images }
    }

    /// The forms in which it takes images.
    pub const fn forms(self) -> ImageForms {
        match self.images {
            ImageField::Base64(_) => ImageForms { url: false, data: true, most: 1 },
            ImageField::Inputs(most) => ImageForms { url: true, data: true, most },
            ImageField::Nothing => ImageForms::NONE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_told_by_name() {
        let size = |name| Shape::of(name).size;
        assert_eq!(size("flux-pro-1.1"), SizeField::Pixels { step: 32, most: 1440 });
        assert_eq!(size("flux-dev"), SizeField::Pixels { step: 32, most: 1440 });
        assert_eq!(size("flux-pro-1.1-ultra"), SizeField::Ratio);
        assert_eq!(size("flux-kontext-max"), SizeField::Ratio);
        assert_eq!(size("flux-2-pro-preview"), SizeField::Pixels { step: 16, most: 2048 });
        assert_eq!(size("flux-pro-1.0-fill"), SizeField::Image);
        assert_eq!(Shape::of("flux-2-klein-4b").forms().most, 4);
        assert_eq!(Shape::of("flux-2-flex").forms().most, 8);
    }
}

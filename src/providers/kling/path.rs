//! Kling's paths. The poll path must match the create path, so the refined family is stored with the attempt.

use url::Url;

use crate::{
    domain::{
        error::ErrorCode,
        record::{Endpoint, Kind},
    },
    providers::adapter::{Fault, place, table::unsendable},
};

/// A path family, as submit and poll see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// Legacy.
    TextToVideo,
    /// Legacy.
    ImageToVideo,
    /// Legacy; images exist in no other standard.
    Images,
    /// Standard of 2026.
    NewTextToVideo,
    /// Standard of 2026.
    NewImageToVideo,
}

/// The word stored on the attempt.
pub fn family(asked: Option<&str>, has_images: bool, kind: Kind) -> String {
    match (asked, kind, has_images) {
        (None | Some("legacy" | "images"), Kind::Image, _) | (Some("images"), Kind::Video, _) => "images/generations",
        (None | Some("legacy"), Kind::Video, false) => "legacy/text2video",
        (None | Some("legacy"), Kind::Video, true) => "legacy/image2video",
        (Some("new"), _, false) => "new/text-to-video",
        (Some("new"), _, true) => "new/image-to-video",
        (Some(other), _, _) => other,
    }
    .to_owned()
}

impl Path {
    /// The endpoint's path.
    pub fn of(endpoint: &Endpoint) -> Result<Self, Fault> {
        match endpoint.path_family.as_str() {
            "legacy/text2video" => Ok(Self::TextToVideo),
            "legacy/image2video" => Ok(Self::ImageToVideo),
            "images/generations" => Ok(Self::Images),
            "new/text-to-video" => Ok(Self::NewTextToVideo),
            "new/image-to-video" => Ok(Self::NewImageToVideo),
            other => {
                let message = format!("kling has no path family \"{other}\": legacy, new or images");
                Err(unsendable(ErrorCode::InternalError, message))
            }
        }
    }

    /// Whether it belongs to the standard of 2026.
    pub const fn new_standard(self) -> bool {
        match self {
            Self::NewTextToVideo | Self::NewImageToVideo => true,
            Self::TextToVideo | Self::ImageToVideo | Self::Images => false,
        }
    }

    /// `{kind}` of the templates.
    const fn kind(self) -> &'static str {
        match self {
            Self::TextToVideo => "text2video",
            Self::ImageToVideo => "image2video",
            Self::Images => "generations",
            Self::NewTextToVideo => "text-to-video",
            Self::NewImageToVideo => "image-to-video",
        }
    }

    const fn submit_template(self) -> &'static str {
        match self {
            Self::TextToVideo | Self::ImageToVideo => "/v1/videos/{kind}",
            Self::Images => "/v1/images/{kind}",
            Self::NewTextToVideo | Self::NewImageToVideo => "/{kind}/{upstream}",
        }
    }

    const fn poll_template(self) -> &'static str {
        match self {
            Self::TextToVideo | Self::ImageToVideo => "/v1/videos/{kind}/{id}",
            Self::Images => "/v1/images/{kind}/{id}",
            Self::NewTextToVideo | Self::NewImageToVideo => "/tasks?task_ids={id}",
        }
    }
}

/// Where a task is created. Relays differ: option `submit_path` is a template with `{kind}`.
pub fn submit(endpoint: &Endpoint, path: Path) -> Result<Url, Fault> {
    let template = endpoint.options.get("submit_path").map_or(path.submit_template(), String::as_str);
    place::url(endpoint, template, &[("kind", path.kind())])
}

/// Where a task is asked for. Relays differ: option `poll_path` is a template with `{kind}` and `{id}`.
pub fn poll(endpoint: &Endpoint, id: &str) -> Result<Url, Fault> {
    let path = Path::of(endpoint)?;
    let template = endpoint.options.get("poll_path").map_or(path.poll_template(), String::as_str);
    place::url(endpoint, template, &[("kind", path.kind()), ("id", id)])
}

/// Where a task is asked for by our tag: the legacy poll path takes either id (reference, "query task"). A relay asks its own
/// database at its own path.
pub fn find(endpoint: &Endpoint, tag: &str, relay: bool) -> Result<Url, Fault> {
    let path = Path::of(endpoint)?;
    if relay {
        return poll(endpoint, tag);
    }
    let template = if path.new_standard() { "/tasks?external_task_ids={id}" } else { path.poll_template() };
    place::url(endpoint, template, &[("kind", path.kind()), ("id", tag)])
}

//! `/v1/…`: the shapes that OpenAI's packages send and read, over the catalogue, for programs that exist. What they mean is read from
//! the package itself (PyPI `openai` 3.54.0); its types are named where they are spoken.
//!
//! A video or an image is a generation like any other, under the same id: everything else about it is below `/api/external`.

mod ask;
mod form;
mod list;
mod making;
mod size;
mod video;
pub mod error;
pub mod images;
pub mod models;
pub mod videos;

use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Everything below it is answered in OpenAI's form, errors too.
pub const BELOW: &str = "/v1/";

/// What is wrong, in OpenAI's form.
#[derive(Debug, ToSchema)]
#[schema(as = OpenAiError)]
#[expect(dead_code, reason = "documents what `error::answer` makes")]
pub struct ErrorBody {
    error: ErrorObject,
}

/// What is wrong.
#[derive(Debug, ToSchema)]
#[schema(as = OpenAiErrorObject)]
#[expect(dead_code, reason = "documents what `error::answer` makes")]
pub struct ErrorObject {
    /// One sentence, or several.
    message: String,
    /// Such as `invalid_request_error`.
    #[schema(rename = "type")]
    r#type: String,
    /// Which member of the request.
    param: Option<String>,
    /// A stable word such as `model_not_found`. New ones may be added.
    code: Option<String>,
    /// Of a generation that was made and has no result: its id.
    #[schema(required = false)]
    generation_id: Option<String>,
}

/// What `POST /v1/videos` takes.
#[derive(Debug, ToSchema)]
#[schema(as = OpenAiNewVideo)]
#[expect(dead_code, reason = "documents the body; `ask` reads it, to report everything wrong at once")]
pub struct NewVideo {
    /// A video model of `GET /v1/models`.
    model: String,
    /// What to make.
    prompt: String,
    /// Length in seconds, as text or number.
    #[schema(required = false, example = "5")]
    seconds: String,
    /// `WIDTHxHEIGHT`, or `auto`. A model that chooses its own number of pixels takes the shape alone.
    #[schema(required = false, example = "1280x720")]
    size: String,
    /// In a form: a file. In JSON: `{"image_url": "…"}`.
    #[schema(required = false, value_type = Object)]
    input_reference: Value,
    /// `auto`, `standard` or `hd`, or the model's own words.
    #[schema(required = false)]
    quality: String,
    /// The model's own parameters.
    #[schema(required = false, value_type = Object)]
    parameters: Map<String, Value>,
}

/// What `POST /v1/images/generations` takes.
#[derive(Debug, ToSchema)]
#[schema(as = OpenAiNewImage)]
#[expect(dead_code, reason = "documents the body; `ask` reads it, to report everything wrong at once")]
pub struct NewImage {
    /// An image model of `GET /v1/models`.
    model: String,
    /// What to make.
    prompt: String,
    /// How many.
    #[schema(required = false, minimum = 1, maximum = 10, default = 1)]
    n: u16,
    /// `WIDTHxHEIGHT`, or `auto`.
    #[schema(required = false, example = "1024x1024")]
    size: String,
    /// `auto`, `standard` or `hd`, or the model's own words.
    #[schema(required = false)]
    quality: String,
    /// `png`, `jpeg` or `webp`, where the model has the choice.
    #[schema(required = false)]
    output_format: String,
    /// `b64_json` or `url`; both when left out.
    #[schema(required = false)]
    response_format: String,
    /// Your own user.
    #[schema(required = false, max_length = 256)]
    user: String,
    /// The model's own parameters.
    #[schema(required = false, value_type = Object)]
    parameters: Map<String, Value>,
}

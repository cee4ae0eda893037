//! The outer schema of each provider: the widest that any of its models takes. A model of the catalogue enables inputs of
//! these tables and can only narrow them.
//!
//! Limits and defaults come from the providers' documentation (Kling API reference, copy of 2026-09-20; Pollo request builders
//! of 2026-09-18; Replicate HTTP reference and model pages; BFL OpenAPI; published clients of the Tuzi relay), all as known in
//! November 2026. Where a document gives no bound, ours is wide and the doc says "our bound".

use crate::providers::schema::{DefaultValue, Form, InputSpec};

/// Whole numbers beyond this lose their last digit in JavaScript and other JSON readers (RFC 8259 §6).
const EXACT: i64 = 9_007_199_254_740_991;

const SEED: Form = Form::Integer { min: 0, max: EXACT };

/// The table of an adapter by its name in the configuration.
#[must_use]
pub fn of(adapter: &str) -> Option<&'static [InputSpec]> {
    match adapter {
        "kling" => Some(KLING),
        "pollo" => Some(POLLO),
        "replicate" => Some(REPLICATE),
        "flux" => Some(FLUX),
        "tuzi" => Some(TUZI),
        _ => None,
    }
}

/// The adapters that have a table.
pub const ADAPTERS: &[&str] = &["kling", "pollo", "replicate", "flux", "tuzi"];

const fn plain(name: &'static str, form: Form, doc: &'static str) -> InputSpec {
    InputSpec { name, form, default: None, doc }
}

const fn with(name: &'static str, form: Form, default: DefaultValue, doc: &'static str) -> InputSpec {
    InputSpec { name, form, default: Some(default), doc }
}

const OUTPUTS: InputSpec = plain("n", Form::Integer { min: 1, max: 10 }, "Another name of numberOfOutputs.");

/// Kling, both API generations, and relays in its style.
pub const KLING: &[InputSpec] = &[
    with(
        "size_or_ratio",
        Form::Size {
            ratios: &["16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9"],
            pixels: false,
            min: 0,
            max: 0,
            multiple: 1,
        },
        DefaultValue::Text("16:9"),
        "Aspect ratio. Videos take 16:9, 9:16 and 1:1, images all; not taken when a video starts from an image (Kling API reference).",
    ),
    with(
        "duration",
        Form::Integer { min: 3, max: 15 },
        DefaultValue::Integer(5),
        "Seconds: 5 or 10 up to model 2.6, 3 to 15 from 3.0 on (Kling API reference).",
    ),
    with(
        "mode",
        Form::Choice(&["standard", "pro"]),
        DefaultValue::Text("pro"),
        "Quality and price class of the legacy API; models from 3.0 on take a resolution instead (Kling API reference).",
    ),
    plain(
        "resolution",
        Form::Choice(&["720p", "1080p", "4k", "1k", "2k"]),
        "Videos from 3.0 on: 720p, 1080p, for 3.0 also 4k; images: 1k, 2k (Kling API reference).",
    ),
    plain("sound", Form::Choice(&["on", "off"]), "Sound of the video, from 2.6 on; Kling's own default is off at 2.6."),
    plain(
        "negative_prompt",
        Form::Text { max: 2_500 },
        "What should not be seen; legacy API only, for images not with an input image.",
    ),
    plain("cfg_scale", Form::Number { min: 0.0, max: 1.0 }, "How closely the prompt is followed; models 1.x only."),
    plain("multi_shot", Form::Flag, "Several shots in one video; 3.0. Kling's own default is on in the new API."),
    plain("image_reference", Form::Choice(&["subject", "face"]), "What the input image is a reference for; images, model 2.1."),
    plain("image_fidelity", Form::Number { min: 0.0, max: 1.0 }, "Likeness to the input image; Kling's own default is 0.5."),
    plain("human_fidelity", Form::Number { min: 0.0, max: 1.0 }, "Likeness of the face; Kling's own default is 0.45."),
    OUTPUTS,
];

/// Pollo, legacy and v1.
pub const POLLO: &[InputSpec] = &[
    with(
        "duration",
        Form::Integer { min: 1, max: 30 },
        DefaultValue::Integer(8),
        "Seconds; most models take 5 or 10, Veo 3 takes 8 (Pollo request builders).",
    ),
    with("generateAudio", Form::Flag, DefaultValue::Flag(true), "Sound, where the model makes it."),
    plain("negative_prompt", Form::Text { max: 2_000 }, "What should not be seen, where the model takes it. Our bound."),
    plain("seed", Form::Integer { min: 0, max: 4_294_967_295 }, "Repeats a result as far as the model can. Our bound: 32 bits."),
    plain(
        "aspect_ratio",
        Form::Choice(&["16:9", "9:16", "1:1", "4:3", "3:4", "21:9"]),
        "Aspect ratio; mostly without an input image only.",
    ),
    plain("resolution", Form::Choice(&["480p", "540p", "720p", "1080p"]), "Height of the picture."),
    plain("cameraFixed", Form::Flag, "Keeps the camera still (Seedance)."),
    plain("style", Form::Text { max: 100 }, "A style of the model's own. Our bound."),
];

/// Replicate: names as the models have them, passed as they are.
pub const REPLICATE: &[InputSpec] = &[
    plain("duration", Form::Integer { min: 1, max: 30 }, "Seconds of video."),
    plain(
        "aspect_ratio",
        Form::Choice(&["16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "4:5", "5:4", "21:9", "9:21", "match_input_image"]),
        "Aspect ratio; which ones is the model's own choice.",
    ),
    plain("seed", SEED, "Repeats a result as far as the model can."),
    plain("negative_prompt", Form::Text { max: 2_000 }, "What should not be seen. Our bound."),
    plain("resolution", Form::Choice(&["480p", "540p", "720p", "1080p"]), "Height of the picture."),
    plain("width", Form::Integer { min: 64, max: 4_096 }, "Pixels. Our bound."),
    plain("height", Form::Integer { min: 64, max: 4_096 }, "Pixels. Our bound."),
    plain("num_inference_steps", Form::Integer { min: 1, max: 500 }, "Steps of the sampler. Our bound."),
    plain("guidance_scale", Form::Number { min: 0.0, max: 50.0 }, "How closely the prompt is followed. Our bound."),
    plain("prompt_strength", Form::Number { min: 0.0, max: 1.0 }, "How far the input image may be left."),
    plain("prompt_upsampling", Form::Flag, "Lets the model rewrite the prompt."),
    plain("safety_tolerance", Form::Integer { min: 0, max: 6 }, "Moderation of FLUX models, 6 is the laxest."),
    plain("generate_audio", Form::Flag, "Sound, where the model makes it."),
    plain("go_fast", Form::Flag, "A faster, quantised run, where the model has one."),
    plain("output_format", Form::Choice(&["webp", "jpg", "png"]), "File format of images."),
    plain("output_quality", Form::Integer { min: 0, max: 100 }, "Quality of lossy formats."),
    OUTPUTS,
];

/// FLUX at Black Forest Labs.
pub const FLUX: &[InputSpec] = &[
    with(
        "size_or_ratio",
        Form::Size {
            ratios: &["1:1", "4:3", "3:4", "16:9", "9:16", "21:9", "9:21"],
            pixels: true,
            min: 64,
            max: 4_096,
            multiple: 1,
        },
        DefaultValue::Text("1024x1024"),
        "A ratio or WIDTHxHEIGHT. FLUX 1.1: sides of 256 to 1440, multiples of 32; FLUX.2: from 64, multiples of 16, at most 4 MP; ultra and kontext: ratios (BFL OpenAPI).",
    ),
    plain("seed", SEED, "Repeats a result."),
    plain("prompt_upsampling", Form::Flag, "Lets the model rewrite the prompt; BFL's own default is off, for FLUX.2 flex on."),
    plain(
        "safety_tolerance",
        Form::Integer { min: 0, max: 6 },
        "Moderation, 0 is the strictest; FLUX.2 ends at 5 (BFL OpenAPI).",
    ),
    plain("output_format", Form::Choice(&["jpeg", "png", "webp"]), "File format; BFL's own default is jpeg, for kontext png."),
    plain("raw", Form::Flag, "Less processed pictures; ultra only."),
    plain(
        "image_prompt_strength",
        Form::Number { min: 0.0, max: 1.0 },
        "Weight of the input image; ultra only, BFL's own default is 0.1.",
    ),
    plain(
        "guidance",
        Form::Number { min: 1.5, max: 20.0 },
        "How closely the prompt is followed; FLUX.2 flex (BFL's default 5) and dev (3). Our bound.",
    ),
    plain(
        "steps",
        Form::Integer { min: 1, max: 100 },
        "Steps of the sampler; FLUX.2 flex (BFL's default 50) and dev (28). Our bound.",
    ),
];

/// The Tuzi relay and others in OpenAI's style.
pub const TUZI: &[InputSpec] = &[
    with(
        "size_or_ratio",
        Form::Size {
            ratios: &["1:1", "4:3", "3:4", "16:9", "9:16", "21:9", "9:21", "3:2", "2:3"],
            pixels: true,
            min: 64,
            max: 4_096,
            multiple: 1,
        },
        DefaultValue::Text("1024x1024"),
        "A ratio or WIDTHxHEIGHT; which ones is the model's own choice.",
    ),
    plain("seed", SEED, "Repeats a result as far as the model can."),
    OUTPUTS,
    plain(
        "quality",
        Form::Choice(&["standard", "hd", "low", "medium", "high", "auto"]),
        "standard or hd; GPT image models: low, medium, high, auto.",
    ),
    plain("style", Form::Choice(&["vivid", "natural"]), "Vivid or natural colours."),
    plain("prompt_upsampling", Form::Flag, "Lets the model rewrite the prompt (FLUX)."),
    plain("safety_tolerance", Form::Integer { min: 0, max: 6 }, "Moderation of FLUX models, 6 is the laxest."),
    plain("output_format", Form::Choice(&["jpeg", "png", "webp"]), "File format."),
];

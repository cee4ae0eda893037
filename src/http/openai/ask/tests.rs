use serde_json::json;

use super::*;
use crate::config::Config;

fn asked(shape: Shape, body: Value) -> Result<Ask, Wrong> {
    let config: Config = toml::from_str(include_str!("../../../../config/default.toml")).unwrap();
    let Value::Object(members) = body else { panic!("an object") };
    read(members, shape, &Catalogue::new(&config).unwrap())
}

fn wrong(shape: Shape, body: Value) -> Vec<(String, &'static str)> {
    match asked(shape, body) {
        Err(Wrong::Values(errors)) => errors.into_iter().map(|error| (error.pointer, error.code)).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_video_is_asked_for_in_the_models_own_words() {
    let body = json!({"model": "kling-2.6", "prompt": "a dam", "seconds": "10", "size": "720x1280", "quality": "hd", "user": "u",
        "parameters": {"sound": "on"}, "input_reference": null});
    let ask = asked(VIDEO, body).unwrap();
    let expected = json!({"duration": 10, "size_or_ratio": "9:16", "mode": "pro", "sound": "on"});
    assert_eq!(
        (Value::Object(ask.parameters), ask.user_id.as_deref(), ask.prompt.as_deref()),
        (expected, Some("u"), Some("a dam"))
    );
}

#[test]
fn an_image_is_asked_for_in_the_models_own_words() {
    let body = json!({"model": "flux-schnell", "prompt": "a dam", "n": 2, "size": "auto", "output_format": "jpeg", "background": "auto",
        "output_compression": 80, "quality": "auto", "stream": false, "response_format": "url", "safety_identifier": "s"});
    let ask = asked(IMAGE, body).unwrap();
    assert_eq!(Value::Object(ask.parameters), json!({"output_format": "jpg", "output_quality": 80}));
    assert_eq!((ask.number_of_outputs, ask.user_id.as_deref()), (Some(2), Some("s")));
}

#[test]
fn a_form_sends_texts_and_the_models_parameters_have_types() {
    let body = json!({"model": "pollo-2.5", "prompt": "a dam", "n": "1", "parameters": {"seed": "7", "generateAudio": "false"}});
    assert_eq!(Value::Object(asked(VIDEO, body).unwrap().parameters), json!({"seed": 7, "generateAudio": false}));
}

#[test]
fn a_reference_is_an_image_by_url() {
    let with = |reference: Value| asked(VIDEO, json!({"model": "kling-2.6", "prompt": "a dam", "input_reference": reference}));
    for reference in [json!("https://x.example/a.png"), json!({"image_url": "https://x.example/a.png"})] {
        assert_eq!(with(reference).unwrap().input_images, ["https://x.example/a.png"]);
    }
    assert!(matches!(with(json!({"file_id": "file-1"})), Err(Wrong::Values(_))));
}

#[test]
fn what_does_not_fit_is_refused_with_the_values_that_do() {
    let body = json!({"model": "kling-2.6", "prompt": 3, "seconds": "4", "size": "640x100", "quality": "ultra", "secnds": 1});
    let mut found = wrong(VIDEO, body.clone());
    found.sort_unstable();
    let expected = [
        ("#/prompt", "wrong_type"),
        ("#/quality", "not_one_of"),
        ("#/secnds", "unknown_parameter"),
        ("#/seconds", "not_one_of"),
        ("#/size", "not_one_of"),
    ];
    assert_eq!(found, expected.map(|(name, code)| (name.to_owned(), code)));
    let Err(Wrong::Values(errors)) = asked(VIDEO, body) else { panic!("refused") };
    let text = format!("{errors:?}");
    assert!(text.contains("5, 10") && text.contains("16:9, 9:16, 1:1") && text.contains("did you mean `seconds`?"), "{text}");
}

#[test]
fn what_images_cannot_do_here_is_refused() {
    let base = json!({"model": "flux-pro-1.1", "prompt": "x"});
    for (name, value) in [
        ("stream", json!(true)),
        ("partial_images", json!(2)),
        ("background", json!("transparent")),
        ("moderation", json!("low")),
        ("quality", json!("high")),
        ("style", json!("vivid")),
        ("svg", json!({})),
        ("output_compression", json!(50)),
    ] {
        let mut body = base.clone();
        body[name] = value;
        assert_eq!(wrong(IMAGE, body).len(), 1, "{name}");
    }
}

#[test]
fn a_model_is_named_or_those_there_are() {
    let Err(Wrong::Model(detail)) = asked(VIDEO, json!({"model": "sora-2", "prompt": "x"})) else { panic!("unknown") };
    assert!(detail.contains("kling-2.6") && !detail.contains("flux-pro-1.1"), "{detail}");
    assert_eq!(wrong(VIDEO, json!({"prompt": "x"})), [("#/model".to_owned(), "required")]);
    assert_eq!(wrong(VIDEO, json!({"model": "flux-pro-1.1"})), [("#/model".to_owned(), "not_one_of")]);
}

#[test]
fn the_same_thing_is_not_said_twice() {
    let body = json!({"model": "kling-2.6", "prompt": "x", "seconds": 5, "parameters": {"duration": 10}});
    assert_eq!(wrong(VIDEO, body), [("#/seconds".to_owned(), "conflict")]);
    let body = json!({"model": "kling-2.6", "prompt": "x", "size": "1280x720", "parameters": {"size_or_ratio": "1:1"}});
    assert_eq!(wrong(VIDEO, body).len(), 1);
}

#[test]
fn intakes_pointers_are_the_clients_names() {
    let error = |pointer: &str| FieldError { pointer: pointer.to_owned(), code: "x", detail: String::new() };
    let given = [
        "#/parameters/duration",
        "#/parameters/aspect_ratio",
        "#/inputImages/0",
        "#/numberOfOutputs",
        "#/prompt",
        "#/parameters/seed",
    ];
    let mut found = given.map(error);
    found.iter_mut().for_each(rename);
    let names: Vec<_> = found.iter().map(|error| error.pointer.as_str()).collect();
    assert_eq!(names, ["#/seconds", "#/size", "#/input_reference", "#/n", "#/prompt", "#/parameters/seed"]);
}

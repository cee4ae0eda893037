use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{Asked, FieldError, normalise, pointer};
use crate::{
    config::Config,
    domain::record::GenerationRequest,
    providers::catalogue::{Catalogue, Model},
};

/// The signature alone: the rest of a picture is the media stage's question.
const PNG: &str = "data:image/png;base64,iVBORw0KGgo=";

fn model(inputs: &str) -> Model {
    let text = format!(
        r#"
        [providers.flux]
        [providers.kling]
        [providers.tuzi]
        [models.m]
        provider = "flux"
        upstream = "m"
        kind = "image"
        max_images = 2
        {inputs}
        "#
    );
    let config: Config = toml::from_str(&text).unwrap();
    Model::clone(Catalogue::new(&config).unwrap().model("m").unwrap())
}

fn ask(model: &Model, parameters: Value) -> Result<GenerationRequest, Vec<FieldError>> {
    let Value::Object(parameters) = parameters else { panic!("parameters are an object") };
    normalise(
        model,
        Asked { prompt: Some(" a cat "), input_images: Vec::new(), number_of_outputs: None, parameters, results: vec![] },
    )
}

fn refused(model: &Model, parameters: Value) -> Vec<(String, &'static str)> {
    ask(model, parameters).unwrap_err().into_iter().map(|error| (error.pointer, error.code)).collect()
}

fn images(model: &Model, images: &[&str]) -> Vec<(String, &'static str)> {
    let input_images = images.iter().map(|image| (*image).to_owned()).collect();
    let asked = Asked { prompt: Some("a cat"), input_images, number_of_outputs: None, parameters: Map::new(), results: vec![] };
    match normalise(model, asked) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.into_iter().map(|error| (error.pointer, error.code)).collect(),
    }
}

#[test]
fn defaults_of_declared_inputs_are_applied_and_those_of_others_are_not() {
    let declared = ask(&model("inputs.size_or_ratio = {}\ninputs.seed = {}"), json!({})).unwrap();
    assert_eq!(Value::Object(declared.parameters), json!({ "size_or_ratio": "1024x1024" }));
    let undeclared = ask(&model("inputs.seed = {}"), json!({})).unwrap();
    assert!(undeclared.parameters.is_empty());
}

#[test]
fn the_prompt_is_trimmed_and_its_length_counts_characters() {
    let model = model("max_prompt = 4");
    let with = |prompt| {
        normalise(
            &model,
            Asked { prompt, input_images: vec![], number_of_outputs: None, parameters: Map::new(), results: vec![] },
        )
    };
    assert_eq!(with(Some("  äöüß \n")).unwrap().prompt, "äöüß");
    assert_eq!(with(Some("äöüß!")).unwrap_err()[0].code, "too_long");
    assert_eq!(with(Some(" \t\n")).unwrap_err()[0].code, "empty");
    assert_eq!(with(None).unwrap_err()[0].code, "required");
}

#[test]
fn everything_wrong_is_said_at_once_and_where() {
    let model = model("inputs.seed = {}\ninputs.safety_tolerance = { max = 5 }\ninputs.raw = { required = true }");
    let asked = Asked {
        prompt: Some(""),
        input_images: vec!["ftp://example.com/a.png".to_owned(), PNG.to_owned(), PNG.to_owned()],
        number_of_outputs: Some(11),
        parameters: json!({ "seed": -1, "safety_tolerance": 6, "sede": 1 }).as_object().unwrap().clone(),
        results: vec![],
    };
    let errors = normalise(&model, asked).unwrap_err();
    let at: Vec<(&str, &str)> = errors.iter().map(|error| (error.pointer.as_str(), error.code)).collect();
    let expected = [
        ("#/prompt", "empty"),
        ("#/inputImages", "too_many"),
        ("#/inputImages/0", "invalid_url"),
        ("#/parameters/seed", "out_of_range"),
        ("#/parameters/safety_tolerance", "out_of_range"),
        ("#/parameters/raw", "required"),
        ("#/parameters/sede", "unknown_parameter"),
        ("#/numberOfOutputs", "out_of_range"),
    ];
    assert_eq!(at, expected);
}

#[test]
fn an_unknown_parameter_names_the_nearest_and_what_is_taken() {
    let model = model("inputs.seed = {}\ninputs.safety_tolerance = {}");
    let detail = |name: &str| ask(&model, json!({ name: 1 })).unwrap_err()[0].detail.clone();
    assert!(detail("safetyTolerance").contains("did you mean `safety_tolerance`?"));
    assert!(detail("sede").contains("did you mean `seed`?"));
    assert_eq!(detail("zzz"), "`zzz` is unknown; m takes: seed, safety_tolerance");
}

#[test]
fn whole_numbers_may_carry_a_zero_fraction_but_are_never_texts() {
    let model = model("inputs.seed = {}");
    assert_eq!(ask(&model, json!({ "seed": 5.0 })).unwrap().parameters["seed"], json!(5));
    assert_eq!(refused(&model, json!({ "seed": 5.5 })), [("#/parameters/seed".to_owned(), "wrong_type")]);
    assert_eq!(refused(&model, json!({ "seed": "5" })), [("#/parameters/seed".to_owned(), "wrong_type")]);
    assert_eq!(refused(&model, json!({ "seed": true })), [("#/parameters/seed".to_owned(), "wrong_type")]);
    assert_eq!(refused(&model, json!({ "seed": 1e30 })), [("#/parameters/seed".to_owned(), "out_of_range")]);
}

#[test]
fn null_counts_as_not_given() {
    let model = model("inputs.seed = {}\ninputs.size_or_ratio = {}");
    let request = ask(&model, json!({ "seed": null, "size_or_ratio": null, "nonsense": null })).unwrap();
    assert_eq!(Value::Object(request.parameters), json!({ "size_or_ratio": "1024x1024" }));
}

#[test]
fn sizes_are_ratios_of_the_list_or_pixels_within_bounds() {
    let model = model("inputs.size_or_ratio = { min = 256, max = 1440, multiple = 32, max_pixels = 1500000 }");
    for good in ["16:9", "256x1440", "1024x1024"] {
        assert_eq!(ask(&model, json!({ "size_or_ratio": good })).unwrap().parameters["size_or_ratio"], json!(good));
    }
    for (bad, code) in [
        ("224x1024", "out_of_range"),
        ("1472x1024", "out_of_range"),
        ("1440x1440", "out_of_range"),
        ("1000x1024", "not_a_multiple"),
        ("2:1", "not_one_of"),
        ("1024X1024", "not_one_of"),
        ("01024x1024", "not_one_of"),
        ("+512x512", "not_one_of"),
        ("99999999999x1", "not_one_of"),
        ("", "not_one_of"),
    ] {
        assert_eq!(refused(&model, json!({ "size_or_ratio": bad })), [("#/parameters/size_or_ratio".to_owned(), code)], "{bad}");
    }
    assert_eq!(refused(&model, json!({ "size_or_ratio": 1024 })), [("#/parameters/size_or_ratio".to_owned(), "wrong_type")]);
}

#[test]
fn listed_sizes_close_the_list_unless_free_ones_are_asked_for() {
    let model = model(r#"inputs.size_or_ratio = { values = ["1:1", "512x512"], default = "1:1" }"#);
    assert!(ask(&model, json!({ "size_or_ratio": "512x512" })).is_ok());
    assert_eq!(refused(&model, json!({ "size_or_ratio": "640x640" }))[0].1, "not_one_of");
}

#[test]
fn n_is_another_name_of_the_number_of_outputs() {
    let text = r#"
        [providers.tuzi]
        [models.m]
        provider = "tuzi"
        upstream = "m"
        kind = "image"
        inputs.n = {}
    "#;
    let catalogue = Catalogue::new(&toml::from_str(text).unwrap()).unwrap();
    let model = catalogue.model("m").unwrap();
    let with = |number_of_outputs, n: Value| {
        let parameters = json!({ "n": n }).as_object().unwrap().clone();
        normalise(
            model,
            Asked { prompt: Some("a cat"), input_images: Vec::new(), number_of_outputs, parameters, results: vec![] },
        )
    };
    let folded = with(None, json!(4)).unwrap();
    assert_eq!((folded.number_of_outputs, folded.parameters.len()), (4, 0));
    assert_eq!(with(Some(4), json!(4)).unwrap().number_of_outputs, 4);
    let conflict = with(Some(2), json!(3)).unwrap_err();
    assert_eq!((conflict[0].pointer.as_str(), conflict[0].code), ("#/parameters/n", "conflict"));
    assert_eq!(with(None, json!(11)).unwrap_err()[0].pointer, "#/parameters/n");
    assert_eq!(with(None, Value::Null).unwrap().number_of_outputs, 1);
}

#[test]
fn inline_images_must_decode_and_be_what_they_say() {
    let model = model("");
    assert!(images(&model, &[PNG, "https://example.com/cat.webp"]).is_empty());
    for bad in [
        "data:image/gif;base64,R0lGODlh",
        "data:image/png;base64,%%%",
        "data:image/png;base64,iVBORw0KGgo",
        "data:image/jpeg;base64,iVBORw0KGgo=",
        "data:image/png;base64,",
        "data:text/plain,hello",
        "data:image/png,iVBORw0KGgo=",
    ] {
        assert_eq!(images(&model, &[bad]), [("#/inputImages/0".to_owned(), "invalid_data")], "{bad}");
    }
    for bad in
        ["cat.png", "", "ftp://example.com/a", "file:///etc/passwd", "https://", "https://me:pw@example.com/a", "javascript:1"]
    {
        assert_eq!(images(&model, &[bad]), [("#/inputImages/0".to_owned(), "invalid_url")], "{bad}");
    }
    // `jpg` is what people write; the bytes are JPEG's.
    assert!(images(&model, &["data:image/jpg;base64,/9j/4AAQ"]).is_empty());
}

#[test]
fn a_form_that_the_model_does_not_take_names_the_one_it_takes() {
    let urls = model(r#"image_forms = ["url"]"#);
    assert_eq!(images(&urls, &[PNG]), [("#/inputImages/0".to_owned(), "not_accepted")]);
    let inline = model(r#"image_forms = ["data"]"#);
    let asked = Asked {
        prompt: Some("a cat"),
        input_images: vec!["https://example.com/a.png".to_owned()],
        number_of_outputs: None,
        parameters: Map::new(),
        results: vec![],
    };
    assert!(normalise(&inline, asked).unwrap_err()[0].detail.contains("only as data:image/"));
}

#[test]
fn what_another_generation_makes_counts_but_is_not_looked_at() {
    let inline = model("image_forms = [\"data\"]\nmin_images = 1");
    let asked = |images: &[&str], results| {
        let input_images = images.iter().map(|image| (*image).to_owned()).collect();
        Asked { prompt: Some("a cat"), input_images, number_of_outputs: None, parameters: Map::new(), results }
    };
    assert!(normalise(&inline, asked(&["result:x"], vec![0])).is_ok());
    assert_eq!(normalise(&inline, asked(&["result:x"], vec![])).unwrap_err()[0].code, "invalid_url");
    assert_eq!(normalise(&inline, asked(&["result:x", PNG, PNG], vec![0])).unwrap_err()[0].code, "too_many");
}

#[test]
fn image_counts_have_a_lower_and_an_upper_bound() {
    let needy = model("min_images = 1");
    assert_eq!(images(&needy, &[]), [("#/inputImages".to_owned(), "too_few")]);
    assert_eq!(images(&needy, &[PNG, PNG, PNG]), [("#/inputImages".to_owned(), "too_many")]);
}

#[test]
fn an_input_may_be_refused_or_lose_its_default_when_images_are_given() {
    let with = |rule: &str, given: Value| {
        let model = model(&format!(r#"inputs.size_or_ratio = {{ with_images = "{rule}" }}"#));
        let parameters = given.as_object().unwrap().clone();
        normalise(
            &model,
            Asked { prompt: Some("a"), input_images: vec![PNG.to_owned()], number_of_outputs: None, parameters, results: vec![] },
        )
    };
    assert_eq!(with("taken", json!({})).unwrap().parameters["size_or_ratio"], json!("1024x1024"));
    assert!(with("no_default", json!({})).unwrap().parameters.is_empty());
    assert!(with("no_default", json!({ "size_or_ratio": "1:1" })).is_ok());
    assert!(with("refused", json!({})).unwrap().parameters.is_empty());
    assert_eq!(with("refused", json!({ "size_or_ratio": "1:1" })).unwrap_err()[0].code, "not_taken");
}

#[test]
fn pointers_escape_what_their_syntax_needs() {
    assert_eq!(pointer(&["parameters", "a/b~c d\"é"]), "#/parameters/a~1b~0c%20d%22%C3%A9");
}

#[test]
fn a_hostile_name_does_not_blow_up_the_answer() {
    let errors = ask(&model(""), json!({ "x".repeat(100_000): 1 })).unwrap_err();
    assert!(errors[0].detail.len() < 300 && errors[0].pointer.len() < 300);
}

/// Values that a client might send, mostly near the truth.
fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-20_i64..40).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0_u16..20).prop_map(|whole| Value::from(f64::from(whole))),
        "[0-9]{1,5}[x:][0-9]{1,5}".prop_map(Value::from),
        prop_oneof![Just("16:9"), Just("pro"), Just("on"), Just("png"), Just("1080p"), Just("hd")].prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        proptest::collection::vec(any::<u8>().prop_map(Value::from), 0..3).prop_map(Value::from),
    ]
}

fn shipped() -> Vec<Model> {
    let config: Config = toml::from_str(include_str!("../../../config/default.toml")).unwrap();
    Catalogue::new(&config).unwrap().models().map(|model| Model::clone(model)).collect()
}

proptest! {
    #[test]
    fn what_was_accepted_is_accepted_again_unchanged(
        which in any::<prop::sample::Index>(),
        prompt in ".{0,40}",
        picks in proptest::collection::vec((any::<prop::sample::Index>(), value()), 0..6),
        stray in proptest::option::weighted(0.1, (".{0,12}", value())),
        outputs in proptest::option::of(-2_i64..13),
        images in proptest::collection::vec(prop_oneof![Just(PNG.to_owned()), Just("https://a.example/b".to_owned()), ".{0,30}"], 0..3),
    ) {
        let models = shipped();
        let model = which.get(&models);
        let mut parameters: Map<String, Value> = stray.into_iter().collect();
        if !model.inputs.is_empty() {
            parameters.extend(picks.into_iter().map(|(index, value)| (index.get(&model.inputs).name.to_owned(), value)));
        }
        let given = parameters.clone();
        let asked = Asked { prompt: Some(&prompt), input_images: images, number_of_outputs: outputs, parameters, results: vec![] };
        match normalise(model, asked) {
            Err(errors) => prop_assert!(!errors.is_empty() && errors.iter().all(|error| error.pointer.starts_with("#/"))),
            Ok(request) => {
                for input in model.inputs.iter().filter(|input| input.name != "n") {
                    let unsaid = given.get(input.name).is_none_or(Value::is_null);
                    if unsaid && request.input_images.is_empty() {
                        prop_assert_eq!(request.parameters.get(input.name), input.default.as_ref());
                    }
                }
                let again = normalise(model, Asked {
                    prompt: Some(&request.prompt),
                    input_images: request.input_images.clone(),
                    number_of_outputs: Some(i64::from(request.number_of_outputs)),
                    parameters: request.parameters.clone(),
                    results: vec![],
                });
                prop_assert_eq!(again, Ok(request));
            }
        }
    }
}

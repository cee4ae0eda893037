use serde_json::{Map, Value, json};

use super::{Catalogue, Model};
use crate::{
    config::Config,
    domain::money::Micros,
    providers::schema::{Form, tables},
};

fn catalogue(models: &str) -> Result<Catalogue, Vec<String>> {
    let text = format!("[providers.flux]\n[providers.kling]\n[providers.my-relay]\nadapter = \"kling\"\n{models}");
    Catalogue::new(&toml::from_str::<Config>(&text).unwrap())
}

fn entry(rest: &str) -> String {
    format!("[models.m]\nprovider = \"kling\"\nupstream = \"u\"\nkind = \"video\"\n{rest}")
}

fn one(rest: &str) -> Model {
    Model::clone(catalogue(&entry(rest)).unwrap().model("m").unwrap())
}

fn map(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[test]
fn the_shipped_catalogue_is_right_and_covers_every_adapter() {
    let config: Config = toml::from_str(include_str!("../../../config/default.toml")).unwrap();
    let catalogue = Catalogue::new(&config).unwrap();
    for adapter in tables::ADAPTERS {
        let served = catalogue.models().filter(|model| model.provider.as_ref() == *adapter).count();
        assert!(served > 0, "no model of {adapter}");
    }
}

#[test]
fn a_section_may_use_another_sections_adapter() {
    let text = entry("inputs.duration = { values = [5, 10] }").replace("kling\"", "my-relay\"");
    assert_eq!(catalogue(&text).unwrap().model("m").unwrap().inputs.len(), 1);
}

#[test]
fn every_problem_of_every_entry_is_said() {
    let models = r#"
        [models.one]
        provider = "klnig"
        upstream = ""
        kind = "video"
        [models.two]
        provider = "kling"
        upstream = "u"
        kind = "video"
        outputs_per_call = 0
        min_images = 3
        price = { per_call = -1.0 }
        inputs.durration = {}
        inputs.duration = { min = 1, max = 20 }
        inputs.mode = { values = ["standard"], default = "pro" }
        inputs.resolution = { values = ["8k"] }
        inputs.cfg_scale = { max = 2.0 }
        inputs.sound = { required = true, default = "on" }
        inputs.size_or_ratio = { pixels = true }
    "#;
    let problems = catalogue(models).unwrap_err();
    let has = |part: &str| assert!(problems.iter().any(|problem| problem.contains(part)), "{part} in {problems:#?}");
    has("models.\"one\": there is no section [providers.klnig]; did you mean `kling`?");
    has("models.\"one\": upstream is empty");
    has("models.\"two\": outputs_per_call");
    has("models.\"two\": min_images is above max_images");
    has("models.\"two\": a price is negative");
    has("models.\"two\": inputs.durration: the provider's schema has no such input; did you mean `duration`?");
    has("inputs.duration narrows to 1 to 20, which is not within the provider's 3 to 15");
    has("inputs.mode has a default that cannot be \"pro\"");
    has("inputs.resolution has a value that cannot be \"8k\"");
    has("inputs.cfg_scale narrows to 0 to 2");
    has("inputs.sound is required and has a default");
    has("inputs.size_or_ratio is declared wrongly: the provider takes no WIDTHxHEIGHT here");
    assert_eq!(problems.len(), 12);
}

#[test]
fn an_inherited_default_that_the_narrowing_excludes_is_a_problem() {
    let problems = catalogue(&entry("inputs.duration = { min = 6 }")).unwrap_err();
    assert!(problems[0].contains("inherits the provider's default"), "{problems:?}");
    assert!(catalogue(&entry("inputs.duration = { min = 6, default = 8 }")).is_ok());
    assert!(catalogue(&entry("inputs.duration = { min = 6, required = true }")).is_ok());
}

#[test]
fn a_call_costs_its_parts_and_seconds_count_for_each_output() {
    let model = one("price = { per_call = 0.5, per_output = 0.25, per_second = 0.07 }\ninputs.duration = {}");
    assert_eq!(model.call_price(&map(json!({ "duration": 10 })), 2), Micros(500_000 + 2 * 250_000 + 2 * 700_000));
    assert_eq!(model.call_price(&Map::new(), 1), Micros(750_000));
}

#[test]
fn the_first_price_variant_that_fits_replaces_the_price() {
    let variants = r#"
        inputs.mode = {}
        inputs.sound = {}
        inputs.duration = {}
        [models.m.price]
        per_second = 0.07
        [[models.m.price.variants]]
        when = { sound = "on", mode = "pro" }
        per_second = 0.14
        [[models.m.price.variants]]
        when = { mode = "standard" }
        per_second = 0.042
    "#;
    let model = one(variants);
    let price = |parameters: Value| model.call_price(&map(parameters), 1);
    assert_eq!(price(json!({ "duration": 5, "mode": "pro" })), Micros(350_000));
    assert_eq!(price(json!({ "duration": 5, "mode": "pro", "sound": "on" })), Micros(700_000));
    assert_eq!(price(json!({ "duration": 5, "mode": "standard", "sound": "on" })), Micros(210_000));
}

#[test]
fn a_price_variant_that_no_request_reaches_is_a_problem() {
    let problems =
        catalogue(&entry("price = { variants = [{ when = { mode = \"turbo\" }, per_call = 1.0 }] }\ninputs.mode = {}"));
    assert!(problems.unwrap_err()[0].contains("no request can have mode"));
}

#[test]
fn the_schema_shows_bounds_values_and_defaults() {
    let text = "inputs.duration = { values = [5, 10] }\ninputs.cfg_scale = {}\ninputs.sound = { required = true }";
    let schema = one(text).schema_json();
    assert_eq!(schema["properties"]["duration"]["enum"], json!([5, 10]));
    assert_eq!(schema["properties"]["duration"]["default"], json!(5));
    assert_eq!(schema["properties"]["cfg_scale"]["maximum"], json!(1.0));
    assert_eq!(schema["required"], json!(["sound"]));
    assert_eq!(schema["additionalProperties"], json!(false));
}

#[test]
fn a_wrong_identifier_finds_its_neighbour() {
    let catalogue = catalogue(&entry("").replace("models.m", "models.\"kling-2.6\"")).unwrap();
    assert_eq!(catalogue.nearest("kling_26"), Some("kling-2.6"));
    assert_eq!(catalogue.nearest("zzz"), None);
}

#[test]
fn every_default_of_the_tables_is_a_value_that_its_own_form_takes() {
    for adapter in tables::ADAPTERS {
        for spec in tables::of(adapter).unwrap() {
            let input = crate::providers::schema::narrow::narrow(spec, &Default::default());
            assert!(input.is_ok(), "{adapter} {}: {input:?}", spec.name);
            assert!(!spec.doc.is_empty() && !matches!(spec.form, Form::Choice([])), "{adapter} {}", spec.name);
        }
    }
}

#[test]
fn the_outer_limits_are_those_that_clients_were_promised() {
    let find = |adapter: &str, name: &str| tables::of(adapter).unwrap().iter().find(|spec| spec.name == name).copied().unwrap();
    let default = |adapter, name| find(adapter, name).default.map(|value| value.json());
    assert_eq!(default("flux", "size_or_ratio"), Some(json!("1024x1024")));
    assert_eq!(default("tuzi", "size_or_ratio"), Some(json!("1024x1024")));
    assert_eq!(default("kling", "size_or_ratio"), Some(json!("16:9")));
    assert_eq!(default("kling", "duration"), Some(json!(5)));
    assert_eq!(default("kling", "mode"), Some(json!("pro")));
    assert_eq!(default("pollo", "duration"), Some(json!(8)));
    assert_eq!(default("pollo", "generateAudio"), Some(json!(true)));
    assert_eq!(find("flux", "safety_tolerance").form, Form::Integer { min: 0, max: 6 });
    assert_eq!(find("tuzi", "n").form, Form::Integer { min: 1, max: 10 });
    assert_eq!(find("pollo", "duration").form, Form::Integer { min: 1, max: 30 });
    assert_eq!(find("replicate", "duration").form, Form::Integer { min: 1, max: 30 });
}

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::{
    config::Config,
    domain::{
        id::{KeyId, ProjectId},
        limits::Limits,
        money::Micros,
        time::Timestamp,
        unconfirmed::OnUnconfirmed,
    },
    intake::batch::options,
    net::guard::Allow,
};

const CONFIG: &str = r#"
[providers.flux]
api_key = "k"
[providers.kling]
[models.image]
provider = "flux"
upstream = "i"
kind = "image"
max_images = 2
price = { per_call = 0.04 }
inputs = { seed = {} }
[models.video]
provider = "flux"
upstream = "v"
kind = "video"
max_images = 1
min_images = 1
image_forms = ["data"]
[models.off]
provider = "kling"
upstream = "o"
kind = "video"
"#;

fn judge(options: Value) -> Judge {
    let config: Config = toml::from_str(CONFIG).unwrap();
    let now = Timestamp(1_000);
    let (options, errors) = options::read(serde_json::Map::new(), options.as_object().unwrap().clone(), (now, &Allow::public()));
    let standing = Standing {
        project: ProjectId::fresh(),
        key: KeyId::fresh(),
        request_id: "r".into(),
        now,
        queue_deadline: Duration::from_secs(1),
        shard: 7,
        limits: Limits::default(),
        on_unconfirmed: OnUnconfirmed::Fail,
        webhooks: Arc::new(Allow::public()),
    };
    let catalogue = Arc::new(Catalogue::new(&config).unwrap());
    let registry = Arc::new(Registry::new(&config).unwrap());
    let rules = Rules { catalogue, registry, standing, options, max_resubmits: 1 };
    Judge::new(rules, errors.into_iter().map(Into::into).collect())
}

fn spot(index: usize) -> Spot {
    Spot { index: u32::try_from(index).unwrap(), line: None }
}

fn place(index: usize, pointer: &str) -> Location {
    Location { pointer: format!("#/requests/{index}{}", pointer.trim_start_matches('#')), line: None }
}

/// Judges all of it; what was handed out before the end, and the verdict.
fn all(options: Value, requests: Value) -> (Vec<Taken>, Result<Accepted, Rejected>) {
    let mut judge = judge(options);
    let taken = requests
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
        .filter_map(|(index, request)| judge.take(spot(index), request.clone(), &|pointer| place(index, pointer)));
    let taken = taken.collect();
    (taken, judge.finish(&|spot| place(spot.index as usize, "#")))
}

fn invalid(options: Value, requests: Value) -> Vec<(String, &'static str)> {
    match all(options, requests).1 {
        Err(Rejected::Invalid(findings)) => {
            findings.named().into_iter().map(|error| (error.error.pointer, error.error.code)).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn image(name: &str) -> Value {
    json!({"customId": name, "modelIdentifier": "image", "prompt": "p"})
}

#[test]
fn requests_are_judged_as_single_ones_and_carry_the_batchs_options() {
    let requests = json!([
        {"modelIdentifier": "image", "prompt": " a ", "customId": "a", "number_of_outputs": 2},
        {"modelIdentifier": "image", "prompt": "b", "priority": "urgent", "onUnconfirmed": "fail"},
    ]);
    let (taken, verdict) = all(json!({"priority": 7, "onUnconfirmed": "hold"}), requests);
    let accepted = verdict.unwrap();
    assert_eq!((accepted.total, accepted.left_out, accepted.gone.len()), (2, 0, 0));
    let rows: Vec<_> = taken
        .iter()
        .map(|taken| {
            let generation = &taken.birth.generation;
            (taken.custom_id.as_deref(), taken.spot.index, generation.priority, generation.on_unconfirmed, generation.shard)
        })
        .collect();
    assert_eq!(rows, [(Some("a"), 0, 7, OnUnconfirmed::Hold, 7), (None, 1, 1, OnUnconfirmed::Fail, 7)]);
    assert_eq!((taken[0].birth.request.prompt.as_str(), taken[0].birth.request.number_of_outputs), ("a", 2));
    assert_eq!((accepted.estimate.cost.expected, accepted.estimate.outputs), (Micros(120_000), 3));
}

#[test]
fn every_error_of_every_request_is_named_where_it_is() {
    let requests = json!([
        image("a"),
        {"modelIdentifier": "image", "prompt": 3, "parameters": {"sed": 1}},
        5,
        {"modelIdentifier": "imgae", "prompt": "x"},
    ]);
    let found = invalid(json!({"priority": 11}), requests);
    let expected = [
        ("#/options/priority", "not_one_of"),
        ("#/requests/1/prompt", "wrong_type"),
        ("#/requests/1/parameters/sed", "unknown_parameter"),
        ("#/requests/2", "wrong_type"),
        ("#/requests/3/modelIdentifier", "unknown_model"),
    ];
    assert_eq!(found, expected.map(|(pointer, code)| (pointer.to_owned(), code)));
}

#[test]
fn a_name_that_is_used_twice_names_both() {
    let (_, verdict) = all(json!({}), json!([image("a"), image("b"), image("a")]));
    let Err(Rejected::Invalid(findings)) = verdict else { panic!("{verdict:?}") };
    let named = findings.named();
    assert_eq!((named.len(), named[0].index, named[0].error.code), (1, Some(2), "duplicate_custom_id"));
    assert_eq!(named[0].error.detail, "the customId `a` is used twice: by request 0 and by request 2");
}

#[test]
fn once_a_request_is_wrong_nothing_more_is_handed_out_but_everything_is_checked() {
    let (taken, verdict) = all(json!({}), json!([image("a"), {}, image("b"), {"modelIdentifier": "image"}]));
    assert_eq!(taken.len(), 1);
    let Err(Rejected::Invalid(findings)) = verdict else { panic!("{verdict:?}") };
    assert_eq!(findings.total(), 3, "no model and no prompt, then no prompt");
}

#[test]
fn what_is_wrong_is_skipped_when_asked_with_all_that_waits_for_it() {
    let requests = json!([
        image("a"),
        {"customId": "bad", "modelIdentifier": "image"},
        {"customId": "after-bad", "modelIdentifier": "image", "prompt": "p", "dependsOn": ["bad"]},
        {"customId": "early", "modelIdentifier": "image", "prompt": "p", "dependsOn": ["late"]},
        {"customId": "chain", "modelIdentifier": "image", "prompt": "p", "dependsOn": ["early"]},
        {"customId": "late", "modelIdentifier": "image", "prompt": ""},
        {"customId": "fine", "modelIdentifier": "image", "prompt": "p", "dependsOn": ["a"]},
    ]);
    let (taken, verdict) = all(json!({"onInvalid": "skip"}), requests);
    let accepted = verdict.unwrap();
    let kept: Vec<_> = taken
        .iter()
        .filter(|taken| !accepted.gone.contains(&taken.birth.generation.id))
        .map(|taken| taken.custom_id.as_deref().unwrap())
        .collect();
    assert_eq!(kept, ["a", "fine"]);
    assert!(taken.iter().all(|taken| taken.certain == kept.contains(&taken.custom_id.as_deref().unwrap())));
    assert_eq!((accepted.total, accepted.left_out, accepted.estimate.cost.expected), (2, 5, Micros(80_000)));
    let mut skipped: Vec<_> =
        accepted.skipped.iter().map(|s| (s.custom_id.as_deref().unwrap(), s.errors[0].error.code)).collect();
    skipped.sort_unstable();
    let expected = [
        ("after-bad", "dependency_refused"),
        ("bad", "required"),
        ("chain", "dependency_refused"),
        ("early", "dependency_refused"),
        ("late", "empty"),
    ];
    assert_eq!(skipped, expected);
}

#[test]
fn a_batch_of_which_everything_is_skipped_is_refused_and_so_is_an_empty_one() {
    assert_eq!(
        invalid(json!({"onInvalid": "skip"}), json!([{"modelIdentifier": "image"}])),
        [("#/requests/0/prompt".to_owned(), "required")]
    );
    assert_eq!(invalid(json!({}), json!([])), [("#".to_owned(), "empty")]);
}

#[test]
fn an_image_of_another_request_is_taken_in_whichever_order_they_come() {
    let video = json!({"customId": "v", "modelIdentifier": "video", "prompt": "p", "inputImages": [{"$result": "i"}]});
    for requests in [json!([video, image("i")]), json!([image("i"), video])] {
        let (taken, verdict) = all(json!({}), requests);
        verdict.unwrap();
        let find = |name: &str| taken.iter().find(|taken| taken.custom_id.as_deref() == Some(name)).unwrap();
        let (video, image) = (find("v"), find("i").birth.generation.id);
        assert_eq!(video.birth.depends_on, [image]);
        assert_eq!(video.birth.request.input_images, [format!("result:{image}/0")]);
        assert_eq!(video.birth.generation.state(), GenerationState::Waiting);
        assert_eq!(video.birth.generation.born_state, GenerationState::Waiting);
        assert_eq!(find("i").birth.generation.state(), GenerationState::Queued);
    }
}

#[test]
fn references_that_cannot_be_are_refused_at_once() {
    let wants = |image: Value, others: Value| {
        let mut requests = vec![json!({"modelIdentifier": "image", "prompt": "p", "inputImages": [image]})];
        requests.extend(others.as_array().unwrap().clone());
        invalid(json!({}), Value::Array(requests))
    };
    let at = |pointer: &str, code| vec![(format!("#/requests/0/{pointer}"), code)];
    assert_eq!(wants(json!({"$result": "x"}), json!([image("y")])), at("inputImages/0", "unknown_custom_id"));
    assert_eq!(wants(json!({"$result": "x", "index": 1}), json!([image("x")])), at("inputImages/0", "out_of_range"));
    let video = json!({"customId": "x", "modelIdentifier": "video", "prompt": "p", "inputImages": [{"$result": "y"}]});
    assert_eq!(wants(json!({"$result": "x"}), json!([video, image("y")])), at("inputImages/0", "not_an_image"));
    assert_eq!(wants(json!("result:gen_01930000000070008000000000000000/0"), json!([])), at("inputImages/0", "invalid_url"));
    let ring = |name: &str, on: &str| json!({"customId": name, "modelIdentifier": "image", "prompt": "p", "dependsOn": [on]});
    assert_eq!(invalid(json!({}), json!([ring("a", "b"), ring("b", "a")])), [("#/requests/1".to_owned(), "cycle")]);
    assert_eq!(invalid(json!({}), json!([ring("a", "a")])), [("#/requests/0/dependsOn/0".to_owned(), "cycle")]);
}

#[test]
fn that_only_a_provider_is_off_is_told_from_a_mistake() {
    let off = json!({"modelIdentifier": "off", "prompt": "p"});
    let (_, verdict) = all(json!({}), json!([off, image("a")]));
    assert!(matches!(&verdict, Err(Rejected::Unavailable(why)) if why.contains("kling")), "{verdict:?}");
    assert_eq!(invalid(json!({}), json!([off, {"modelIdentifier": "image"}])).len(), 2);
}

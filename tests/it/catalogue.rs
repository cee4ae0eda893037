//! The shipped catalogue against the wire: every model, with every value of every input and every form and number of input
//! images, is submitted through its adapter to the simulated provider, which was written from the provider's documents alone.

use longtake::{
    clock::Clock,
    config::{Config, models::ImageForm, simulator::SimulatorConfig},
    domain::id::AttemptId,
    providers::{
        adapter::{Body, Call, HttpCall, Reply, Submitted},
        catalogue::{Catalogue, Model},
        registry::{Provider, Registry},
        schema::{Accepted, Asked, Input, normalise},
    },
    simulator::Simulator,
};
use serde_json::{Map, Value, json};

const PNG: &str =
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";
const PICTURE: &str = "https://example.com/picture.png";

/// The shipped configuration, pointed at the simulator.
fn shipped(simulator: &str) -> Config {
    let mut config: Config = toml::from_str(include_str!("../../config/default.toml")).expect("config/default.toml");
    for (name, provider) in &mut config.providers {
        provider.base_url = match provider.adapter.as_deref().unwrap_or(name) {
            "pollo" => format!("{simulator}/pollo/api/platform"),
            "replicate" => format!("{simulator}/replicate/v1"),
            _ if name == "tuzi-kling" => format!("{simulator}/tuzi"),
            adapter => format!("{simulator}/{adapter}"),
        };
        provider.allow_loopback = true;
        provider.api_key = Some("any".to_owned().into());
    }
    config
}

/// Values that stand for all that an input takes.
fn values(input: &Input) -> Vec<Value> {
    match &input.accepted {
        Accepted::Choice(words) => words.iter().map(|word| json!(word)).collect(),
        Accepted::Integer { values: Some(values), .. } => values.iter().map(|value| json!(value)).collect(),
        Accepted::Integer { min, max, values: None } => vec![json!(min), json!(max)],
        Accepted::Number { min, max } => vec![json!(min), json!(max)],
        Accepted::Text { .. } => vec![json!("rain")],
        Accepted::Flag { values } => values.iter().map(|value| json!(value)).collect(),
        Accepted::Size { words, sides } => {
            let sizes = sides.iter().flat_map(|sides| {
                let square = |side: u32| json!(format!("{0}x{0}", side.next_multiple_of(sides.multiple)));
                [square(sides.min), square(1024)]
            });
            words.iter().map(|word| json!(word)).chain(sizes).collect()
        }
    }
}

/// Requests that together use everything a model declares.
fn requests(model: &Model) -> Vec<(Map<String, Value>, Vec<String>)> {
    let images = |count: usize, form: ImageForm| {
        let image = match form {
            ImageForm::Url => PICTURE,
            ImageForm::Data => PNG,
        };
        vec![image.to_owned(); count]
    };
    let least = images(model.min_images, ImageForm::Url);
    let mut requests = vec![(Map::new(), least.clone())];
    for input in model.inputs.iter().filter(|input| input.name != "n") {
        requests.extend(values(input).into_iter().map(|value| (Map::from_iter([(input.name.to_owned(), value)]), least.clone())));
    }
    for form in &model.image_forms {
        requests.extend((1..=model.max_images).map(|count| (Map::new(), images(count, *form))));
    }
    requests
}

async fn submit(client: &reqwest::Client, provider: &Provider, model: &Model, asked: Asked<'_>) -> Result<(), String> {
    let request = normalise(model, asked).map_err(|errors| format!("{errors:?}"))?;
    let endpoint = provider.endpoint(model, !request.input_images.is_empty());
    let tag = AttemptId::fresh().to_string();
    let call = Call {
        prompt: &request.prompt,
        images: &request.input_images,
        outputs: model.outputs_per_call,
        parameters: &request.parameters,
        kind: model.kind,
        endpoint: &endpoint,
        tag: &tag,
        webhook_url: None,
    };
    let http = provider.adapter.submit(&call).map_err(|fault| format!("{fault:?}"))?;
    let account = provider.accounts.first().ok_or("no account")?;
    let now = Clock::System.now();
    let headers = provider.adapter.authorize(&account.credential, &endpoint, now).map_err(|fault| format!("{fault:?}"))?;
    let sent = format!("{http:?}");
    match provider.adapter.read_submit(&call, &send(client, http, headers).await) {
        Submitted::Accepted { .. } | Submitted::Done { .. } => Ok(()),
        Submitted::Fault(fault) => Err(format!("{fault:?}\n    {sent}")),
    }
}

async fn send(client: &reqwest::Client, call: HttpCall, headers: Vec<(http::HeaderName, secrecy::SecretString)>) -> Reply {
    let mut request = client.request(call.method, call.url);
    for (name, value) in headers {
        request = request.header(name, secrecy::ExposeSecret::expose_secret(&value));
    }
    let request = match call.body {
        Body::Empty => request,
        Body::Json(body) => request.json(&body),
        Body::Form(fields) => request
            .multipart(fields.into_iter().fold(reqwest::multipart::Form::new(), |form, (name, value)| form.text(name, value))),
    };
    let answer = request.send().await.expect("the simulator answers");
    let (status, headers) = (answer.status(), answer.headers().clone());
    Reply { status, headers, body: answer.bytes().await.expect("a body"), at: Clock::System.now() }
}

#[tokio::test]
async fn every_value_that_the_catalogue_declares_is_one_that_the_provider_takes() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let simulator =
        Simulator::start(SimulatorConfig { image_ms: 1, video_ms: 1, tiny_outputs: true, ..SimulatorConfig::default() })
            .expect("the simulator starts");
    let config = shipped(&simulator.url);
    let catalogue = Catalogue::new(&config).expect("a right catalogue");
    let registry = Registry::new(&config).expect("right providers");
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let (mut wrong, mut sent) = (Vec::new(), 0);
    for model in catalogue.models() {
        let provider = registry.provider(&model.provider).expect("its provider");
        for (parameters, input_images) in requests(model) {
            let shown = format!("{}: {} with {} images", model.id, json!(parameters), input_images.len());
            let asked = Asked { prompt: Some("a cat"), input_images, number_of_outputs: None, parameters, results: vec![] };
            sent += 1;
            if let Err(problem) = submit(&client, provider, model, asked).await {
                wrong.push(format!("{shown}\n    {problem}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {sent} were refused:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_model_takes_images_only_in_forms_and_numbers_that_its_adapter_sends() {
    let config = shipped("http://127.0.0.1:1");
    let catalogue = Catalogue::new(&config).expect("a right catalogue");
    let registry = Registry::new(&config).expect("right providers");
    for model in catalogue.models().filter(|model| model.max_images > 0) {
        let provider = registry.provider(&model.provider).expect("its provider");
        let sent = provider.adapter.image_forms(&provider.endpoint(model, true));
        let takes = |form| model.image_forms.contains(&form);
        assert!(model.max_images <= sent.most, "{}: {} images, the adapter sends {}", model.id, model.max_images, sent.most);
        assert!(sent.url || !takes(ImageForm::Url), "{}: URLs", model.id);
        assert!(sent.data || !takes(ImageForm::Data), "{}: data: URLs", model.id);
    }
}

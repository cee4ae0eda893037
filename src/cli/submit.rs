//! `longtake submit`: asks for one generation, and waits for it where that is wanted.

use std::{
    fs,
    io::{self, Read as _, Write},
    path::PathBuf,
    process::ExitCode,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{
    cli::{
        out, progress,
        remote::{self, Remote},
        shown, watch,
    },
    client::{Client, Failure, Sent},
};

/// `longtake submit`.
#[derive(Debug, Args)]
pub struct SubmitArgs {
    /// The request as JSON in a file, or `-` for standard input; the options below then add to it.
    #[arg(value_name = "FILE")]
    pub request: Option<PathBuf>,
    /// A model, as `GET /api/external/models` lists them.
    #[arg(long, short, value_name = "MODEL")]
    pub model: Option<String>,
    /// What to make.
    #[arg(long, short, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// An input image: a URL, or a PNG, JPEG or WebP file. Several, in order.
    #[arg(long = "image", short, value_name = "URL|FILE")]
    pub images: Vec<String>,
    /// How many outputs.
    #[arg(long = "outputs", short = 'n', value_name = "COUNT")]
    pub outputs: Option<u16>,
    /// A parameter of the model, such as `duration=5`. Several.
    #[arg(long = "set", short = 's', value_name = "NAME=VALUE", value_parser = pair)]
    pub parameters: Vec<(String, Value)>,
    /// `fail`, `hold` or `resubmit`: what follows when nobody can say whether the provider accepted.
    #[arg(long, value_name = "POLICY")]
    pub on_unconfirmed: Option<String>,
    /// Submitting twice with the same key makes one generation; a new one each time when left out.
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// Wait until it has ended.
    #[arg(long, short)]
    pub wait: bool,
    /// How waiting is done.
    #[command(flatten)]
    pub waiting: watch::Waiting,
    /// Which service.
    #[command(flatten)]
    pub remote: Remote,
}

/// Reads `name=value`; a value that is JSON is taken as such, any other as text.
fn pair(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| "must be NAME=VALUE, such as duration=5".to_owned())?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    Ok((name.to_owned(), value))
}

/// Carries the command out.
///
/// # Errors
/// With what went wrong, for people.
pub fn run(args: &SubmitArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let client = args.remote.client()?;
    let request = request(args)?;
    remote::block_on(async {
        // However often it is tried, this command makes one generation.
        let key = args.idempotency_key.clone().unwrap_or_else(|| format!("cli-{}", Uuid::new_v4().simple()));
        let accepted = accepted(&client, &request, &key).await?;
        let id = shown::text(&accepted, "id").to_owned();
        if args.wait || args.waiting.out.is_some() {
            return watch::follow(&client, &[id], &args.waiting, (args.remote.json, out)).await;
        }
        if args.remote.json {
            out::json(out, &accepted)?;
        } else {
            writeln!(out, "{id}")?;
            progress::note(&format!("{}; longtake watch {id}", shown::text(&accepted, "status")), args.waiting.progress);
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn accepted(client: &Client, request: &Value, key: &str) -> Result<Value, Failure> {
    Ok(client.send("/api/external/generation", &Sent::Json(request.clone()), Some(key)).await?.body)
}

/// The request's body from the file and the options.
fn request(args: &SubmitArgs) -> Result<Value, Failure> {
    let mut body = match &args.request {
        None => Map::new(),
        Some(path) => match serde_json::from_str(&read(path)?) {
            Ok(Value::Object(body)) => body,
            Ok(_) => return Err(Failure::Unusable(format!("{}: a request is a JSON object", path.display()))),
            Err(error) => return Err(Failure::Unusable(format!("{}: {error}", path.display()))),
        },
    };
    let mut put =
        |name: &str, value: Option<Value>| value.into_iter().for_each(|value| drop(body.insert(name.to_owned(), value)));
    put("modelIdentifier", args.model.clone().map(Value::from));
    put("prompt", args.prompt.clone().map(Value::from));
    put("numberOfOutputs", args.outputs.map(Value::from));
    put("onUnconfirmed", args.on_unconfirmed.clone().map(Value::from));
    if !args.images.is_empty() {
        put("inputImages", Some(args.images.iter().map(|image| self::image(image)).collect::<Result<Vec<_>, _>>()?.into()));
    }
    if !args.parameters.is_empty() {
        let mut all = body.get("parameters").and_then(Value::as_object).cloned().unwrap_or_default();
        all.extend(args.parameters.iter().cloned());
        body.insert("parameters".to_owned(), all.into());
    }
    if body.is_empty() {
        return Err(Failure::Unusable("nothing is asked for: give --model and --prompt, or a file".to_owned()));
    }
    Ok(Value::Object(body))
}

fn read(path: &PathBuf) -> Result<String, Failure> {
    let read = if path.as_os_str() == "-" {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(path)
    };
    read.map_err(|source| Failure::File { path: path.display().to_string(), source })
}

/// A URL as it is, a file as a `data:` URL.
fn image(given: &str) -> Result<Value, Failure> {
    if ["http://", "https://", "data:"].iter().any(|scheme| given.starts_with(scheme)) {
        return Ok(given.into());
    }
    let bytes = fs::read(given).map_err(|source| Failure::File { path: given.to_owned(), source })?;
    let kind = match bytes.as_slice() {
        [0x89, b'P', b'N', b'G', ..] => "png",
        [0xff, 0xd8, 0xff, ..] => "jpeg",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "webp",
        _ => return Err(Failure::Unusable(format!("{given} is no PNG, JPEG or WebP"))),
    };
    Ok(json!(format!("data:image/{kind};base64,{}", STANDARD.encode(bytes))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_json_where_it_can_be_and_text_elsewhere() {
        assert_eq!(pair("duration=5"), Ok(("duration".to_owned(), json!(5))));
        assert_eq!(pair("ratio=16:9"), Ok(("ratio".to_owned(), json!("16:9"))));
        assert_eq!(pair("text=a=b"), Ok(("text".to_owned(), json!("a=b"))));
        assert!(pair("duration").is_err());
    }

    #[test]
    fn an_image_is_a_url_or_a_file_of_a_known_kind() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            path.display().to_string()
        };
        assert_eq!(image("https://x.test/a.png").unwrap(), json!("https://x.test/a.png"));
        let png = image(&path("a", b"\x89PNG\r\n")).unwrap();
        assert!(png.as_str().unwrap().starts_with("data:image/png;base64,iVBORw"), "{png}");
        assert!(image(&path("b", b"GIF89a")).is_err() && image("no/such/file").is_err());
    }
}

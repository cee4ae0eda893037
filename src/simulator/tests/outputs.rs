//! Output files: ranges, caching headers, expiry and broken downloads.

use reqwest::{Method, Response};
use serde_json::json;

use super::{Rig, run, text};

async fn sample(rig: &Rig, prompt: &str) -> String {
    let body = json!({"prompt": prompt, "width": 256, "height": 256, "output_format": "png"});
    let (_, created) = rig.post("/flux/v1/flux-pro-1.1", &body).await;
    let (_, done) = rig.get(text(&created["polling_url"])).await;
    text(&done["result"]["sample"]).to_owned()
}

async fn fetch(rig: &Rig, url: &str, name: &str, value: &str) -> Response {
    rig.client.get(url).header(name, value).send().await.unwrap()
}

#[test]
fn a_part_of_a_file_can_be_fetched_and_an_unchanged_one_is_not_sent() {
    run(async {
        let rig = Rig::start();
        let url = sample(&rig, "p").await;
        let whole = rig.download(&url).await;
        let part = fetch(&rig, &url, "range", "bytes=10-19").await;
        assert_eq!(part.status(), 206);
        assert_eq!(part.headers()["content-range"], format!("bytes 10-19/{}", whole.len()).as_str());
        let etag = part.headers()["etag"].to_str().unwrap().to_owned();
        assert_eq!(part.bytes().await.unwrap(), whole[10..20]);
        assert_eq!(fetch(&rig, &url, "range", "bytes=999999-").await.status(), 416);
        assert_eq!(fetch(&rig, &url, "if-none-match", &etag).await.status(), 304);
        let head = rig.client.request(Method::HEAD, &url).send().await.unwrap();
        assert_eq!((head.status().as_u16(), head.headers()["content-type"].to_str().unwrap()), (200, "image/png"));
        assert_eq!(head.headers()["content-length"], whole.len().to_string().as_str());
    });
}

#[test]
fn an_output_is_gone_after_its_lifetime_and_not_there_before_its_end() {
    run(async {
        let rig = Rig::with(|config| config.flux.output_ttl_secs = 0);
        let url = sample(&rig, "p").await;
        assert_eq!(rig.client.get(&url).send().await.unwrap().status(), 403);
        let url = sample(&rig, "p [[sim expire=100]]").await;
        assert_eq!(rig.client.get(&url).send().await.unwrap().status(), 200);
        let (_, created) = rig.post("/flux/v1/flux-dev", &json!({"prompt": "[[sim slow=60000]]"})).await;
        let early = format!("{}/files/flux/{}-0.jpeg", rig.simulator.url, text(&created["id"]));
        assert_eq!(rig.client.get(&early).send().await.unwrap().status(), 404);
    });
}

#[test]
fn downloads_break_as_directed() {
    run(async {
        let rig = Rig::start();
        let url = sample(&rig, "p [[sim truncate=1]]").await;
        let first = rig.client.get(&url).send().await.unwrap();
        assert!(first.headers().contains_key("content-length"));
        assert!(first.bytes().await.is_err(), "the body ends before its length");
        rig.download(&url).await;
        let url = sample(&rig, "p [[sim truncate=always]]").await;
        for _ in 0..2 {
            assert!(rig.client.get(&url).send().await.unwrap().bytes().await.is_err());
        }
        let url = sample(&rig, "p [[sim type=text/plain]]").await;
        assert_eq!(rig.client.get(&url).send().await.unwrap().headers()["content-type"], "text/plain");
        let url = sample(&rig, "p [[sim bytes=html]]").await;
        let page = rig.client.get(&url).send().await.unwrap();
        assert_eq!((page.status().as_u16(), page.text().await.unwrap().starts_with("<html>")), (200, true));
    });
}

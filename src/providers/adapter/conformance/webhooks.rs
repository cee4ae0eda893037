//! Webhooks of every adapter: signed here by the provider's rules once more, from the facts and not from the code under test.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::*;

const KEY: &[u8] = b"sixteen letters.";

/// When it was sent, seconds.
const SENT: &str = "1790000000";

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

/// A webhook as one provider sends it.
struct Sent {
    /// As the operator writes it down.
    secret: String,
    headers: Vec<(&'static str, String)>,
    body: String,
    task: &'static str,
}

fn standard(names: [&'static str; 3], version: &str, secret: &str, (task, body): (&'static str, Value)) -> Sent {
    let body = body.to_string();
    let signature = STANDARD.encode(hmac(KEY, format!("msg_1.{SENT}.{body}").as_bytes()));
    let values = ["msg_1".to_owned(), SENT.to_owned(), format!("{version}{signature}")];
    Sent { secret: secret.to_owned(), headers: names.into_iter().zip(values).collect(), body, task }
}

/// Every form in which a provider sends them; none: it sends none that we ask for.
fn sent(adapter: &str) -> Vec<Sent> {
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let (bare, whsec) = (STANDARD.encode(KEY), format!("whsec_{}", STANDARD.encode(KEY)));
    match adapter {
        "kling" => vec![
            standard(names, "v1,", &whsec, ("8668001", json!({"task_id": "8668001", "task_status": "succeed", "task_info": {}}))),
            standard(names, "v1,", &whsec, ("8668002", json!({"id": "8668002", "status": "succeeded", "external_id": "lt-1"}))),
            standard(names, "v1,", &whsec, ("8668003", json!({"code": 0, "data": {"task_id": "8668003"}}))),
        ],
        "replicate" => vec![standard(names, "v1,", &whsec, ("p1", json!({"id": "p1", "status": "starting", "output": null})))],
        "pollo" => {
            let names = ["x-webhook-id", "x-webhook-timestamp", "x-webhook-signature"];
            let body = || ("c1", json!({"taskId": "c1", "status": "succeed", "generations": []}));
            vec![standard(names, "", &bare, body()), standard(names, "v1,", &whsec, body())]
        }
        "flux" => {
            let body = json!({"id": "f1", "status": "Ready", "result": {"sample": "https://x.test/a.png"}}).to_string();
            let hex: String = hmac(KEY, body.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
            let secret = String::from_utf8(KEY.to_vec()).unwrap();
            vec![Sent { secret, headers: vec![("x-bfl-signature", format!("sha256={hex}"))], body, task: "f1" }]
        }
        "tuzi" => vec![],
        other => panic!("{other}: say how it signs its webhooks, or that it sends none"),
    }
}

fn verified(adapter: &dyn Adapter, sent: &Sent, body: &str, secrets: &[&str]) -> Signature {
    let pair = |(name, value): &(&'static str, String)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    let headers: HeaderMap = sent.headers.iter().map(pair).collect();
    let secrets: Vec<_> = secrets.iter().map(|secret| SecretString::from((*secret).to_owned())).collect();
    adapter.verify_webhook(&Webhook { headers: &headers, body: body.as_bytes(), at: SUBMITTED_AT }, &secrets)
}

#[test]
fn every_providers_webhook_is_verified_and_read_and_every_change_of_it_refused() {
    for suite in ALL.iter() {
        let adapter = &*suite.adapter;
        for sent in sent(adapter.name()) {
            let name = adapter.name();
            assert_eq!(verified(adapter, &sent, &sent.body, &[&sent.secret]), Signature::Verified, "{name}");
            assert_eq!(verified(adapter, &sent, &sent.body, &["b3RoZXI=", &sent.secret]), Signature::Verified, "{name} rotates");
            assert_eq!(verified(adapter, &sent, &sent.body, &[]), Signature::Unsigned, "{name}");
            assert_eq!(verified(adapter, &sent, &sent.body, &["b3RoZXI="]), Signature::Forged, "{name}");
            assert_eq!(verified(adapter, &sent, &format!("{} ", sent.body), &[&sent.secret]), Signature::Forged, "{name}");
            let unsigned = Sent { headers: vec![], ..sent };
            assert_eq!(verified(adapter, &unsigned, &unsigned.body, &[&unsigned.secret]), Signature::Forged, "{name}");
            assert_eq!(adapter.read_webhook(unsigned.body.as_bytes()), Some(handle(unsigned.task)), "{name}");
        }
    }
}

#[test]
fn a_body_that_names_no_task_is_read_as_none() {
    let deep = "[".repeat(100_000);
    for suite in ALL.iter() {
        for body in
            [&b""[..], b"{}", b"[]", b"null", b"7", b"\xff\xfe", b"{\"id\":", b"{\"id\":{},\"taskId\":[]}", deep.as_bytes()]
        {
            assert_eq!(suite.adapter.read_webhook(body), None, "{}", suite.adapter.name());
        }
    }
}

#[test]
fn a_webhook_url_is_on_the_wire_only_where_one_is_given_and_its_secret_never_before_the_seal() {
    for suite in ALL.iter() {
        let secret = SecretString::from("seal-of-ours".to_owned());
        let submit = |webhook: bool| {
            suite.call(&[], &json!({}), |call| {
                let webhook_url = call.webhook_url.filter(|_| webhook);
                suite.adapter.submit(&Call { webhook_url, ..*call }).unwrap()
            })
        };
        let (with, without) = (submit(true), submit(false));
        assert!(!wire(&without).contains("us.test") && !wire(&with).contains("seal-of-ours"));
        let sealed = wire(&suite.adapter.seal(with.clone(), Some(&secret)));
        let takes_one = suite.adapter.name() == "flux" && wire(&with).contains("us.test");
        assert_eq!(sealed.contains("seal-of-ours"), takes_one, "{}", suite.adapter.name());
        assert_eq!(wire(&suite.adapter.seal(without.clone(), Some(&secret))), wire(&without));
        assert_eq!(wire(&suite.adapter.seal(with.clone(), None)), wire(&with));
    }
}

//! Providers that call back: with polls an hour apart, completion comes by webhook alone.

use serde_json::json;

use super::{BOUND, Bed};

/// A port that nothing listens on, outside the range of outgoing connections.
fn free_port() -> u16 {
    // Each test looks from another place on: two that ran at once would find the same one.
    let first = rand::random_range(20_000..31_000);
    (first..32_000).find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

/// A bed whose server is called back at its own port, and polls once an hour.
fn called_back(signed: bool) -> Bed {
    let port = free_port();
    let mut environment = vec![
        ("LONGTAKE__SERVER__BIND", format!("127.0.0.1:{port}")),
        ("LONGTAKE__SERVER__PUBLIC_URL", format!("http://127.0.0.1:{port}")),
        ("LONGTAKE__POLLING__BASE_MS", "3600000".to_owned()),
        ("LONGTAKE__POLLING__CAP_MS", "3600000".to_owned()),
    ];
    if signed {
        // As the sandbox signs; for BFL the secret is made up here.
        environment.extend([
            ("LONGTAKE__PROVIDERS__KLING__WEBHOOK_SECRET", "whsec_c2FuZGJveC1rbGluZy13ZWJob29rLWtleQ==".to_owned()),
            ("LONGTAKE__PROVIDERS__POLLO__WEBHOOK_SECRET", "b3RoZXI= c2FuZGJveC1wb2xsby13ZWJob29rLWtleQ==".to_owned()),
            ("LONGTAKE__PROVIDERS__REPLICATE__WEBHOOK_SECRET", "whsec_c2FuZGJveC1yZXBsaWNhdGUtd2ViaG9vaw==".to_owned()),
            ("LONGTAKE__PROVIDERS__FLUX__WEBHOOK_SECRET", "made-up-by-the-operator".to_owned()),
        ]);
    }
    Bed::with(environment)
}

const MODELS: [&str; 4] = ["kling-2.6", "pollo-2.5", "flux-schnell", "flux-2-pro"];

async fn all_complete_by_webhook(bed: Bed) {
    let server = bed.serve();
    for model in MODELS {
        let id = bed.submit(&server, json!({ "modelIdentifier": model, "prompt": "a call [[sim slow=1500]]" })).await;
        let shown = bed.ended(&server, &id).await;
        assert_eq!(shown["status"], "SUCCESS", "{shown}");
    }
    let ledger = bed.ledger().await;
    assert_eq!(ledger.len(), MODELS.len());
    // Kling and Replicate call at the start, too.
    assert!(ledger.iter().all(|entry| (1..=3).contains(&entry["polls"].as_u64().unwrap())), "{ledger:?}");
}

#[actix_web::test]
async fn completion_comes_by_signed_webhook() {
    all_complete_by_webhook(called_back(true)).await;
}

#[actix_web::test]
async fn completion_comes_by_webhook_where_the_url_alone_is_the_proof() {
    all_complete_by_webhook(called_back(false)).await;
}

#[actix_web::test]
async fn a_lost_answer_is_found_again_by_the_webhook_where_nothing_can_be_asked() {
    let bed = called_back(true);
    let server = bed.serve();
    for model in ["pollo-2.5", "flux-schnell", "flux-2-pro"] {
        let id = bed.submit(&server, json!({ "modelIdentifier": model, "prompt": "lost [[sim drop=after slow=1000]]" })).await;
        let shown = bed.ended(&server, &id).await;
        assert_eq!(shown["status"], "SUCCESS", "{shown}");
        assert_eq!(shown["attempts"].as_array().unwrap().len(), 1);
    }
    assert_eq!(bed.ledger().await.len(), 3, "each is billed once");
}

#[actix_web::test]
async fn a_provider_whose_signature_is_wrong_is_not_believed_and_polling_delivers() {
    let bed = Bed::with(vec![("LONGTAKE__PROVIDERS__POLLO__WEBHOOK_SECRET", "b3RoZXI=".to_owned())]);
    let port = free_port();
    let bed = Bed {
        environment: [
            bed.environment.clone(),
            vec![
                ("LONGTAKE__SERVER__BIND", format!("127.0.0.1:{port}")),
                ("LONGTAKE__SERVER__PUBLIC_URL", format!("http://127.0.0.1:{port}")),
            ],
        ]
        .concat(),
        ..bed
    };
    let admin = bed.command().args(["keys", "create", "--name", "a", "--admin", "--json"]).output().unwrap();
    let admin: serde_json::Value = serde_json::from_slice(&admin.stdout).unwrap();
    let server = bed.serve();
    let id = bed.submit(&server, json!({ "modelIdentifier": "pollo-2.5", "prompt": "forged" })).await;
    assert_eq!(bed.ended(&server, &id).await["status"], "SUCCESS");
    let counted = async {
        loop {
            let url = format!("{}/api/metrics", server.url);
            let reply = bed.http.get(url).bearer_auth(admin["key"].as_str().unwrap()).send().await.unwrap();
            if reply.text().await.unwrap().contains(r#"longtake_webhooks_total{provider="pollo",outcome="forged"}"#) {
                return;
            }
            tokio::time::sleep(super::LOOK).await;
        }
    };
    tokio::time::timeout(BOUND, counted).await.expect("the forged webhook is counted");
}

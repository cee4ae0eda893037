//! The settings of both processes: the service's own, with seconds for minutes.

use std::path::Path;

use crate::bucket::{BUCKET, KEY_ID, SECRET};

/// Where the service finds the others.
pub struct Addresses {
    pub inbound: String,
    pub providers: String,
    pub storage: Option<String>,
    pub database: String,
}

/// Each provider's section, its path below the simulator, and its further settings.
const PROVIDERS: &[(&str, &str)] = &[
    ("kling", "kling"),
    ("pollo", "pollo/api/platform"),
    ("replicate", "replicate/v1"),
    ("flux", "flux"),
    ("tuzi", "tuzi"),
    ("tuzi-kling", "tuzi"),
];

/// What signs webhooks: the simulator's own secrets, and one made up for FLUX, which is sent along. Tuzi signs nothing, and Replicate is
/// asked for its own.
const SECRETS: &[(&str, &str)] = &[
    ("kling", "whsec_c2FuZGJveC1rbGluZy13ZWJob29rLWtleQ=="),
    ("pollo", "c2FuZGJveC1wb2xsby13ZWJob29rLWtleQ=="),
    ("flux", "chaos-flux-secret-of-our-own-making"),
];

/// Prices as the simulator bills them, in dollars a call, so that both sides can be held against each other. FLUX tells its own cost.
const PRICES: &[(&str, &str)] = &[
    ("kling-2.6", "0.35"),
    ("tuzi-kling-2.6", "0.35"),
    ("pollo-2.5", "0.7"),
    // By the second; its generations here take exactly one.
    ("flux-schnell", "0.001"),
    ("tuzi-flux-kontext-pro", "0.04"),
    ("tuzi-flux-kontext-max", "0.08"),
];

/// Waits between the tries of a webhook, with tenths of seconds for minutes; so many that a storm is over before the last.
const WAITS: &str =
    "200, 300, 500, 500, 700, 700, 700, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 2000, 2000, 4000, 8000";

/// The service's file. A submit has 1.5 s where it has 30, an unconfirmed image 6 s where it has 10 minutes, polls come every 0.1 to
/// 0.4 s; budgets are off, since faults are the load here.
pub fn service(addresses: &Addresses) -> String {
    let Addresses { inbound, providers, storage, database } = addresses;
    let mut text = format!(
        "[server]\nbind = \"127.0.0.1:0\"\npublic_url = \"{inbound}\"\ndrain_s = 3\n\
         [store]\nurl = \"{database}\"\nread_timeout_ms = 2000\n\
         [dispatch]\nsweep_ms = 200\noffer_ms = 1000\nnot_after_ms = 1500\nreconcile_ms = 150\nreconcile_image_s = 6\nreconcile_video_s = 6\n\
         lease_ttl_ms = 1000\nwatch_every_ms = 2000\nhold_s = 8\n\
         [polling]\nbase_ms = 100\ncap_ms = 400\n\
         [notify]\nallow_http = true\nallow_private_hosts = [\"127.0.0.1\"]\nheartbeat_ms = 1000\nwebhook_timeout_ms = 1500\n\
         webhook_retry_ms = [{WAITS}]\n\
         [assets]\nretry_delay_ms = 100\nmax_retry_delay_ms = 500\nstall_ms = 1500\n\
         [telemetry]\nfilter = \"info\"\n"
    );
    if let Some(endpoint) = storage {
        text.push_str(&format!(
            "[storage]\nkind = \"s3\"\nbucket = \"{BUCKET}\"\nendpoint = \"{endpoint}\"\npath_style = true\nattempt_timeout_s = 2\n\
             access_key_id = \"{KEY_ID}\"\nsecret_access_key = \"{SECRET}\"\nrequest_checksum_calculation = \"when_required\"\n"
        ));
    }
    for (name, path) in PROVIDERS {
        // The relay's images answer synchronously, after up to three seconds here.
        let submit_ms = if *name == "tuzi" { 4_000 } else { 1_500 };
        let secret = SECRETS.iter().find(|(of, _)| of == name);
        let secret = secret.map_or_else(String::new, |(_, secret)| format!("webhook_secret = \"{secret}\"\n"));
        text.push_str(&format!(
            "[providers.{name}]\nbase_url = \"{providers}/{path}\"\nallow_loopback = true\napi_key = \"chaos-{name}\"\n\
             connect_timeout_ms = 1000\nsubmit_timeout_ms = {submit_ms}\npoll_timeout_ms = 1200\nrequests_per_minute = 0\n\
             polls_per_minute = 0\nconcurrency = 0\nbreaker_failures = 8\nbreaker_open_ms = 300\n{secret}\
             [providers.{name}.retry]\nmax_attempts = 5\ninitial_delay_ms = 100\nmax_delay_ms = 500\n"
        ));
    }
    for (model, price) in PRICES {
        text.push_str(&format!(
            "[models.\"{model}\".price]\nper_call = {price}\nper_output = 0.0\nper_second = 0.0\nvariants = []\n"
        ));
    }
    text
}

/// The simulator's file.
pub fn simulator(folder: &Path, public_url: &str, seed: u64) -> String {
    format!(
        "public_url = \"{public_url}\"\nworkers = 1\ntiny_outputs = true\nimage_ms = 400\nvideo_ms = 800\nseed = {seed}\n\
         ledger_path = \"{}\"\nwebhook_retry_ms = [300, 800, 1500]\nwebhook_timeout_ms = 2000\n\
         [kling]\nslots = 10000\n[replicate]\ncreates_per_minute = 0\nothers_per_minute = 0\n\
         [flux]\nactive_tasks = 0\nactive_kontext_max = 0\n",
        folder.join("ledger.jsonl").display()
    )
}

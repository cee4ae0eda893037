//! Batches in the whole service: what the simulator sees at once, images that become videos, a failure that stops the rest.

use super::*;

impl Bed {
    async fn batch(&self, requests: Value, options: Value) -> String {
        let url = format!("{}/api/external/generation/batch", self.app.url());
        let body = json!({ "requests": requests, "options": options });
        let reply = self.http.post(url).bearer_auth(&self.key).json(&body).send().await.unwrap();
        let (status, answer) = (reply.status(), reply.json::<Value>().await.unwrap());
        assert_eq!(status, 202, "{answer}");
        answer["batchId"].as_str().unwrap().to_owned()
    }

    async fn shown_batch(&self, id: &str) -> Value {
        let url = format!("{}/api/external/generation/batch/{id}", self.app.url());
        self.http.get(url).bearer_auth(&self.key).send().await.unwrap().json().await.unwrap()
    }

    async fn told(&self, id: &str, what: &str) {
        let url = format!("{}/api/external/generation/batch/{id}/{what}", self.app.url());
        let reply = self.http.post(url).bearer_auth(&self.key).json(&json!({})).send().await.unwrap();
        assert!(reply.status().is_success(), "{what}: {}", reply.status());
    }

    /// The batch, once it is so; the most tasks that the simulator had at once meanwhile.
    async fn until_batch(&self, id: &str, so: impl Fn(&Value) -> bool) -> (Value, usize) {
        let seen = async {
            let mut most = 0;
            loop {
                let open = |entry: &&Value| entry["outcome"] == "pending";
                most = most.max(self.entries().await.iter().filter(open).count());
                let shown = self.shown_batch(id).await;
                if so(&shown) {
                    return (shown, most);
                }
            }
        };
        match tokio::time::timeout(BOUND, seen).await {
            Ok(seen) => seen,
            Err(_) => panic!("{id} never came so far: {}", self.shown_batch(id).await),
        }
    }
}

fn ended(shown: &Value) -> bool {
    !matches!(shown["status"].as_str().unwrap(), "PROCESSING" | "PAUSED" | "CANCELLING")
}

fn images(count: usize) -> Value {
    let image =
        |n: usize| json!({ "customId": format!("image-{n}"), "modelIdentifier": "flux-2-pro", "prompt": format!("image {n}") });
    (0..count).map(image).collect()
}

/// Images of their real size: Kling takes none that is smaller than 300 pixels.
fn in_a_service(test: impl AsyncFn(&Bed)) {
    let sockets = Arc::new(Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap());
    actix_rt::System::new().block_on(async {
        let bed = Bed::beside(&sockets, fast(), |config| config.polling.strategy = StrategyName::Exponential).await;
        test(&bed).await;
        bed.close().await;
    });
}

#[test]
fn the_simulator_never_sees_more_of_a_batch_at_once_than_may_be() {
    in_a_service(async |bed| {
        let id = bed.batch(images(24), json!({ "maxConcurrency": 4 })).await;
        let (shown, most) = bed.until_batch(&id, ended).await;
        assert_eq!((&shown["status"], &shown["completedTasks"]), (&json!("COMPLETED"), &json!(24)), "{shown}");
        assert!((1..=4).contains(&most), "{most} at once");
        assert_eq!(bed.billed().await, 24);
    });
}

#[test]
fn an_image_becomes_a_video_and_a_failed_image_costs_no_video() {
    in_a_service(async |bed| {
        let image = |id: &str, prompt: &str| json!({ "customId": id, "modelIdentifier": "flux-2-pro", "prompt": prompt });
        let video = |id: &str, of: &str| json!({ "customId": id, "modelIdentifier": "kling-2.6", "prompt": "it moves", "inputImages": [{ "$result": of, "index": 0 }] });
        let requests = json!([
            video("video", "image"),
            image("image", "a boat"),
            image("bad", "a boat [[sim fail=content]]"),
            video("none", "bad"),
        ]);
        let id = bed.batch(requests, json!({})).await;
        let (shown, _) = bed.until_batch(&id, ended).await;
        let task = |name: &str| shown["tasks"].as_array().unwrap().iter().find(|task| task["customId"] == name).unwrap().clone();
        assert_eq!(task("video")["status"], "SUCCESS", "{shown}");
        assert_eq!(
            (&task("bad")["status"], &task("none")["error"]["code"]),
            (&json!("FAILED"), &json!("DEPENDENCY_FAILED")),
            "{shown}"
        );
        assert_eq!(shown["status"], "PARTIAL_FAILED");
        let videos = bed.entries().await.iter().filter(|entry| entry["provider"] == "kling").count();
        assert_eq!(videos, 1, "nothing is spent on what depends on a failure");
    });
}

#[test]
fn the_first_failure_under_load_cancels_the_rest_and_delivers_what_is_paid() {
    in_a_service(async |bed| {
        let mut requests = images(60);
        requests[10]["prompt"] = json!("image 10 [[sim fail=content]]");
        let id = bed.batch(requests, json!({ "maxConcurrency": 3, "stopOnError": true })).await;
        let (shown, most) = bed.until_batch(&id, ended).await;
        let count = |name: &str| shown[name].as_u64().unwrap();
        assert_eq!(count("failedTasks"), 1, "{shown}");
        assert_eq!(count("completedTasks") + count("cancelledTasks"), 59, "{shown}");
        assert!(count("completedTasks") >= 10 && count("cancelledTasks") > 0 && most <= 3, "{most} at once: {shown}");
        let paid = bed.entries().await.iter().filter(|entry| entry["outcome"] == "succeeded").count();
        assert_eq!(paid, usize::try_from(count("completedTasks")).unwrap(), "what is paid is delivered");
    });
}

#[test]
fn a_paused_batch_goes_on_where_it_stood() {
    in_a_service(async |bed| {
        // Slow enough that the pause comes before the end, on a busy machine too.
        let mut requests = images(6);
        requests[1]["prompt"] = json!("image 1 [[sim slow=15000]]");
        let id = bed.batch(requests, json!({ "maxConcurrency": 1 })).await;
        bed.until_batch(&id, |shown| shown["completedTasks"].as_u64() >= Some(1)).await;
        bed.told(&id, "pause").await;
        let (paused, _) = bed.until_batch(&id, |shown| shown["status"] == "PAUSED" && shown["runningTasks"] == 0).await;
        let entries = bed.entries().await.len();
        assert_eq!(paused["completedTasks"], entries, "{paused}");
        bed.told(&id, "resume").await;
        let (shown, _) = bed.until_batch(&id, ended).await;
        assert_eq!((&shown["status"], bed.billed().await), (&json!("COMPLETED"), 6), "{shown}");
    });
}

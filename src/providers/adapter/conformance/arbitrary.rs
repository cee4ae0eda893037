//! No answer, however broken, makes a reader panic, or turns a server error on a submit into something that may be sent again.

use proptest::prelude::*;

use super::*;

/// Words that the readers look for, so that random documents reach deep into them.
const WORDS: &[&str] = &[
    "code",
    "message",
    "data",
    "task_id",
    "id",
    "taskId",
    "task_status",
    "status",
    "task_result",
    "videos",
    "images",
    "url",
    "outputs",
    "output",
    "type",
    "generations",
    "result",
    "sample",
    "failMsg",
    "mediaType",
    "error",
    "detail",
    "details",
    "progress",
    "cost",
    "polling_url",
    "b64_json",
    "data_removed",
    "logs",
    "retry_after",
    "billing",
    "amount",
    "charge_type",
    "succeed",
    "succeeded",
    "failed",
    "processing",
    "Pending",
    "Ready",
    "Error",
    "Task not found",
    "completed",
    "queued",
    "canceled",
    "aborted",
    "video",
    "image",
    "https://a.test/x",
    "data:image/png;base64,QUJD",
    "data:,",
    "data:;base64,==",
    "9007199254740993",
    "1201",
    "1302",
    "5001",
    "0",
    "é%|",
    "41%|",
];

fn document() -> impl Strategy<Value = Value> {
    let word = || prop::sample::select(WORDS).prop_map(str::to_owned);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((word(), inner), 0..6).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..64),
        document().prop_map(|document| document.to_string().into_bytes()),
        (document(), any::<prop::sample::Index>()).prop_map(|(document, cut)| {
            let mut text = document.to_string().into_bytes();
            text.truncate(cut.index(text.len() + 1));
            text
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_without_panic(body in body(), status in 100u16..600, poll_url in any::<Option<String>>()) {
        for suite in ALL.iter() {
            let reply = Reply {
                status: StatusCode::from_u16(status).unwrap(),
                headers: HeaderMap::new(),
                body: Bytes::from(body.clone()),
                at: SUBMITTED_AT,
            };
            let submitted = suite.call(&[], &json!({}), |call| suite.adapter.read_submit(call, &reply));
            if let Submitted::Fault(fault) = &submitted {
                // Kling's own codes decide at any status; 5001 is documented as maintenance.
                let code = fault.provider_code.as_deref().and_then(|code| code.parse::<u32>().ok());
                let documented = suite.adapter.name() == "kling" && code.is_some_and(|code| (1000..6000).contains(&code));
                prop_assert!(status < 500 || fault.then == Then::Unclear || documented);
            } else {
                prop_assert!((200..300).contains(&status), "accepted with status {status}");
            }
            let context = suite.context();
            if let Polled::Unclear(fault) = suite.adapter.read_poll(&context, &reply) {
                prop_assert_eq!(fault.then, Then::Unclear);
            }
            let _ = suite.adapter.read_find(&search(&suite.endpoint), &reply);
            let _ = suite.adapter.read_cancel(&context, &reply);
            let odd = Handle { task_id: String::from_utf8_lossy(&body).into_owned(), poll_url: poll_url.clone() };
            let context = Context { handle: &odd, ..context };
            if let Ok(call) = suite.adapter.poll(&context) {
                // Wherever ids and polling URLs come from, the key stays at the operator's host.
                prop_assert!(place::same_origin(&call.url, &suite.endpoint.base_url) || call.url.as_str().contains("bfl.ai"));
            }
            let _ = suite.adapter.cancel(&context);
        }
    }
}

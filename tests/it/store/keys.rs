//! Projects and keys.

use std::time::Duration;

use longtake::{
    domain::{id::KeyId, money::Micros, quota::Quotas},
    store::{KeyRecord, Project, Scope, StoreError},
};

use super::bed::{Bed, NOW};

super::on_both! {
    a_default_project_is_always_there_and_names_are_unique;
    keys_are_found_by_their_hash_and_revoked_once;
}

async fn a_default_project_is_always_there_and_names_are_unique(bed: &Bed) {
    let store = bed.open().await;
    let default = store.keys().default_project().await.unwrap();
    assert_eq!(default.name, "default");
    let beside = bed.open_beside().await;
    let made: Project = beside.keys().create_project("films").await.unwrap();
    assert!(matches!(store.keys().create_project("films").await, Err(StoreError::Conflict { .. })));
    assert_eq!(store.keys().project_by_name("films").await.unwrap(), Some(made.clone()));
    assert_eq!(store.keys().project_by_name("none").await.unwrap(), None);
    beside.close().await;
    store.close().await;
    // Another start keeps it.
    let store = bed.open_again().await;
    assert_eq!(store.keys().projects().await.unwrap(), [default, made]);
    store.close().await;
}

async fn keys_are_found_by_their_hash_and_revoked_once(bed: &Bed) {
    let store = bed.open().await;
    let keys = store.keys();
    let project = keys.default_project().await.unwrap().id;
    let record = |name: &str, byte: u8, scope| KeyRecord {
        id: KeyId::fresh(),
        project,
        name: name.to_owned(),
        scope,
        hash: [byte; 32],
        last4: "wxyz".to_owned(),
        created_at: NOW,
        revoked_at: None,
        expires_at: None,
        daily_limit: (byte == 1).then_some(Micros(5_000_000)),
        quotas: Quotas { per_minute: (byte == 1).then_some(600), at_once: None },
    };
    let (mut one, two) = (record("one", 1, Scope::Client), record("two", 2, Scope::Admin));
    keys.insert(one.clone()).await.unwrap();
    keys.insert(two.clone()).await.unwrap();
    assert!(matches!(keys.insert(record("three", 2, Scope::Client)).await, Err(StoreError::Conflict { .. })));
    assert_eq!(keys.by_hash(&[2; 32]).await.unwrap(), Some(two.clone()));
    assert_eq!(keys.by_hash(&[3; 32]).await.unwrap(), None);
    assert!(keys.revoke(one.id, NOW).await.unwrap());
    assert!(!keys.revoke(one.id, NOW.plus(Duration::from_secs(1))).await.unwrap());
    assert!(keys.set_expiry(one.id, NOW.plus(Duration::from_secs(60))).await.unwrap());
    assert!(!keys.set_expiry(KeyId::fresh(), NOW).await.unwrap());
    assert!(keys.limit_key(one.id, None).await.unwrap() && !keys.limit_key(KeyId::fresh(), None).await.unwrap());
    one.daily_limit = None;
    one.revoked_at = Some(NOW);
    one.expires_at = Some(NOW.plus(Duration::from_secs(60)));
    assert_eq!(keys.by_id(one.id).await.unwrap(), Some(one.clone()));
    assert_eq!(keys.list().await.unwrap(), [one, two]);
    store.close().await;
}

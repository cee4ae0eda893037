//! Images that other generations made, as a submit hands them to a provider.

use bytes::Bytes;
use longtake::{
    config::storage::{StorageConfig, StorageKind},
    domain::{
        error::ErrorCode,
        id::GenerationId,
        record::{Asset, AssetState, Kind},
        reference::ResultReference,
    },
    providers::adapter::ImageForms,
    storage::Storage,
    store::{Store, Verdict},
    submission::results::{Results, Unresolved},
};

use crate::store::bed::{Bed, asset, born, intent, journal};

const KEY: &str = "kling/image.png";
const INLINE: ImageForms = ImageForms { url: false, data: true, most: 1 };
const BY_URL: ImageForms = ImageForms { url: true, data: false, most: 1 };
const BOTH: ImageForms = ImageForms { url: true, data: true, most: 1 };

struct Made {
    store: Store,
    storage: Storage,
    generation: GenerationId,
}

/// A generation whose first output is a stored image and whose second is a video.
async fn made(bed: &Bed) -> Made {
    let store = bed.open().await;
    let config = StorageConfig { kind: StorageKind::Memory, ..StorageConfig::default() };
    let storage = Storage::open(&config, bed.folder.path()).await.unwrap();
    storage.put(KEY, "image/png", Bytes::from_static(b"png")).await.unwrap();
    let journal = journal(&store);
    let generation = born(&journal).await;
    let (mut entry, attempt) = intent(&generation, 1);
    let image = Asset {
        state: AssetState::Stored,
        kind: Kind::Image,
        storage_key: Some(KEY.to_owned()),
        content_type: Some("image/png".to_owned()),
        bytes: Some(3),
        ..asset(&attempt, 0)
    };
    let video = Asset { kind: Kind::Video, id: longtake::domain::id::AssetId::fresh(), idx: 1, ..image.clone() };
    entry.new_assets = vec![image, video];
    assert_eq!(journal.transition(entry).await.unwrap(), Verdict::Won);
    Made { store, storage, generation: generation.id }
}

impl Made {
    async fn image(&self, index: u16, forms: ImageForms, public_base: Option<&str>) -> Result<String, Unresolved> {
        let name = ResultReference { generation: self.generation, index }.to_string();
        let mut images = ["https://example.com/own.png".to_owned(), name];
        let reads = self.store.reads();
        Results { reads: &reads, storage: &self.storage, public_base, forms }.resolve(&mut images).await?;
        assert_eq!(images[0], "https://example.com/own.png", "what is no name stays");
        Ok(images[1].clone())
    }
}

fn refused(result: Result<String, Unresolved>) -> String {
    let Err(Unresolved::Never(failure)) = result else { panic!("{result:?}") };
    assert_eq!(failure.code, ErrorCode::DependencyFailed);
    failure.message
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_goes_by_its_url_where_the_provider_can_reach_it_and_within_the_request_where_not() {
    let bed = Bed::sqlite();
    let made = made(&bed).await;
    let public = Some("https://longtake.example.com");
    let url = "https://longtake.example.com/media/kling/image.png";
    assert_eq!(made.image(0, BOTH, public).await.unwrap(), url);
    assert_eq!(made.image(0, BY_URL, public).await.unwrap(), url);
    for (forms, base) in [(BOTH, None), (INLINE, public), (INLINE, None)] {
        assert_eq!(made.image(0, forms, base).await.unwrap(), "data:image/png;base64,cG5n");
    }
    assert!(refused(made.image(0, BY_URL, None).await).contains("server.public_url"));
    made.store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_that_is_not_there_or_no_image_fails_what_depends_on_it() {
    let bed = Bed::sqlite();
    let made = made(&bed).await;
    assert!(refused(made.image(1, BOTH, None).await).contains("is not there"), "a video");
    assert!(refused(made.image(7, BOTH, None).await).contains("image 7 of gen_"));
    made.storage.delete(KEY).await.unwrap();
    assert!(refused(made.image(0, BOTH, None).await).contains("not in the storage"));
    made.store.close().await;
}

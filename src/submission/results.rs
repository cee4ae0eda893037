//! Input images that other generations made: their names in a request become something that the provider takes, at the moment of the
//! submit, since URLs of stored results may lapse.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    domain::{
        error::{ErrorCode, Failure},
        record::{Asset, AssetState, Kind},
        reference::ResultReference,
    },
    providers::adapter::ImageForms,
    storage::{Storage, StorageError},
    store::{Reads, StoreError},
};

/// Largest image that goes into a request, in bytes: what providers that take images inline accept (Kling: 10 MB as base64).
const LARGEST_INLINE: i64 = 7 * 1024 * 1024;

/// How often a line may have been taken by another generation before the name of its first is not followed any further.
const RETRIES: usize = 16;

/// Why an image is not there.
#[derive(Debug)]
pub enum Unresolved {
    /// It never will be, in a form that this provider takes: the generation fails with this.
    Never(Failure),
    /// The database does not answer.
    Store(StoreError),
    /// The storage does not answer.
    Storage(StorageError),
}

impl From<StoreError> for Unresolved {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Where results are, and how providers may reach them.
#[derive(Debug, Clone, Copy)]
pub struct Results<'a> {
    /// Rows.
    pub reads: &'a Reads,
    /// Files.
    pub storage: &'a Storage,
    /// Where providers reach stored files; none where they cannot.
    pub public_base: Option<&'a str>,
    /// What the provider takes.
    pub forms: ImageForms,
}

impl Results<'_> {
    /// Puts images in the place of their names; what is no name stays.
    ///
    /// # Errors
    /// When one is not there.
    pub async fn resolve(self, images: &mut [String]) -> Result<(), Unresolved> {
        for image in images {
            if let Ok(reference) = image.parse::<ResultReference>() {
                *image = self.one(reference).await?;
            }
        }
        Ok(())
    }

    async fn one(self, reference: ResultReference) -> Result<String, Unresolved> {
        let asset = self.asset(reference).await?;
        if asset.state == AssetState::Linked {
            return asset.source_url.ok_or_else(|| absent(reference, "has no URL"));
        }
        let Some(key) = &asset.storage_key else { return Err(absent(reference, "was not stored")) };
        if let Some(base) = self.public_base.filter(|_| self.forms.url) {
            return self.storage.url(key, base).await.map_err(Unresolved::Storage);
        }
        if !self.forms.data {
            return Err(absent(reference, "cannot be reached by its provider: set server.public_url, or store results in S3"));
        }
        if asset.bytes.is_some_and(|bytes| bytes > LARGEST_INLINE) {
            return Err(absent(reference, "is too large to be sent within a request"));
        }
        let bytes = self.storage.read(key).await.map_err(|error| match error {
            StorageError::NotFound(_) => absent(reference, "is not in the storage any more"),
            error @ (StorageError::Unavailable(_) | StorageError::Denied(_) | StorageError::Invalid(_)) => {
                Unresolved::Storage(error)
            }
        })?;
        let kind = asset.content_type.as_deref().unwrap_or("image/png");
        Ok(format!("data:{kind};base64,{}", STANDARD.encode(&bytes)))
    }

    /// The file, of whoever has the line now.
    async fn asset(self, reference: ResultReference) -> Result<Asset, Unresolved> {
        let mut id = reference.generation;
        for _ in 0..RETRIES {
            let Some(loaded) = self.reads.load(id).await? else { break };
            if let Some(next) = loaded.generation.replaced_by {
                id = next;
                continue;
            }
            let there = |asset: &Asset| {
                let kept = matches!(asset.state, AssetState::Stored | AssetState::Linked);
                kept && asset.idx == reference.index && asset.kind == Kind::Image
            };
            return loaded.assets.into_iter().find(there).ok_or_else(|| absent(reference, "is not there"));
        }
        Err(absent(reference, "is not there"))
    }
}

fn absent(reference: ResultReference, what: &str) -> Unresolved {
    let detail = format!("image {} of {}, which it depends on, {what}", reference.index, reference.generation);
    Unresolved::Never(Failure::new(ErrorCode::DependencyFailed, detail))
}

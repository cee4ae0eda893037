//! Claims, read: what was made under an idempotency key.

use entities::idempotency;
use sea_orm::EntityTrait;

use super::Reads;
use crate::{
    domain::{
        claim::{ClaimId, Claimed, Fingerprint},
        time::Timestamp,
    },
    store::StoreError,
};

impl Reads {
    /// Who has taken a claim.
    ///
    /// # Errors
    /// As every read.
    pub async fn claim(&self, id: ClaimId) -> Result<Option<Claimed>, StoreError> {
        let row = self.bounded(idempotency::Entity::find_by_id(id.0).one(&self.database)).await?;
        Ok(row.map(|row| Claimed {
            fingerprint: Fingerprint::stored(row.fingerprint),
            subject: row.subject,
            at: Timestamp(row.at),
        }))
    }
}

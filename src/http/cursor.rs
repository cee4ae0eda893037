//! Cursors of lists: opaque to clients, the last id seen and a checksum over it, its project and the filter. A cursor grants
//! nothing (every read is bound to the caller's project), so the checksum guards against mistakes, not against malice.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

use crate::domain::id::{GenerationId, ProjectId};

/// A cursor behind `id`, good for the same project and filter only.
#[must_use]
pub fn encode(id: GenerationId, project: ProjectId, filter: &str) -> String {
    let mut bytes = id.0.as_bytes().to_vec();
    bytes.extend(checksum(id, project, filter));
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The id behind a cursor; none when it is no cursor, or one of another list.
#[must_use]
pub fn decode(text: &str, project: ProjectId, filter: &str) -> Option<GenerationId> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (id, check) = bytes.split_first_chunk::<16>()?;
    let id = GenerationId(Uuid::from_bytes(*id));
    (check == checksum(id, project, filter)).then_some(id)
}

fn checksum(id: GenerationId, project: ProjectId, filter: &str) -> [u8; 4] {
    let mut hash = crc32fast::Hasher::new();
    hash.update(id.0.as_bytes());
    hash.update(project.0.as_bytes());
    hash.update(filter.as_bytes());
    hash.finalize().to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};
    use crate::domain::id::{GenerationId, ProjectId};

    #[test]
    fn a_cursor_reads_back_for_its_own_list_only() {
        let (id, project) = (GenerationId::fresh(), ProjectId::fresh());
        let cursor = encode(id, project, "status=FAILED");
        assert_eq!(decode(&cursor, project, "status=FAILED"), Some(id));
        assert_eq!(decode(&cursor, project, ""), None);
        assert_eq!(decode(&cursor, ProjectId::fresh(), "status=FAILED"), None);
        assert_eq!(decode(&cursor[1..], project, "status=FAILED"), None);
        assert_eq!(decode("!", project, ""), None);
    }
}

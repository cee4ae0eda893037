//! Cursors of lists: opaque to clients, the last place seen (an id, or a number) and a checksum over it, its project and the filter.
//! A cursor grants nothing (every read is bound to the caller's project), so the checksum guards against mistakes, not against malice.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::domain::id::ProjectId;

/// A cursor behind `place`, good for the same project and filter only.
#[must_use]
pub fn encode(place: u128, project: ProjectId, filter: &str) -> String {
    let mut bytes = place.to_be_bytes().to_vec();
    bytes.extend(checksum(place, project, filter));
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The place behind a cursor; none when it is no cursor, or one of another list.
#[must_use]
pub fn decode(text: &str, project: ProjectId, filter: &str) -> Option<u128> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (place, check) = bytes.split_first_chunk::<16>()?;
    let place = u128::from_be_bytes(*place);
    (check == checksum(place, project, filter)).then_some(place)
}

fn checksum(place: u128, project: ProjectId, filter: &str) -> [u8; 4] {
    let mut hash = crc32fast::Hasher::new();
    hash.update(&place.to_be_bytes());
    hash.update(project.0.as_bytes());
    hash.update(filter.as_bytes());
    hash.finalize().to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};
    use crate::domain::id::ProjectId;

    #[test]
    fn a_cursor_reads_back_for_its_own_list_only() {
        let (place, project) = (1 << 100, ProjectId::fresh());
        let cursor = encode(place, project, "status=FAILED");
        assert_eq!(decode(&cursor, project, "status=FAILED"), Some(place));
        assert_eq!(decode(&cursor, project, ""), None);
        assert_eq!(decode(&cursor, ProjectId::fresh(), "status=FAILED"), None);
        assert_eq!(decode(&cursor[1..], project, "status=FAILED"), None);
        assert_eq!(decode("!", project, ""), None);
    }
}

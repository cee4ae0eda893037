//! A small reader of `multipart/form-data` (RFC 7578): whole body in memory, part names and bytes, nothing else.

use std::collections::HashMap;

/// Reads the parts by name; the last of a name wins. None when the body is not of this type or is torn.
pub(super) fn read<'a>(content_type: &str, body: &'a [u8]) -> Option<HashMap<String, &'a [u8]>> {
    if !content_type.starts_with("multipart/form-data") {
        return None;
    }
    let boundary = content_type.split_once("boundary=")?.1.split(';').next()?.trim().trim_matches('"');
    let first = format!("--{boundary}");
    let between = format!("\r\n--{boundary}");
    let mut rest = body.strip_prefix(first.as_bytes())?;
    let mut parts = HashMap::new();
    while let Some(part) = rest.strip_prefix(b"\r\n") {
        let end = find(part, between.as_bytes())?;
        let (content, tail) = part.split_at_checked(end)?;
        let (head, data) = split(content, b"\r\n\r\n")?;
        parts.insert(name(head)?, data);
        rest = tail.get(between.len()..)?;
    }
    rest.starts_with(b"--").then_some(parts)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn split<'a>(bytes: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let start = find(bytes, at)?;
    Some((bytes.get(..start)?, bytes.get(start + at.len()..)?))
}

/// The `name` of a part's Content-Disposition; a leading space keeps `filename` from matching.
fn name(head: &[u8]) -> Option<String> {
    let head = std::str::from_utf8(head).ok()?;
    let rest = head.split_once(" name=\"")?.1;
    Some(rest.split_once('"')?.0.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_by_name_and_a_torn_body_is_refused() {
        let body = b"--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nx\r\n--b\r\n\
                     Content-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\n\r\n\r\n\0\r\n--b--\r\n";
        let parts = read("multipart/form-data; boundary=b", body).unwrap();
        assert_eq!(parts.get("model"), Some(&&b"x"[..]));
        assert_eq!(parts.get("file"), Some(&&b"\r\n\0"[..]));
        assert!(read("multipart/form-data; boundary=b", &body[..40]).is_none());
        assert!(read("application/json", body).is_none());
    }
}

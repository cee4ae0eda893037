//! An MP4 around the one-colour stream: `ftyp`, `moov` with one video track, `mdat` (ISO/IEC 14496-12 and -15).

use super::h264::{self, Size};

/// Frames a second. Few, since they all look the same.
const FRAME_RATE: u32 = 8;
/// Time units a second.
const SCALE: u32 = 1_000;

/// Composes a video of that size and length in one of the hues.
pub(super) fn compose(width: u32, height: u32, millis: u32, hue: u8) -> Vec<u8> {
    let size = Size { width: width.clamp(16, 4_096) & !1, height: height.clamp(16, 4_096) & !1 };
    let frames = (millis.saturating_mul(FRAME_RATE) / 1_000).max(1);
    let samples: Vec<Vec<u8>> = (0..frames)
        .map(|number| if number == 0 { h264::key_frame(size, colour(hue)) } else { h264::repeat_frame(size, number) })
        .map(|unit| [&be(unit.len())[..], &unit].concat())
        .collect();
    let head = boxed(b"ftyp", &[b"isom", &512u32.to_be_bytes(), b"isomiso2avc1mp41"]);
    // The index before the data must know where the data starts, and its own size does not depend on that.
    let start = head.len() + moov(size, &samples, millis, 0).len() + 8;
    let index = moov(size, &samples, millis, u32::try_from(start).unwrap_or(u32::MAX));
    [head, index, boxed(b"mdat", &[&samples.concat()])].concat()
}

/// Luma and chroma of a hue.
fn colour(hue: u8) -> [u8; 3] {
    match hue {
        0 => [90, 100, 200],
        1 => [110, 80, 70],
        2 => [70, 200, 110],
        3 => [170, 60, 150],
        4 => [140, 150, 60],
        _ => [100, 170, 180],
    }
}

fn be(value: usize) -> [u8; 4] {
    u32::try_from(value).unwrap_or(u32::MAX).to_be_bytes()
}

fn boxed(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&be(body.len() + 8)[..], kind, &body].concat()
}

/// Big-endian words.
fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

const MATRIX: [u32; 9] = [0x0001_0000, 0, 0, 0, 0x0001_0000, 0, 0, 0, 0x4000_0000];

fn moov(size: Size, samples: &[Vec<u8>], millis: u32, start: u32) -> Vec<u8> {
    let mvhd = [words(&[0, 0, 0, SCALE, millis, 0x0001_0000, 0x0100_0000, 0, 0]), words(&MATRIX), words(&[0, 0, 0, 0, 0, 0, 2])];
    let tkhd = [words(&[7, 0, 0, 1, 0, millis, 0, 0, 0, 0]), words(&MATRIX), words(&[size.width << 16, size.height << 16])];
    let media = boxed(
        b"mdia",
        &[
            // 0x55c4: language "und".
            &boxed(b"mdhd", &[&words(&[0, 0, 0, SCALE, millis, 0x55C4_0000])]),
            &boxed(b"hdlr", &[&words(&[0, 0]), b"vide", &words(&[0, 0, 0]), b"sandbox\0"]),
            &boxed(
                b"minf",
                &[
                    &boxed(b"vmhd", &[&words(&[1, 0, 0])]),
                    &boxed(b"dinf", &[&boxed(b"dref", &[&words(&[0, 1]), &boxed(b"url ", &[&words(&[1])])])]),
                    &stbl(size, samples, millis, start),
                ],
            ),
        ],
    );
    boxed(b"moov", &[&boxed(b"mvhd", &[&mvhd.concat()]), &boxed(b"trak", &[&boxed(b"tkhd", &[&tkhd.concat()]), &media])])
}

fn stbl(size: Size, samples: &[Vec<u8>], millis: u32, start: u32) -> Vec<u8> {
    let count = u32::try_from(samples.len()).unwrap_or(u32::MAX).max(1);
    let (each, rest) = (millis / count, millis % count);
    // The last frame takes what does not divide, so that the track is exactly as long as it says.
    let times = words(&if count == 1 { vec![0, 1, 1, millis] } else { vec![0, 2, count - 1, each, 1, each + rest] });
    let sizes: Vec<u8> = samples.iter().flat_map(|sample| be(sample.len())).collect();
    boxed(
        b"stbl",
        &[
            &boxed(b"stsd", &[&words(&[0, 1]), &avc1(size)]),
            &boxed(b"stts", &[&times]),
            &boxed(b"stss", &[&words(&[0, 1, 1])]),
            &boxed(b"stsc", &[&words(&[0, 1, 1, count, 1])]),
            &boxed(b"stsz", &[&words(&[0, 0, count]), &sizes]),
            &boxed(b"stco", &[&words(&[0, 1, start])]),
        ],
    )
}

fn avc1(size: Size) -> Vec<u8> {
    let (sequence, picture) = (h264::sequence(size), h264::picture());
    let length = |unit: &[u8]| u16::try_from(unit.len()).unwrap_or(u16::MAX).to_be_bytes();
    let config = boxed(
        b"avcC",
        &[
            // Version, profile, compatibility, level; lengths of 4 bytes; one sequence set.
            &[1, h264::PROFILE, 0, h264::LEVEL, 0xFF, 0xE1],
            &length(&sequence),
            &sequence,
            &[1],
            &length(&picture),
            &picture,
        ],
    );
    // Reserved and data reference 1, then 16 bytes of nothing, size, 72 dpi twice, frame count and name, depth 24.
    let fixed =
        [words(&[0, 1, 0, 0, 0, 0, size.width << 16 | size.height, 0x0048_0000, 0x0048_0000, 0]), vec![0, 1], vec![0; 32]];
    boxed(b"avc1", &[&fixed.concat(), &[0, 24, 0xFF, 0xFF], &config])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_fill_the_file_and_the_index_points_at_the_first_frame() {
        let bytes = compose(1_280, 720, 5_000, 2);
        let mut at = 0;
        let mut kinds = Vec::new();
        let mut data = 0;
        while at < bytes.len() {
            let size = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
            kinds.push(String::from_utf8_lossy(&bytes[at + 4..at + 8]).into_owned());
            if kinds.last().unwrap() == "mdat" {
                data = at + 8;
            }
            at += size;
        }
        assert_eq!(kinds, ["ftyp", "moov", "mdat"]);
        let stco = bytes.windows(4).position(|kind| kind == b"stco").unwrap();
        let offset = u32::from_be_bytes(bytes[stco + 12..stco + 16].try_into().unwrap()) as usize;
        assert_eq!(offset, data);
        assert_eq!(bytes[data + 4] & 0x1F, 5, "the first unit is a key frame");
    }
}

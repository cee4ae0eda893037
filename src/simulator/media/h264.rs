//! A one-colour H.264 stream, written bit by bit, so that no encoder is needed (ITU-T H.264, baseline profile).
//!
//! The first picture holds one macroblock of raw samples (I_PCM); all others predict their colour from their neighbours and
//! add nothing. Every later picture skips all its macroblocks. Such a stream is a few kilobytes at any size, and decodes.

/// Writes bits, the highest first, with the Exp-Golomb codes of the standard.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    /// Bits used in the last byte, 0 to 7; 0 means that it is full.
    used: u8,
}

impl Bits {
    fn bit(&mut self, bit: bool) {
        if self.used == 0 {
            self.bytes.push(0);
        }
        if bit && let Some(last) = self.bytes.last_mut() {
            *last |= 0x80 >> self.used;
        }
        self.used = (self.used + 1) % 8;
    }

    fn put(&mut self, value: u32, count: u32) {
        (0..count).rev().for_each(|at| self.bit(value >> at & 1 == 1));
    }

    /// Unsigned Exp-Golomb.
    fn ue(&mut self, value: u32) {
        let code = value + 1;
        let length = 32 - code.leading_zeros();
        self.put(0, length - 1);
        self.put(code, length);
    }

    /// Fills the byte with zeros.
    fn align(&mut self) {
        while self.used != 0 {
            self.bit(false);
        }
    }

    /// Ends a unit: a stop bit, then zeros.
    fn finish(mut self) -> Vec<u8> {
        self.bit(true);
        self.align();
        self.bytes
    }
}

/// Puts the header byte before a payload and breaks up its start codes.
fn unit(header: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![header];
    let mut zeros = 0;
    for byte in payload {
        if zeros == 2 && *byte <= 3 {
            out.push(3);
            zeros = 0;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        out.push(*byte);
    }
    out
}

/// Describes the stream: its size in macroblocks of 16 by 16 samples, and what the last ones hang over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) width: u32,
    pub(super) height: u32,
}

impl Size {
    fn columns(self) -> u32 {
        self.width.div_ceil(16).max(1)
    }

    fn rows(self) -> u32 {
        self.height.div_ceil(16).max(1)
    }
}

/// Level 5.1: allows every size asked of us; a truer level would need the frame rate and gain nothing.
pub(super) const LEVEL: u8 = 51;
/// Baseline.
pub(super) const PROFILE: u8 = 66;

/// Writes the sequence parameter set.
pub(super) fn sequence(size: Size) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.put(u32::from(PROFILE), 8);
    bits.put(0, 8);
    bits.put(u32::from(LEVEL), 8);
    bits.ue(0); // set id
    bits.ue(0); // frame number of 4 bits
    bits.ue(2); // output order is decoding order
    bits.ue(1); // one reference picture
    bits.bit(false); // no gaps in frame numbers
    bits.ue(size.columns() - 1);
    bits.ue(size.rows() - 1);
    bits.bit(true); // frames only
    bits.bit(true); // direct 8x8 inference
    let (right, bottom) = ((size.columns() * 16 - size.width) / 2, (size.rows() * 16 - size.height) / 2);
    bits.bit(right > 0 || bottom > 0);
    if right > 0 || bottom > 0 {
        [0, right, 0, bottom].into_iter().for_each(|crop| bits.ue(crop));
    }
    bits.bit(false); // no VUI
    unit(0x67, &bits.finish())
}

/// Writes the picture parameter set.
pub(super) fn picture() -> Vec<u8> {
    let mut bits = Bits::default();
    bits.ue(0); // set id
    bits.ue(0); // of sequence set 0
    bits.bit(false); // CAVLC
    bits.bit(false); // no field order
    bits.ue(0); // one slice group
    bits.ue(0); // reference counts
    bits.ue(0);
    bits.bit(false); // no weighting
    bits.put(0, 2);
    bits.ue(0); // quantiser offsets
    bits.ue(0);
    bits.ue(0);
    bits.bit(false); // no deblocking fields in slices
    bits.bit(false); // no constrained intra prediction
    bits.bit(false); // no redundant pictures
    unit(0x68, &bits.finish())
}

/// Writes the first picture: one colour, as luma and the two chroma values.
pub(super) fn key_frame(size: Size, [luma, cb, cr]: [u8; 3]) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.ue(0); // first macroblock
    bits.ue(7); // all slices are I
    bits.ue(0); // picture set
    bits.put(0, 4); // frame number
    bits.ue(0); // IDR id
    bits.put(0, 2); // reference marking of an IDR
    bits.ue(0); // quantiser delta
    bits.ue(25); // I_PCM
    bits.align();
    bits.bytes.extend(std::iter::repeat_n(luma, 256));
    bits.bytes.extend(std::iter::repeat_n(cb, 64));
    bits.bytes.extend(std::iter::repeat_n(cr, 64));
    let columns = size.columns();
    for block in 1..columns * size.rows() {
        bits.ue(3); // Intra 16x16, DC prediction, no coefficients
        bits.ue(0); // chroma DC prediction
        bits.ue(0); // quantiser delta
        // "No coefficients" is coded by the neighbours' counts: the raw macroblock counts as 16, alone on the first row or column.
        let beside_raw = block == 1 && columns > 1 || block == columns;
        if beside_raw { bits.put(3, 6) } else { bits.bit(true) }
    }
    unit(0x65, &bits.finish())
}

/// Writes a later picture that repeats the one before.
pub(super) fn repeat_frame(size: Size, number: u32) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.ue(0); // first macroblock
    bits.ue(5); // all slices are P
    bits.ue(0); // picture set
    bits.put(number % 16, 4);
    bits.bit(false); // reference count as in the set
    bits.bit(false); // no reordering
    bits.bit(false); // sliding window marking
    bits.ue(0); // quantiser delta
    bits.ue(size.columns() * size.rows()); // skip all
    unit(0x41, &bits.finish())
}

//! gzip (RFC 1952), by `zlib-rs`.

use zlib_rs::{
    Deflate, DeflateConfig, DeflateFlush, Inflate, InflateError, InflateFlush, Method, Status, Strategy,
};

use super::{CodingError, Decoder, Encoder, ROOM};

/// The settings of a compressor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GzipCoding {
    /// 1 to 9, or -1 for the library's own choice.
    pub level: i32,
    /// `memory_level`
    pub memory: u8,
    /// `window_bits`
    pub window_bits: u8,
    /// `compression_strategy`, by its number in zlib.
    pub strategy: GzipStrategy,
}

/// How it is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GzipStrategy {
    /// `DEFAULT_STRATEGY`
    #[default]
    Default,
    /// `FILTERED`
    Filtered,
    /// `HUFFMAN_ONLY`
    HuffmanOnly,
    /// `RLE`
    Rle,
    /// `FIXED`
    Fixed,
}

/// The settings of a decompressor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GzipDecoding {
    /// `window_bits`
    pub window_bits: u8,
    /// `max_inflate_ratio`
    pub ratio: u32,
}

/// What the library adds to the bits of a window for gzip's own head and tail.
const GZIP: i32 = 16;

pub(super) struct Compressor(Deflate);

impl Compressor {
    pub(super) fn new(settings: GzipCoding) -> Self {
        let strategy = match settings.strategy {
            GzipStrategy::Default => Strategy::Default,
            GzipStrategy::Filtered => Strategy::Filtered,
            GzipStrategy::HuffmanOnly => Strategy::HuffmanOnly,
            GzipStrategy::Rle => Strategy::Rle,
            GzipStrategy::Fixed => Strategy::Fixed,
        };
        Self(Deflate::new_with_config(DeflateConfig {
            level: settings.level,
            method: Method::Deflated,
            window_bits: GZIP + i32::from(settings.window_bits),
            mem_level: i32::from(settings.memory),
            strategy,
        }))
    }
}

impl Encoder for Compressor {
    fn encode(&mut self, mut input: &[u8], last: bool, out: &mut Vec<u8>) -> Result<(), CodingError> {
        let flush = if last { DeflateFlush::Finish } else { DeflateFlush::SyncFlush };
        let mut room = [0; ROOM];
        loop {
            let (taken, made) = (self.0.total_in(), self.0.total_out());
            let status = self.0.compress(input, &mut room, flush).map_err(|_| CodingError::Memory)?;
            let made = (self.0.total_out() - made) as usize;
            input = &input[(self.0.total_in() - taken) as usize..];
            out.extend_from_slice(&room[..made]);
            match status {
                Status::StreamEnd => return Ok(()),
                // Room was left, so nothing is held back.
                Status::Ok | Status::BufError if !last && input.is_empty() && made < ROOM => return Ok(()),
                Status::BufError if made == 0 => return Err(CodingError::Malformed),
                Status::Ok | Status::BufError => {}
            }
        }
    }
}

pub(super) struct Decompressor {
    inflate: Inflate,
    /// The end of the format was seen; whatever follows it is no part of the body.
    done: bool,
}

impl Decompressor {
    pub(super) fn new(settings: GzipDecoding) -> Self {
        Self { inflate: Inflate::new(true, GZIP as u8 + settings.window_bits), done: false }
    }
}

impl Decoder for Decompressor {
    fn decode(&mut self, mut input: &[u8], most: usize, out: &mut Vec<u8>) -> Result<(), CodingError> {
        let mut room = [0; ROOM];
        let begin = out.len();
        while !self.done {
            let (taken, made) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self.inflate.decompress(input, &mut room, InflateFlush::NoFlush);
            let status = status.map_err(|error| match error {
                InflateError::MemError => CodingError::Memory,
                InflateError::NeedDict { .. } => CodingError::Dictionary,
                InflateError::DataError | InflateError::StreamError => CodingError::Malformed,
            })?;
            let made = (self.inflate.total_out() - made) as usize;
            input = &input[(self.inflate.total_in() - taken) as usize..];
            out.extend_from_slice(&room[..made]);
            if out.len() - begin > most {
                return Err(CodingError::Ratio);
            }
            self.done = matches!(status, Status::StreamEnd);
            if input.is_empty() && made < ROOM {
                break;
            }
            if matches!(status, Status::BufError) && made == 0 {
                return Err(CodingError::Malformed);
            }
        }
        Ok(())
    }
}

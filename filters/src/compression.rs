//! Compression: what a library of the configuration makes of a body, piece by piece.
//!
//! A [`Coding`] is the library of a compressor, a [`Decoding`] that of a decompressor; each stream that works makes an instance of
//! it. Their memory is bounded by their settings (windows of at most 32 KiB for gzip, 16 MiB for brotli, 8 MiB for zstd), and what a
//! decoder gives out by the ratio to what it was given. Shared by the filters `compressor` and `decompressor`.

mod brotli;
mod gzip;
#[cfg(test)]
mod tests;
mod zstd;

use std::sync::Arc;

pub use self::brotli::{BrotliCoding, BrotliMode};
pub use self::gzip::{GzipCoding, GzipDecoding, GzipStrategy};
pub use self::zstd::{ZstdCoding, ZstdDecoding};

/// A body that cannot be coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodingError {
    /// The bytes are not what they are said to be.
    #[error("the compressed data is malformed")]
    Malformed,
    /// A dictionary is missing or another one.
    #[error("the dictionary is not known")]
    Dictionary,
    /// The checksum of the content does not fit.
    #[error("the checksum does not fit")]
    Checksum,
    /// The library has no memory.
    #[error("out of memory")]
    Memory,
    /// More would come out than the ratio allows.
    #[error("the ratio of decompressed to compressed data is too high")]
    Ratio,
}

/// Compresses one body.
pub trait Encoder {
    /// Compresses a piece. All of it comes out, so that it can be sent; with `last`, so does the end of the format.
    fn encode(&mut self, input: &[u8], last: bool, out: &mut Vec<u8>) -> Result<(), CodingError>;
}

/// Decompresses one body.
pub trait Decoder {
    /// Decompresses a piece, of which at most `most` bytes may come out.
    fn decode(&mut self, input: &[u8], most: usize, out: &mut Vec<u8>) -> Result<(), CodingError>;
}

/// The library of a compressor.
#[derive(Clone, Debug)]
pub enum Coding {
    /// `envoy.compression.gzip.compressor`
    Gzip(GzipCoding),
    /// `envoy.compression.brotli.compressor`
    Brotli(BrotliCoding),
    /// `envoy.compression.zstd.compressor`
    Zstd(ZstdCoding),
}

/// The library of a decompressor.
#[derive(Clone, Debug)]
pub enum Decoding {
    /// `envoy.compression.gzip.decompressor`
    Gzip(GzipDecoding),
    /// `envoy.compression.brotli.decompressor`
    Brotli,
    /// `envoy.compression.zstd.decompressor`
    Zstd(ZstdDecoding),
}

/// How many times as much may come out of a piece as it has bytes, where nothing is configured.
pub const INFLATE_RATIO: u32 = 100;

impl Coding {
    /// As `content-encoding` names it.
    pub fn name(&self) -> &'static str {
        match self {
            Coding::Gzip(_) => "gzip",
            Coding::Brotli(_) => "br",
            Coding::Zstd(_) => "zstd",
        }
    }

    /// As the names of counters have it.
    pub fn stats_name(&self) -> &'static str {
        match self {
            Coding::Gzip(_) => "gzip",
            Coding::Brotli(_) => "brotli",
            Coding::Zstd(_) => "zstd",
        }
    }

    /// An encoder for one body.
    pub fn encoder(&self) -> Box<dyn Encoder> {
        match self {
            Coding::Gzip(settings) => Box::new(gzip::Compressor::new(*settings)),
            Coding::Brotli(settings) => Box::new(brotli::Compressor::new(*settings)),
            Coding::Zstd(settings) => Box::new(zstd::Compressor::new(settings)),
        }
    }
}

impl Decoding {
    /// As `content-encoding` names it.
    pub fn name(&self) -> &'static str {
        match self {
            Decoding::Gzip(_) => "gzip",
            Decoding::Brotli => "br",
            Decoding::Zstd(_) => "zstd",
        }
    }

    /// As the names of counters have it.
    pub fn stats_name(&self) -> &'static str {
        match self {
            Decoding::Gzip(_) => "gzip",
            Decoding::Brotli => "brotli",
            Decoding::Zstd(_) => "zstd",
        }
    }

    /// A decoder for one body.
    pub fn decoder(&self) -> Box<dyn Decoder> {
        match self {
            Decoding::Gzip(settings) => Box::new(gzip::Decompressor::new(*settings)),
            Decoding::Brotli => Box::new(brotli::Decompressor::new()),
            Decoding::Zstd(settings) => Box::new(zstd::Decompressor::new(settings)),
        }
    }

    /// How much may come out of a piece of so many bytes. What does not fill a piece of output is not counted, as in Envoy; zstd
    /// tells long runs in few bytes, so it may begin with more.
    pub fn most(&self, length: usize) -> usize {
        let (ratio, free) = match self {
            Decoding::Gzip(settings) => (settings.ratio, ROOM),
            Decoding::Brotli => (INFLATE_RATIO, ROOM),
            Decoding::Zstd(_) => (INFLATE_RATIO, 1024 * 1024),
        };
        length.saturating_mul(ratio as usize) + free
    }
}

/// Bytes that a dictionary may have.
pub const LONGEST_DICTIONARY: usize = 1024 * 1024;

/// Dictionaries of zstd, shared by all streams.
pub type Dictionaries = Arc<[Box<[u8]>]>;

/// The room for output that a library is given at a time.
const ROOM: usize = 4096;

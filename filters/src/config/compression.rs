//! The libraries of compressors and decompressors.

use prost::Message;
use sampan_api::envoy::config::core::v3::{DataSource, TypedExtensionConfig};
use sampan_api::envoy::extensions::compression::brotli::{
    compressor::v3 as brotli, decompressor::v3 as unbrotli,
};
use sampan_api::envoy::extensions::compression::gzip::{compressor::v3 as gzip, decompressor::v3 as gunzip};
use sampan_api::envoy::extensions::compression::zstd::{compressor::v3 as zstd, decompressor::v3 as unzstd};
use sampan_api::google::protobuf::UInt32Value;
use sampan_api::{MessageSupport, Support, type_url};

use super::matcher::under;
use super::{ConfigError, data_source};
use crate::compression::{
    BrotliCoding, BrotliMode, Coding, Decoding, GzipCoding, GzipDecoding, GzipStrategy, INFLATE_RATIO,
    LONGEST_DICTIONARY, ZstdCoding, ZstdDecoding,
};

const YES: Support = Support::Supported;
const CHUNK: Support = Support::Ignored("what comes out of a piece is passed on in one piece");

const GZIP: &str = "envoy.extensions.compression.gzip.compressor.v3.Gzip";
const BROTLI: &str = "envoy.extensions.compression.brotli.compressor.v3.Brotli";
const ZSTD: &str = "envoy.extensions.compression.zstd.compressor.v3.Zstd";
const GUNZIP: &str = "envoy.extensions.compression.gzip.decompressor.v3.Gzip";
const UNBROTLI: &str = "envoy.extensions.compression.brotli.decompressor.v3.Brotli";
const UNZSTD: &str = "envoy.extensions.compression.zstd.decompressor.v3.Zstd";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (
        GZIP,
        &[
            ("memory_level", YES),
            ("compression_level", YES),
            ("compression_strategy", YES),
            ("window_bits", YES),
            ("chunk_size", CHUNK),
        ],
    ),
    (
        BROTLI,
        &[
            ("quality", YES),
            ("encoder_mode", YES),
            ("window_bits", YES),
            ("input_block_bits", YES),
            ("chunk_size", CHUNK),
            ("disable_literal_context_modeling", YES),
        ],
    ),
    (
        ZSTD,
        &[
            ("compression_level", YES),
            ("enable_checksum", YES),
            ("strategy", YES),
            ("dictionary", YES),
            ("chunk_size", CHUNK),
        ],
    ),
    (GUNZIP, &[("window_bits", YES), ("chunk_size", CHUNK), ("max_inflate_ratio", YES)]),
    (
        UNBROTLI,
        &[
            ("disable_ring_buffer_reallocation", Support::Ignored("the ring buffer grows with the content")),
            ("chunk_size", CHUNK),
        ],
    ),
    (UNZSTD, &[("dictionaries", YES), ("chunk_size", CHUNK)]),
];

/// The library of a compressor at `path`.
pub fn coding(proto: Option<&TypedExtensionConfig>, path: &str) -> Result<Coding, ConfigError> {
    let (name, bytes, at) = library(proto, path)?;
    match name {
        GZIP => gzip(&read(bytes, &at)?, &at),
        BROTLI => brotli(&read(bytes, &at)?, &at),
        ZSTD => zstd(&read(bytes, &at)?, &at),
        _ => Err(unknown(name, at)),
    }
}

/// The library of a decompressor at `path`.
pub fn decoding(proto: Option<&TypedExtensionConfig>, path: &str) -> Result<Decoding, ConfigError> {
    let (name, bytes, at) = library(proto, path)?;
    match name {
        GUNZIP => {
            let proto: gunzip::Gzip = read(bytes, &at)?;
            Ok(Decoding::Gzip(GzipDecoding {
                window_bits: within(proto.window_bits, 15, 9..=15, &at, "window_bits")? as u8,
                ratio: within(proto.max_inflate_ratio, INFLATE_RATIO, 1..=1032, &at, "max_inflate_ratio")?,
            }))
        }
        UNBROTLI => read::<unbrotli::Brotli>(bytes, &at).map(|_| Decoding::Brotli),
        UNZSTD => {
            let proto: unzstd::Zstd = read(bytes, &at)?;
            let each = proto.dictionaries.iter().enumerate();
            let each = each.map(|(index, source)| dictionary(source, &format!("{at}.dictionaries[{index}]")));
            Ok(Decoding::Zstd(ZstdDecoding { dictionaries: each.collect::<Result<_, _>>()? }))
        }
        _ => Err(unknown(name, at)),
    }
}

fn library<'p>(
    proto: Option<&'p TypedExtensionConfig>,
    path: &str,
) -> Result<(&'p str, &'p [u8], String), ConfigError> {
    let proto = proto.ok_or_else(|| ConfigError::new(path, "is required"))?;
    let at = under(path, "typed_config");
    let any = proto.typed_config.as_ref().ok_or_else(|| ConfigError::new(&*at, "is required"))?;
    Ok((type_url::full_name(&any.type_url), &any.value, at))
}

fn unknown(name: &str, at: String) -> ConfigError {
    let error = ConfigError::new(at, "there is no compression library of this type").value(name);
    error.hint("use gzip, brotli or zstd")
}

fn read<M: Message + Default>(bytes: &[u8], at: &str) -> Result<M, ConfigError> {
    M::decode(bytes).map_err(|error| ConfigError::new(at, format!("the payload is malformed: {error}")))
}

/// A number, or what stands for it where it is not given.
fn within(
    proto: Option<UInt32Value>,
    default: u32,
    range: std::ops::RangeInclusive<u32>,
    at: &str,
    field: &str,
) -> Result<u32, ConfigError> {
    let value = proto.map_or(default, |wrapper| wrapper.value);
    if range.contains(&value) {
        return Ok(value);
    }
    let reason = format!("is between {} and {}", range.start(), range.end());
    Err(ConfigError::new(under(at, field), reason).value(value))
}

fn gzip(proto: &gzip::Gzip, at: &str) -> Result<Coding, ConfigError> {
    use gzip::gzip::CompressionStrategy;
    let level = proto.compression_level;
    if !(0..=9).contains(&level) {
        return Err(ConfigError::new(under(at, "compression_level"), "is no level").value(level));
    }
    Ok(Coding::Gzip(GzipCoding {
        level: if level == 0 { -1 } else { level },
        memory: within(proto.memory_level, 5, 1..=9, at, "memory_level")? as u8,
        window_bits: within(proto.window_bits, 12, 9..=15, at, "window_bits")? as u8,
        strategy: match proto.compression_strategy() {
            CompressionStrategy::DefaultStrategy => GzipStrategy::Default,
            CompressionStrategy::Filtered => GzipStrategy::Filtered,
            CompressionStrategy::HuffmanOnly => GzipStrategy::HuffmanOnly,
            CompressionStrategy::Rle => GzipStrategy::Rle,
            CompressionStrategy::Fixed => GzipStrategy::Fixed,
        },
    }))
}

fn brotli(proto: &brotli::Brotli, at: &str) -> Result<Coding, ConfigError> {
    use brotli::brotli::EncoderMode;
    Ok(Coding::Brotli(BrotliCoding {
        quality: within(proto.quality, 3, 0..=11, at, "quality")? as u8,
        mode: match proto.encoder_mode() {
            EncoderMode::Default | EncoderMode::Generic => BrotliMode::Generic,
            EncoderMode::Text => BrotliMode::Text,
            EncoderMode::Font => BrotliMode::Font,
        },
        window_bits: within(proto.window_bits, 18, 10..=24, at, "window_bits")? as u8,
        block_bits: within(proto.input_block_bits, 24, 16..=24, at, "input_block_bits")? as u8,
        no_context_modeling: proto.disable_literal_context_modeling,
    }))
}

fn zstd(proto: &zstd::Zstd, at: &str) -> Result<Coding, ConfigError> {
    let dictionary = proto.dictionary.as_ref().map(|source| dictionary(source, &under(at, "dictionary")));
    Ok(Coding::Zstd(ZstdCoding {
        level: within(proto.compression_level, 3, 0..=22, at, "compression_level")? as i32,
        checksum: proto.enable_checksum,
        strategy: within(Some(UInt32Value { value: proto.strategy as u32 }), 0, 0..=9, at, "strategy")? as u8,
        dictionaries: dictionary.transpose()?.into_iter().collect(),
    }))
}

fn dictionary(source: &DataSource, path: &str) -> Result<Box<[u8]>, ConfigError> {
    data_source(source, LONGEST_DICTIONARY, path).map(Vec::into_boxed_slice)
}

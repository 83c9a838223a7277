//! Zstandard (RFC 8878), by the reference library.

use zstd_safe::zstd_sys::{ZSTD_EndDirective, ZSTD_ErrorCode};
use zstd_safe::{CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, Strategy};

use super::{CodingError, Decoder, Dictionaries, Encoder, ROOM};

/// The settings of a compressor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZstdCoding {
    /// `compression_level`; 0 is the library's own choice.
    pub level: i32,
    /// `enable_checksum`
    pub checksum: bool,
    /// `strategy`; 0 is the library's own choice.
    pub strategy: u8,
    /// `dictionary`; empty if there is none.
    pub dictionaries: Dictionaries,
}

/// The settings of a decompressor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZstdDecoding {
    /// `dictionaries`
    pub dictionaries: Dictionaries,
}

/// The largest window that a decoder must support for HTTP (RFC 9659 §3): 8 MiB.
const LARGEST_WINDOW: u32 = 23;

pub(super) struct Compressor(CCtx<'static>);

impl Compressor {
    pub(super) fn new(settings: &ZstdCoding) -> Self {
        let mut context = CCtx::create();
        let level = if settings.level == 0 { zstd_safe::CLEVEL_DEFAULT } else { settings.level };
        // Values out of range are the library's to bring into it; the configuration has been checked.
        let _ = context.set_parameter(CParameter::CompressionLevel(level));
        let _ = context.set_parameter(CParameter::ChecksumFlag(settings.checksum));
        if let Some(strategy) = strategy(settings.strategy) {
            let _ = context.set_parameter(CParameter::Strategy(strategy));
        }
        for dictionary in settings.dictionaries.iter() {
            let _ = context.load_dictionary(dictionary);
        }
        Self(context)
    }
}

fn strategy(number: u8) -> Option<Strategy> {
    Some(match number {
        1 => Strategy::ZSTD_fast,
        2 => Strategy::ZSTD_dfast,
        3 => Strategy::ZSTD_greedy,
        4 => Strategy::ZSTD_lazy,
        5 => Strategy::ZSTD_lazy2,
        6 => Strategy::ZSTD_btlazy2,
        7 => Strategy::ZSTD_btopt,
        8 => Strategy::ZSTD_btultra,
        9 => Strategy::ZSTD_btultra2,
        _ => return None,
    })
}

impl Encoder for Compressor {
    fn encode(&mut self, input: &[u8], last: bool, out: &mut Vec<u8>) -> Result<(), CodingError> {
        let directive = if last { ZSTD_EndDirective::ZSTD_e_end } else { ZSTD_EndDirective::ZSTD_e_flush };
        let mut input = InBuffer::around(input);
        let mut room = [0; ROOM];
        loop {
            let mut output = OutBuffer::around(&mut room[..]);
            let left = self.0.compress_stream2(&mut output, &mut input, directive).map_err(error)?;
            let made = output.pos();
            out.extend_from_slice(&room[..made]);
            if left == 0 {
                return Ok(());
            }
        }
    }
}

pub(super) struct Decompressor {
    context: DCtx<'static>,
    dictionaries: Dictionaries,
    /// Whether a dictionary has been looked for.
    begun: bool,
}

impl Decompressor {
    pub(super) fn new(settings: &ZstdDecoding) -> Self {
        let mut context = DCtx::create();
        let _ = context.set_parameter(DParameter::WindowLogMax(LARGEST_WINDOW));
        Self { context, dictionaries: settings.dictionaries.clone(), begun: false }
    }

    /// Loads the dictionary that the frame names, where some are configured.
    fn begin(&mut self, input: &[u8]) -> Result<(), CodingError> {
        self.begun = true;
        let wanted = zstd_safe::get_dict_id_from_frame(input);
        let Some(wanted) = wanted.filter(|_| !self.dictionaries.is_empty()) else { return Ok(()) };
        let mut known = self.dictionaries.iter();
        let found = known.find(|known| zstd_safe::get_dict_id_from_dict(known) == Some(wanted));
        let dictionary = found.ok_or(CodingError::Dictionary)?;
        self.context.load_dictionary(dictionary).map(|_| ()).map_err(error)
    }
}

impl Decoder for Decompressor {
    fn decode(&mut self, input: &[u8], most: usize, out: &mut Vec<u8>) -> Result<(), CodingError> {
        if !self.begun && !input.is_empty() {
            self.begin(input)?;
        }
        let mut input = InBuffer::around(input);
        let mut room = [0; ROOM];
        let begin = out.len();
        loop {
            let mut output = OutBuffer::around(&mut room[..]);
            self.context.decompress_stream(&mut output, &mut input).map_err(error)?;
            let made = output.pos();
            out.extend_from_slice(&room[..made]);
            if out.len() - begin > most {
                return Err(CodingError::Ratio);
            }
            if input.pos() == input.src.len() && made < ROOM {
                return Ok(());
            }
        }
    }
}

fn error(code: zstd_safe::ErrorCode) -> CodingError {
    let is = |kind| zstd_safe::is_error_kind(code, kind);
    if is(ZSTD_ErrorCode::ZSTD_error_memory_allocation) {
        CodingError::Memory
    } else if is(ZSTD_ErrorCode::ZSTD_error_checksum_wrong) {
        CodingError::Checksum
    } else if is(ZSTD_ErrorCode::ZSTD_error_dictionary_corrupted)
        || is(ZSTD_ErrorCode::ZSTD_error_dictionary_wrong)
    {
        CodingError::Dictionary
    } else {
        CodingError::Malformed
    }
}

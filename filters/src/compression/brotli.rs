//! Brotli (RFC 7932), by the `brotli` crate.

use std::io::{self, Write};

use brotli::enc::backward_references::BrotliEncoderMode;
use brotli::enc::encode::BrotliEncoderInitParams;
use brotli::{CompressorWriter, DecompressorWriter};

use super::{CodingError, Decoder, Encoder, ROOM};

/// The settings of a compressor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrotliCoding {
    /// `quality`
    pub quality: u8,
    /// `encoder_mode`
    pub mode: BrotliMode,
    /// `window_bits`
    pub window_bits: u8,
    /// `input_block_bits`
    pub block_bits: u8,
    /// `disable_literal_context_modeling`
    pub no_context_modeling: bool,
}

/// What kind of content is expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BrotliMode {
    /// `DEFAULT` and `GENERIC`
    #[default]
    Generic,
    /// `TEXT`
    Text,
    /// `FONT`
    Font,
}

/// None once the end of the format was written.
pub(super) struct Compressor(Option<CompressorWriter<Vec<u8>>>);

impl Compressor {
    pub(super) fn new(settings: BrotliCoding) -> Self {
        let mut params = BrotliEncoderInitParams();
        params.quality = i32::from(settings.quality);
        params.lgwin = i32::from(settings.window_bits);
        params.lgblock = i32::from(settings.block_bits);
        params.disable_literal_context_modeling = i32::from(settings.no_context_modeling);
        params.mode = match settings.mode {
            BrotliMode::Generic => BrotliEncoderMode::BROTLI_MODE_GENERIC,
            BrotliMode::Text => BrotliEncoderMode::BROTLI_MODE_TEXT,
            BrotliMode::Font => BrotliEncoderMode::BROTLI_MODE_FONT,
        };
        Self(Some(CompressorWriter::with_params(Vec::new(), ROOM, &params)))
    }
}

impl Encoder for Compressor {
    fn encode(&mut self, input: &[u8], last: bool, out: &mut Vec<u8>) -> Result<(), CodingError> {
        let Some(mut writer) = self.0.take() else { return Ok(()) };
        writer.write_all(input).map_err(|_| CodingError::Memory)?;
        if last {
            out.append(&mut writer.into_inner());
        } else {
            writer.flush().map_err(|_| CodingError::Memory)?;
            out.append(writer.get_mut());
            self.0 = Some(writer);
        }
        Ok(())
    }
}

/// Takes what comes out, up to a limit.
#[derive(Default)]
struct Sink {
    bytes: Vec<u8>,
    most: usize,
    over: bool,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.most {
            self.over = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) struct Decompressor(DecompressorWriter<Sink>);

impl Decompressor {
    pub(super) fn new() -> Self {
        Self(DecompressorWriter::new(Sink::default(), ROOM))
    }
}

impl Decoder for Decompressor {
    fn decode(&mut self, input: &[u8], most: usize, out: &mut Vec<u8>) -> Result<(), CodingError> {
        self.0.get_mut().most = most;
        let mut input = input;
        let mut failed = false;
        while !input.is_empty() {
            match self.0.write(input) {
                // The end of the format was seen; whatever follows it is no part of the body.
                Ok(0) => break,
                Ok(taken) => input = &input[taken..],
                Err(_) => {
                    failed = true;
                    break;
                }
            }
        }
        let sink = self.0.get_mut();
        out.append(&mut sink.bytes);
        match (failed, sink.over) {
            (false, _) => Ok(()),
            (true, true) => Err(CodingError::Ratio),
            (true, false) => Err(CodingError::Malformed),
        }
    }
}

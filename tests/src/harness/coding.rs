//! Content codings, so that observations show what a body says and not how a library happened to write it.

use std::io::{Read, Write};

use zlib_rs::{Deflate, DeflateFlush, Inflate, InflateFlush, Status};

use super::wire::Message;

/// The body of a message, decoded as its `content-encoding` says. What cannot be decoded is told as it is.
pub fn body(message: &Message) -> Vec<u8> {
    let coding = message.header("content-encoding").unwrap_or_default();
    let decoded = match coding {
        "gzip" => gunzip(&message.body),
        "br" => unbrotli(&message.body),
        "zstd" => unzstd(&message.body),
        _ => None,
    };
    decoded.unwrap_or_else(|| message.body.clone())
}

/// Bytes in gzip.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0; bytes.len() + 64];
    let mut deflate = Deflate::new(6, true, 31);
    deflate.compress(bytes, &mut out, DeflateFlush::Finish).expect("there is room");
    out.truncate(deflate.total_out() as usize);
    out
}

/// Bytes in brotli.
pub fn brotli(bytes: &[u8]) -> Vec<u8> {
    let mut writer = brotli::CompressorWriter::new(Vec::new(), 4096, 3, 18);
    writer.write_all(bytes).expect("a vector takes all");
    writer.into_inner()
}

/// Bytes in zstd.
pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0; zstd_safe::compress_bound(bytes.len())];
    let length = zstd_safe::compress(&mut out[..], bytes, 3).expect("there is room");
    out.truncate(length);
    out
}

fn gunzip(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut inflate = Inflate::new(true, 31);
    let (mut out, mut room) = (Vec::new(), [0; 4096]);
    loop {
        let (taken, made) = (inflate.total_in() as usize, inflate.total_out());
        let status = inflate.decompress(&bytes[taken..], &mut room, InflateFlush::NoFlush).ok()?;
        let made = (inflate.total_out() - made) as usize;
        out.extend_from_slice(&room[..made]);
        match status {
            Status::StreamEnd => return Some(out),
            _ if made == 0 && inflate.total_in() as usize == taken => return None,
            _ => {}
        }
    }
}

fn unbrotli(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    brotli::Decompressor::new(bytes, 4096).read_to_end(&mut out).ok()?;
    Some(out)
}

fn unzstd(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![0; 1024 * 1024];
    let length = zstd_safe::decompress(&mut out[..], bytes).ok()?;
    out.truncate(length);
    Some(out)
}

//! Bulk bytes through a TCP proxy: one connection, read as fast as it comes.

use super::Outcome;
use anyhow::{Context, Result, ensure};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Bytes per read.
const CHUNK: usize = 1 << 20;

/// Asks the backend behind `address` for `bytes` and counts what comes.
pub fn download(address: SocketAddr, bytes: u64) -> Result<Outcome> {
    let mut stream = TcpStream::connect(address).context("connecting")?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let started = Instant::now();
    stream.write_all(&bytes.to_be_bytes())?;
    let mut buffer = vec![0; CHUNK];
    let mut received = 0;
    while received < bytes {
        let count = stream.read(&mut buffer).context("downloading")?;
        ensure!(count > 0, "closed after {received} of {bytes} bytes");
        received += count as u64;
    }
    ensure!(received == bytes, "{received} bytes came instead of {bytes}");
    let seconds = started.elapsed().as_secs_f64();
    Ok(Outcome { units: bytes as f64 / f64::from(1 << 20), seconds, latency: None, errors: 0 })
}

//! Bulk bytes: the client asks for a number of bytes and gets them.

use anyhow::Result;
use std::sync::LazyLock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Bytes handed to the kernel per write.
static CHUNK: LazyLock<Vec<u8>> = LazyLock::new(|| vec![b'x'; 256 * 1024]);

/// Serves one connection: a count (eight bytes, big-endian), then that many bytes, again and again.
pub async fn serve(mut stream: TcpStream) -> Result<()> {
    while let Ok(mut left) = stream.read_u64().await {
        while left > 0 {
            let take = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK.len());
            stream.write_all(&CHUNK[..take]).await?;
            left -= take as u64;
        }
    }
    Ok(())
}

//! What TLS adds to a stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use tokio_rustls::TlsStream;

use super::records::Records;

/// Whether bytes are decrypted and not yet read.
pub(super) fn holds_plaintext(stream: &mut TlsStream<Records>) -> bool {
    // With nothing new to process, this only tells what there is.
    let state = match stream {
        TlsStream::Client(stream) => stream.get_mut().1.process_new_packets(),
        TlsStream::Server(stream) => stream.get_mut().1.process_new_packets(),
    };
    // A broken stream has something to tell as well: its error, to whoever reads.
    state.map_or(true, |state| state.plaintext_bytes_to_read() > 0 || state.peer_has_closed())
}

/// Sends what is encrypted and not yet sent.
pub(super) fn poll_flush(stream: &mut TlsStream<Records>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    let (records, session) = stream.get_ref();
    if !session.wants_write() && !records.holds() {
        return Poll::Ready(Ok(()));
    }
    Pin::new(stream).poll_flush(cx)
}

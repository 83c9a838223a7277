//! One byte stream for every transport, usable through a shared reference.
//!
//! A connection is owned by one task, but that task reads it for one direction and writes it for the other, in
//! futures that it polls side by side. So all operations take `&self`; the cells are borrowed within a poll only.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, BytesMut};
use sampan_filters_api::Address;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;
use tokio_util::io::poll_read_buf;

/// A connected transport, and how many bytes went through it.
#[derive(Debug)]
pub struct Io {
    transport: Transport,
    received: Cell<u64>,
    sent: Cell<u64>,
    front: RefCell<Option<Box<Front>>>,
}

/// The kinds of transport.
#[derive(Debug)]
enum Transport {
    /// Plain TCP
    Tcp(RefCell<Tcp>),
    /// A unix stream socket
    Unix(RefCell<UnixStream>),
    /// TLS over one of the others
    Tls(Box<RefCell<TlsStream<Records>>>),
}

impl From<TcpStream> for Io {
    fn from(stream: TcpStream) -> Self {
        Transport::Tcp(RefCell::new(Tcp::Awake(stream))).into()
    }
}

impl From<UnixStream> for Io {
    fn from(stream: UnixStream) -> Self {
        Transport::Unix(RefCell::new(stream)).into()
    }
}

impl From<TlsStream<Records>> for Io {
    fn from(stream: TlsStream<Records>) -> Self {
        Transport::Tls(Box::new(RefCell::new(stream))).into()
    }
}

impl From<Transport> for Io {
    fn from(transport: Transport) -> Self {
        Io { transport, received: Cell::new(0), sent: Cell::new(0), front: RefCell::new(None) }
    }
}

/// Calls `$op` on the pinned stream, whichever it is.
macro_rules! with {
    ($self:expr, $stream:ident => $op:expr) => {
        match &$self.transport {
            Transport::Tcp(cell) => {
                let mut guard = cell.borrow_mut();
                let $stream = Pin::new(guard.awake()?);
                $op
            }
            Transport::Unix(cell) => {
                let mut guard = cell.borrow_mut();
                let $stream = Pin::new(&mut *guard);
                $op
            }
            Transport::Tls(cell) => {
                let mut guard = cell.borrow_mut();
                let $stream = Pin::new(&mut *guard);
                $op
            }
        }
    };
}

// Behind the macro that it uses.
mod front;
mod records;
mod tcp;
mod tls;
use front::Front;
pub use records::Records;
use tcp::Tcp;

impl Io {
    /// Reads once behind what `buf` holds, at most `limit` bytes; 0 at the end of the stream.
    ///
    /// Spare room is used first, unless it is so little that many small reads would follow.
    pub fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
        limit: usize,
    ) -> Poll<io::Result<usize>> {
        // What TLS could not send at once goes out as soon as it can, whoever waits for what.
        self.push(cx);
        if self.front.borrow().is_some() {
            return self.poll_read_front(cx, buf, limit);
        }
        if buf.capacity() - buf.len() < limit / 2 {
            buf.reserve(limit);
        }
        let mut room = buf.limit(limit);
        let n = ready!(with!(self, stream => poll_read_buf(stream, cx, &mut room)))?;
        self.received.set(self.received.get() + n as u64);
        Poll::Ready(Ok(n))
    }

    /// Reads once into a buffer of another kind; see [`Io::poll_read`].
    pub fn poll_read_into(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.front.borrow().is_some() {
            let mut taken = BytesMut::new();
            ready!(self.poll_read_front(cx, &mut taken, buf.remaining()))?;
            buf.put_slice(&taken);
            return Poll::Ready(Ok(()));
        }
        with!(self, stream => stream.poll_read(cx, buf))
    }

    /// Bytes read so far; those that were spliced not included.
    pub fn received(&self) -> u64 {
        self.received.get()
    }

    /// Bytes written so far; those that were spliced not included.
    pub fn sent(&self) -> u64 {
        self.sent.get()
    }

    fn count_sent(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(n)) = written {
            self.sent.set(self.sent.get() + n as u64);
        }
        written
    }

    /// Reads once; see [`Io::poll_read`].
    pub async fn read(&self, buf: &mut BytesMut, limit: usize) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(cx, buf, limit)).await
    }

    /// Ready when a read would not wait; with TLS, also when there is only a part of a record, so that a read may wait.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.front.borrow().as_ref().is_some_and(|front| front.is_read()) {
            return Poll::Ready(Ok(()));
        }
        match &self.transport {
            Transport::Tcp(stream) => {
                let mut stream = stream.borrow_mut();
                // Nobody knows; reading tells.
                if stream.dozes() { Poll::Ready(Ok(())) } else { stream.awake()?.poll_read_ready(cx) }
            }
            Transport::Unix(stream) => stream.borrow().poll_read_ready(cx),
            Transport::Tls(stream) => {
                self.push(cx);
                let mut stream = stream.borrow_mut();
                if tls::holds_plaintext(&mut stream) {
                    return Poll::Ready(Ok(()));
                }
                stream.get_ref().0.poll_readable(cx)
            }
        }
    }

    /// Goes on with sending what TLS holds, without waiting for it.
    #[inline]
    fn push(&self, cx: &mut Context<'_>) {
        if let Transport::Tls(stream) = &self.transport {
            // A failure shows again with the next read or write.
            let _ = tls::poll_flush(&mut stream.borrow_mut(), cx);
        }
    }

    /// Ready when everything that was written is in the hands of the operating system. At once, but for TLS.
    #[inline]
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.transport {
            Transport::Tcp(_) | Transport::Unix(_) => Poll::Ready(Ok(())),
            Transport::Tls(stream) => tls::poll_flush(&mut stream.borrow_mut(), cx),
        }
    }

    /// Holds back what is written from now on, as far as that saves system calls: [`Io::uncork`] sends it.
    pub fn cork(&self) {
        if let Transport::Tls(stream) = &self.transport {
            stream.borrow_mut().get_mut().0.cork();
        }
    }

    /// Sends what was held back, and holds nothing back any more. Ready at once where nothing can have been held back.
    pub fn uncork(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Transport::Tls(stream) = &self.transport {
            stream.borrow_mut().get_mut().0.uncork();
        }
        self.poll_flush(cx)
    }

    /// Whether its bytes are those of a socket, so that they may move by descriptor without being seen.
    pub fn is_plain(&self) -> bool {
        matches!(self.transport, Transport::Tcp(_) | Transport::Unix(_))
    }

    /// Does not hear of a TCP socket until it is read from and has nothing, or something else is done with it. Nobody may wait for it.
    pub fn doze(&self) {
        if let Transport::Tcp(stream) = &self.transport {
            stream.borrow_mut().doze();
        }
    }

    /// Runs a reading system call on the socket once it is readable; again after it said that it would block.
    pub fn poll_read_with<T>(
        &self,
        cx: &mut Context<'_>,
        mut call: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            ready!(self.poll_readable(cx))?;
            let result = match &self.transport {
                Transport::Tcp(stream) => {
                    let mut stream = stream.borrow_mut();
                    if stream.dozes() {
                        let result = call(stream.descriptor()?);
                        if would_block(&result) {
                            stream.awake()?;
                        }
                        result
                    } else {
                        let stream = &*stream.awake()?;
                        stream.try_io(Interest::READABLE, || call(stream.as_fd()))
                    }
                }
                Transport::Unix(stream) => {
                    let stream = stream.borrow();
                    stream.try_io(Interest::READABLE, || call(stream.as_fd()))
                }
                Transport::Tls(_) => Err(io::ErrorKind::InvalidInput.into()),
            };
            if !would_block(&result) {
                return Poll::Ready(result);
            }
        }
    }

    /// Runs a writing system call on the socket once it is writable; again after it said that it would block.
    pub fn poll_write_with<T>(
        &self,
        cx: &mut Context<'_>,
        mut call: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            let result = match &self.transport {
                Transport::Tcp(stream) => {
                    let mut stream = stream.borrow_mut();
                    let stream = &*stream.awake()?;
                    ready!(stream.poll_write_ready(cx))?;
                    stream.try_io(Interest::WRITABLE, || call(stream.as_fd()))
                }
                Transport::Unix(stream) => {
                    let stream = stream.borrow();
                    ready!(stream.poll_write_ready(cx))?;
                    stream.try_io(Interest::WRITABLE, || call(stream.as_fd()))
                }
                Transport::Tls(_) => Err(io::ErrorKind::InvalidInput.into()),
            };
            if !would_block(&result) {
                return Poll::Ready(result);
            }
        }
    }

    /// Writes once. With TLS some of it may still wait to be sent: see [`Io::poll_flush`].
    pub fn poll_write(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.count_sent(with!(self, stream => stream.poll_write(cx, data)))
    }

    /// Writes once from several pieces.
    pub fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.count_sent(with!(self, stream => stream.poll_write_vectored(cx, pieces)))
    }

    /// Writes all bytes.
    pub async fn write_all(&self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let n = poll_fn(|cx| self.poll_write(cx, data)).await?;
            if n == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            data = &data[n..];
        }
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Writes all of two pieces, in one system call where the socket takes them.
    pub async fn write_both(&self, mut first: &[u8], mut second: &[u8]) -> io::Result<()> {
        while !first.is_empty() && !second.is_empty() {
            let pieces = [IoSlice::new(first), IoSlice::new(second)];
            let n = poll_fn(|cx| self.poll_write_vectored(cx, &pieces)).await?;
            if n == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            let head = n.min(first.len());
            first = &first[head..];
            second = &second[n - head..];
        }
        self.write_all(first).await?;
        self.write_all(second).await
    }

    /// Says that nothing more will be written.
    pub async fn shutdown(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_shutdown_write(cx)).await
    }

    /// Says that nothing more will be written; see [`Io::shutdown`].
    pub fn poll_shutdown_write(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        with!(self, stream => stream.poll_shutdown(cx))
    }

    /// The local address, as far as the socket knows it.
    pub fn local_address(&self) -> Option<Address> {
        match &self.transport {
            Transport::Tcp(stream) => {
                let stream = stream.borrow();
                let address = socket2::SockRef::from(&stream.descriptor().ok()?).local_addr().ok()?;
                address.as_socket().map(Address::Socket)
            }
            Transport::Unix(stream) => Some(pipe_address(stream.borrow().local_addr().ok()?.as_pathname())),
            Transport::Tls(stream) => stream.borrow().get_ref().0.io().local_address(),
        }
    }

    /// Closes with a reset instead of an orderly end, so that the peer cannot take it for one.
    pub fn reset_on_close(&self) {
        match &self.transport {
            // Failing to set it leaves an orderly close, which is the next best thing.
            Transport::Tcp(stream) => {
                if let Ok(socket) = stream.borrow().descriptor() {
                    let _ = socket2::SockRef::from(&socket).set_linger(Some(std::time::Duration::ZERO));
                }
            }
            Transport::Unix(_) => {}
            Transport::Tls(stream) => stream.borrow().get_ref().0.io().reset_on_close(),
        }
    }
}

fn would_block<T>(result: &io::Result<T>) -> bool {
    matches!(result, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// Moves what fits from bytes that were read earlier into a reader's buffer. The memory goes with the last of them.
pub fn take_from(read: &mut BytesMut, buf: &mut ReadBuf<'_>) {
    let n = read.len().min(buf.remaining());
    buf.put_slice(&read[..n]);
    read.advance(n);
    if read.is_empty() {
        *read = BytesMut::new();
    }
}

/// The address of a unix socket's end.
pub fn pipe_address(path: Option<&std::path::Path>) -> Address {
    Address::Pipe(path.map(|p| p.to_string_lossy()).unwrap_or_default().as_ref().into())
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_read_into(cx, buf)
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        with!(self.get_mut(), stream => stream.poll_write(cx, data))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        with!(self.get_mut(), stream => stream.poll_write_vectored(cx, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Io::poll_flush(&self, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        with!(self.get_mut(), stream => stream.poll_shutdown(cx))
    }
}

use std::future::poll_fn;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn pair() -> (Records, UnixStream) {
    let (near, far) = UnixStream::pair().expect("a pair of sockets");
    for socket in [&near, &far] {
        socket.set_nonblocking(true).expect("a socket need not block");
    }
    let near = tokio::net::UnixStream::from_std(near).expect("a runtime");
    (Records::from(Io::from(near)), far)
}

/// What has arrived.
fn waiting(far: &UnixStream) -> Vec<u8> {
    let mut bytes = vec![0; 2 * HOLD];
    let n = { far }.read(&mut bytes).unwrap_or(0);
    bytes.truncate(n);
    bytes
}

async fn write(records: &mut Records, data: &[u8]) {
    let n = poll_fn(|cx| Pin::new(&mut *records).poll_write(cx, data)).await.expect("the peer is there");
    assert_eq!(n, data.len());
}

async fn flush(records: &mut Records) {
    poll_fn(|cx| Pin::new(&mut *records).poll_flush(cx)).await.expect("the peer is there");
}

#[tokio::test]
async fn what_is_written_between_cork_and_uncork_goes_at_once() {
    let (mut records, far) = pair();
    records.cork();
    write(&mut records, b"one").await;
    flush(&mut records).await;
    write(&mut records, b"two").await;
    assert_eq!((waiting(&far), records.holds()), (Vec::new(), true));
    records.uncork();
    flush(&mut records).await;
    assert_eq!((waiting(&far), records.holds()), (b"onetwo".to_vec(), false));
    write(&mut records, b"three").await;
    assert_eq!(waiting(&far), b"three");
    assert_eq!(records.held.capacity(), 0, "an idle connection keeps no buffer");
}

#[tokio::test]
async fn no_more_is_held_than_there_is_room_for() {
    let (mut records, far) = pair();
    records.cork();
    write(&mut records, &vec![b'a'; HOLD - 1]).await;
    write(&mut records, b"bc").await;
    assert_eq!(waiting(&far), vec![b'a'; HOLD - 1]);
    assert_eq!(&records.held[..], b"bc");
}

#[tokio::test]
async fn a_filled_read_is_followed_by_a_larger_one() {
    let (mut records, mut far) = pair();
    let sent: Vec<u8> = (0..5 * FULL).map(|n| (n / FULL) as u8).collect();
    far.write_all(&sent).expect("the socket has room");
    let mut first = vec![0; FULL];
    records.read_exact(&mut first).await.expect("there is enough");
    assert!(records.full && records.ahead.is_empty());
    let mut second = vec![0; FULL];
    records.read_exact(&mut second).await.expect("there is enough");
    assert_eq!(records.ahead.len(), 3 * FULL);
    poll_fn(|cx| records.poll_readable(cx)).await.expect("what was read ahead is there");
    let mut rest = vec![0; 3 * FULL];
    records.read_exact(&mut rest).await.expect("there is enough");
    assert_eq!([first, second, rest].concat(), sent);
    // A second full one, behind which nothing comes.
    far.write_all(&[0; FULL]).expect("the socket has room");
    records.read_exact(&mut [0; FULL]).await.expect("there is enough");
    assert!(records.full);
    let more = poll_fn(|cx| {
        let mut byte = [0];
        let polled = Pin::new(&mut records).poll_read(cx, &mut ReadBuf::new(&mut byte));
        Poll::Ready(polled.is_ready())
    });
    assert!(!more.await);
    assert_eq!(records.ahead.capacity(), 0, "an idle connection keeps no buffer");
}

#[tokio::test]
async fn what_is_held_goes_before_the_end() {
    let (mut records, mut far) = pair();
    records.cork();
    write(&mut records, b"last").await;
    records.shutdown().await.expect("the peer is there");
    let mut got = Vec::new();
    far.read_to_end(&mut got).expect("an orderly end");
    assert_eq!(got, b"last");
}

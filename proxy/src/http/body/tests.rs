use std::future::poll_fn;

use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use super::*;

/// Writes the frames, each as soon as there is room, to a peer that takes little at a time; what the peer got.
async fn written(framing: Framing, head: &[u8], frames: Vec<Frame>) -> Vec<u8> {
    let (near, mut far) = UnixStream::pair().expect("a pair of sockets");
    socket2::SockRef::from(&near).set_send_buffer_size(4096).expect("a socket's buffer can be set");
    let io = Io::from(near);
    let mut out = head.to_vec();
    let mut writer = BodyWriter::H1(H1Writer::new(&io, &mut out, framing, NameCase::Lower, true));
    let write = async {
        for frame in frames {
            writer.start(frame).expect("the frames fit the framing");
            poll_fn(|cx| writer.poll_ready(cx)).await.expect("the peer reads");
        }
        poll_fn(|cx| writer.poll_flush(cx)).await.expect("the peer reads");
        assert!(writer.is_done() && writer.left() == 0);
        io.shutdown().await.expect("the peer is there");
    };
    let mut got = Vec::new();
    let read = async {
        let mut piece = [0; 1000];
        while let Ok(n @ 1..) = far.read(&mut piece).await {
            got.extend_from_slice(&piece[..n]);
        }
    };
    tokio::join!(write, read);
    got
}

fn data(byte: u8, len: usize) -> Frame {
    Frame::Data(vec![byte; len].into(), false)
}

/// Pieces on both sides of what is copied and of what is collected.
const SIZES: [usize; 8] = [1, COPY_UP_TO, COPY_UP_TO + 1, 3, 16_384, COLLECT, 100, COPY_UP_TO * 2];

#[tokio::test]
async fn pieces_of_a_length_go_in_order() {
    let body: Vec<u8> = (b'a'..).zip(SIZES).flat_map(|(byte, len)| vec![byte; len]).collect();
    let mut frames: Vec<Frame> = (b'a'..).zip(SIZES).map(|(byte, len)| data(byte, len)).collect();
    frames.push(Frame::End);
    let got = written(Framing::Length(body.len() as u64), b"head", frames).await;
    assert!(got == [&b"head"[..], &body].concat(), "{} bytes came of {}", got.len(), body.len() + 4);
}

#[tokio::test]
async fn chunks_keep_their_framing_around_large_pieces() {
    let mut expected = b"head".to_vec();
    for (byte, len) in (b'a'..).zip(SIZES) {
        expected.extend_from_slice(format!("{len:x}\r\n").as_bytes());
        expected.extend(vec![byte; len]);
        expected.extend_from_slice(b"\r\n");
    }
    expected.extend_from_slice(b"0\r\n\r\n");
    let mut frames: Vec<Frame> = (b'a'..).zip(SIZES).map(|(byte, len)| data(byte, len)).collect();
    if let Some(Frame::Data(_, end)) = frames.last_mut() {
        *end = true;
    }
    let got = written(Framing::Chunked, b"head", frames).await;
    assert!(got == expected, "{} bytes came of {}", got.len(), expected.len());
}

#[tokio::test]
async fn small_and_large_pieces_are_collected_up_to_a_bound() {
    let (near, _far) = UnixStream::pair().expect("a pair of sockets");
    let io = Io::from(near);
    let mut out = Vec::new();
    let mut writer = H1Writer::new(&io, &mut out, Framing::Length(u64::MAX), NameCase::Lower, true);
    let mut held = Vec::new();
    for _ in 0..8 {
        writer.start(data(b'x', COLLECT / 4)).expect("it fits");
        poll_fn(|cx| writer.poll_ready(cx)).await.expect("the socket has room");
        held.push(writer.left());
    }
    let quarter = COLLECT / 4;
    assert_eq!(held, [quarter, quarter * 2, quarter * 3, 0, quarter, quarter * 2, quarter * 3, 0]);
}

#[test]
fn reads_grow_where_they_are_filled() {
    assert_eq!(grown(FIRST_READ, 100), FIRST_READ);
    assert_eq!(grown(FIRST_READ, FIRST_READ), FIRST_READ * GROWTH);
    assert_eq!(grown(LARGEST_READ, LARGEST_READ), LARGEST_READ);
}

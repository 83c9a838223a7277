//! Each library undoes what it did, whatever the pieces; bombs and nonsense are found.

use super::*;

fn codings() -> [(Coding, Decoding); 3] {
    let gzip = GzipCoding { level: -1, memory: 5, window_bits: 12, strategy: GzipStrategy::Default };
    let brotli = BrotliCoding {
        quality: 3,
        mode: BrotliMode::Generic,
        window_bits: 18,
        block_bits: 24,
        no_context_modeling: false,
    };
    let zstd = ZstdCoding { level: 3, checksum: true, strategy: 0, dictionaries: Arc::default() };
    [
        (Coding::Gzip(gzip), Decoding::Gzip(GzipDecoding { window_bits: 15, ratio: 100 })),
        (Coding::Brotli(brotli), Decoding::Brotli),
        (Coding::Zstd(zstd), Decoding::Zstd(ZstdDecoding::default())),
    ]
}

fn text(length: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(length as u64);
    (0..length).map(|_| rng.alphanumeric() as u8).collect()
}

#[test]
fn every_piece_can_be_read_at_once() {
    for (coding, decoding) in codings() {
        let (mut encoder, mut decoder) = (coding.encoder(), decoding.decoder());
        let body = text(100_000);
        let mut read = Vec::new();
        let mut pieces = body.chunks(30_000).peekable();
        while let Some(piece) = pieces.next() {
            let before = read.len();
            let mut coded = Vec::new();
            encoder.encode(piece, pieces.peek().is_none(), &mut coded).unwrap();
            for part in coded.chunks(1000) {
                decoder.decode(part, decoding.most(part.len()), &mut read).unwrap();
            }
            assert_eq!(read[before..], *piece, "{}", coding.name());
        }
        assert_eq!(read, body);
    }
}

#[test]
fn the_end_may_come_alone() {
    for (coding, decoding) in codings() {
        let (mut encoder, mut decoder) = (coding.encoder(), decoding.decoder());
        let mut coded = Vec::new();
        encoder.encode(b"hello", false, &mut coded).unwrap();
        let flushed = coded.len();
        encoder.encode(b"", true, &mut coded).unwrap();
        assert!(coded.len() > flushed, "{}", coding.name());
        coded.extend_from_slice(b"rest");
        let mut read = Vec::new();
        let _ = decoder.decode(&coded, 4096, &mut read);
        assert_eq!(read, b"hello", "{}", coding.name());
    }
}

#[test]
fn bombs_are_found() {
    for (coding, decoding) in codings() {
        let mut coded = Vec::new();
        coding.encoder().encode(&vec![0; 4_000_000], true, &mut coded).unwrap();
        let mut read = Vec::new();
        let most = decoding.most(coded.len());
        let found = decoding.decoder().decode(&coded, most, &mut read);
        assert_eq!(found, Err(CodingError::Ratio), "{}", coding.name());
        assert!(read.len() <= most + ROOM, "{}", coding.name());
    }
}

#[test]
fn nonsense_is_found() {
    for (_, decoding) in codings() {
        let found = decoding.decoder().decode(b"\xffnonsense, and more of it", 4096, &mut Vec::new());
        assert!(found.is_err(), "{}", decoding.name());
    }
}

#[test]
fn a_frame_without_a_dictionary_needs_none() {
    let decoding =
        Decoding::Zstd(ZstdDecoding { dictionaries: [text(64).into_boxed_slice()].into_iter().collect() });
    let (plain, _) = &codings()[2];
    let mut coded = Vec::new();
    plain.encoder().encode(b"hello", true, &mut coded).unwrap();
    let mut read = Vec::new();
    decoding.decoder().decode(&coded, 4096, &mut read).unwrap();
    assert_eq!(read, b"hello");
}

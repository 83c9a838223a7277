//! Headers as they come, in parts, and as they should not.

use super::*;

fn v2(command: u8, family: u8, addresses: &[u8], fields: &[u8]) -> Vec<u8> {
    let length = (addresses.len() + fields.len()) as u16;
    [V2, &[command, family], &length.to_be_bytes(), addresses, fields].concat()
}

const FOUR: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 0x03, 0xe8, 0x07, 0xd0];

fn addresses(source: &str, destination: &str) -> (SocketAddr, SocketAddr) {
    (source.parse().unwrap(), destination.parse().unwrap())
}

#[track_caller]
fn whole(bytes: &[u8], version: Version, wanted: Option<(SocketAddr, SocketAddr)>) {
    for end in 0..bytes.len() {
        assert_eq!(parse(&bytes[..end]), Parsed::Part, "{end} of {bytes:?}");
    }
    let with_more = [bytes, b"GET / HTTP/1.1\r\n"].concat();
    let Parsed::Whole(header) = parse(&with_more) else { panic!("{bytes:?}: {:?}", parse(&with_more)) };
    assert_eq!((header.version, header.length, header.addresses), (version, bytes.len(), wanted));
}

#[test]
fn headers_are_read_however_they_are_cut() {
    let four = Some(addresses("1.2.3.4:1000", "5.6.7.8:2000"));
    whole(b"PROXY TCP4 1.2.3.4 5.6.7.8 1000 2000\r\n", Version::V1, four);
    whole(b"PROXY TCP6 1::1 2::2 0 65535\r\n", Version::V1, Some(addresses("[1::1]:0", "[2::2]:65535")));
    whole(b"PROXY UNKNOWN\r\n", Version::V1, None);
    whole(b"PROXY UNKNOWN what ever\r\n", Version::V1, None);
    whole(&v2(0x21, 0x11, &FOUR, b""), Version::V2, four);
    whole(&v2(0x21, 0x12, &FOUR, b""), Version::V2, four);
    whole(&v2(0x20, 0x00, b"", b""), Version::V2, None);
    whole(&v2(0x20, 0x11, &FOUR, b""), Version::V2, None);
    whole(&v2(0x20, 0xff, b"anything", b""), Version::V2, None);
    let mut six = [[0; 15], [0; 15]].map(|zeros| [&[0xfd][..], &zeros].concat()).concat();
    six.extend([0, 1, 0, 2]);
    whole(&v2(0x21, 0x21, &six, b""), Version::V2, Some(addresses("[fd00::]:1", "[fd00::]:2")));
}

#[test]
fn fields_are_whole_or_the_header_is_bad() {
    let bytes = v2(0x21, 0x11, &FOUR, b"\xea\0\x03abc\x04\0\0");
    let Parsed::Whole(header) = parse(&bytes) else { panic!("{bytes:?}") };
    assert_eq!(header.fields.iter().collect::<Vec<_>>(), [(0xea, &b"abc"[..]), (4, b"")]);
    let longest = v2(0x21, 0x11, &FOUR, &[&[4, 0xff, 0xf0][..], &vec![0; 0xfff0]].concat());
    assert!(longest.len() <= LONGEST && matches!(parse(&longest), Parsed::Whole(_)));
    for fields in [&b"\xea\0\x09abc"[..], b"\xea", b"\xea\0", b"\xea\0\0\x01"] {
        assert_eq!(parse(&v2(0x21, 0x11, &FOUR, fields)), Parsed::Bad(Version::V2), "{fields:?}");
    }
}

#[test]
fn faults_are_told_apart_from_other_protocols() {
    for bad in [
        &b"PROXY TCP4 1.2.3.999 5.6.7.8 1000 2000\r\n"[..],
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1000\r\n",
        b"PROXY TCP4 1::1 5.6.7.8 1000 2000\r\n",
        b"PROXY TCP4 224.0.0.1 5.6.7.8 1000 2000\r\n",
        b"PROXY TCP4 255.255.255.255 5.6.7.8 1000 2000\r\n",
        b"PROXY TCP4 0.0.0.0 5.6.7.8 1000 2000\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 99999 2000\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 +1 2000\r\n",
        b"PROXY TCP4  1.2.3.4 5.6.7.8 1000 2000\r\n",
        b"PROXY UDP4 1.2.3.4 5.6.7.8 1000 2000\r\n",
        b"PROXY \r\n",
    ] {
        assert_eq!(parse(bad), Parsed::Bad(Version::V1), "{:?}", String::from_utf8_lossy(bad));
    }
    for (command, family) in [(0x31, 0x11), (0x22, 0x11), (0x21, 0x00), (0x21, 0x31), (0x21, 0x13)] {
        assert_eq!(parse(&v2(command, family, &FOUR, b"")), Parsed::Bad(Version::V2), "{command} {family}");
    }
    assert_eq!(parse(&v2(0x21, 0x11, &FOUR[..8], b"")), Parsed::Bad(Version::V2));
    assert_eq!(parse(&v2(0x21, 0x21, &FOUR, b"")), Parsed::Bad(Version::V2));
    assert_eq!(parse(&[V1, &[b'1'; 120]].concat()), Parsed::Endless);
    for other in [&b"G"[..], b"PROXYTCP", b"PRI * HTTP/2.0\r\n", b"\r\n\r\nx", b"\0"] {
        assert_eq!(parse(other), Parsed::Absent, "{other:?}");
    }
}

#[test]
fn no_single_wrong_byte_panics() {
    let good = v2(0x21, 0x11, &FOUR, b"\xea\0\x03abc");
    for good in [&good[..], b"PROXY TCP4 1.2.3.4 5.6.7.8 1000 2000\r\n"] {
        for at in 0..good.len() {
            for flip in [1, 0x7f, 0xff] {
                let mut bad = good.to_vec();
                bad[at] ^= flip;
                if let Parsed::Whole(header) = parse(&bad) {
                    assert!(header.length <= bad.len());
                }
            }
        }
    }
}

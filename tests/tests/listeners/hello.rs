//! ClientHellos by hand: what no TLS library would send.

fn vector(bytes: usize, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&length[4 - bytes..], content].concat()
}

/// A ClientHello with these extensions, in records of at most `size` bytes.
pub fn hello(size: usize, extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let extensions: Vec<u8> =
        extensions.iter().flat_map(|(kind, e)| [&kind.to_be_bytes()[..], &vector(2, e)].concat()).collect();
    let parts =
        [&[3, 3][..], &[7; 32], &[0], &vector(2, &[0x13, 1, 0xc0, 0x2f]), &[1, 0], &vector(2, &extensions)];
    let message = [&[1][..], &vector(3, &parts.concat())].concat();
    message.chunks(size).flat_map(|part| [&[22, 3, 1][..], &vector(2, part)].concat()).collect()
}

/// `server_name`
pub fn sni(name: &str) -> (u16, Vec<u8>) {
    (0, vector(2, &[&[0][..], &vector(2, name.as_bytes())].concat()))
}

/// `application_layer_protocol_negotiation`
pub fn alpn(names: &[&str]) -> (u16, Vec<u8>) {
    (16, vector(2, &names.iter().flat_map(|name| vector(1, name.as_bytes())).collect::<Vec<_>>()))
}

/// `padding`
pub fn padding(length: usize) -> (u16, Vec<u8>) {
    (21, vec![0; length])
}

//! An inbound mail as SendGrid's Inbound Parse posts it. Source:
//! twilio.com/docs/sendgrid/for-developers/parsing-email, its default boundary.

pub const CONTENT_TYPE: &str = "multipart/form-data; boundary=xYzZY";

/// The smallest valid PNG, one pixel: 67 bytes, many of them no UTF-8.
pub const PNG: &[u8] = &[
    0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 13, b'I', b'H', b'D', b'R', 0, 0, 0,
    1, 0, 0, 0, 1, 8, 6, 0, 0, 0, 0x1f, 0x15, 0xc4, 0x89, 0, 0, 0, 10, b'I', b'D', b'A', b'T',
    0x78, 0x9c, 0x63, 0, 1, 0, 0, 5, 0, 1, 0x0d, 0x0a, 0x2d, 0xb4, 0, 0, 0, 0, b'I', b'E', b'N',
    b'D', 0xae, 0x42, 0x60, 0x82,
];

/// A mail with a latin-1 text, a PNG and `attachment` bytes of every value as a second attachment.
pub fn mail(attachment: usize) -> Vec<u8> {
    let mut body = Vec::new();
    let mut part = |head: &str, content: &[u8]| {
        body.extend_from_slice(b"--xYzZY\r\nContent-Disposition: form-data; ");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(b"\r\n\r\n");
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    };
    part("name=\"to\"", b"inbound@example.com");
    part("name=\"from\"", "Zo\u{eb} \"Z\" <zoe@example.com>".as_bytes());
    part("name=\"subject\"", "Gr\u{fc}\u{df}e \u{1f600} ${x} #set($y = 1) \\".as_bytes());
    // 0xe9 alone is é in ISO-8859-1 and no UTF-8 at all
    part("name=\"text\"", b"d\xe9j\xe0 vu\r\n\x00\x01\xff");
    part(
        "name=\"charsets\"",
        br#"{"to":"UTF-8","subject":"UTF-8","from":"UTF-8","text":"iso-8859-1"}"#,
    );
    part("name=\"envelope\"", br#"{"to":["inbound@example.com"],"from":"zoe@example.com"}"#);
    part("name=\"attachments\"", b"2");
    part("name=\"attachment1\"; filename=\"pixel.png\"\r\nContent-Type: image/png", PNG);
    let noise: Vec<u8> = (0..attachment).map(|i| (i * 31 + i / 251) as u8).collect();
    part(
        "name=\"attachment2\"; filename=\"noise.bin\"\r\nContent-Type: application/octet-stream",
        &noise,
    );
    body.extend_from_slice(b"--xYzZY--\r\n");
    body
}

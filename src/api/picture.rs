//! Pictures as the API takes them (<https://docs.anthropic.com/en/docs/build-with-claude/vision>). Pure.
//!
//! What a file holds is told by its bytes, never by its name: the API refuses a picture under a wrong type. It refuses
//! the whole request for one bad picture, and every later request that repeats it, so a file is looked through first.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

/// The largest picture, in bytes of base64.
const LARGEST: usize = 5 * 1024 * 1024;

/// The longest side of a picture, in pixels.
const LONGEST_SIDE: u32 = 8000;

/// The API makes larger pictures smaller itself, to this longest side in pixels.
const USEFUL_SIDE: u32 = 1568;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Format {
    Png,
    Jpeg,
    Gif,
    Webp,
}

/// A picture that can be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    format: Format,
    /// Width and height in pixels.
    size: (u32, u32),
    /// In base64.
    data: String,
}

impl Format {
    /// The format in which the API takes this file; None if it is no picture.
    pub fn of(file: &[u8]) -> Option<Format> {
        match file {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Format::Png),
            [0xff, 0xd8, 0xff, ..] => Some(Format::Jpeg),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Format::Gif),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Format::Webp),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Format::Png => "PNG",
            Format::Jpeg => "JPEG",
            Format::Gif => "GIF",
            Format::Webp => "WebP",
        }
    }

    /// Width and height in pixels. None if the file is damaged or not whole.
    fn size(self, file: &[u8]) -> Option<(u32, u32)> {
        let size = match self {
            Format::Png => png_size(file),
            Format::Jpeg => jpeg_size(file),
            Format::Gif => Some((little(file, 6, 2)?, little(file, 8, 2)?)),
            Format::Webp => webp_size(file),
        };
        size.filter(|(width, height)| *width > 0 && *height > 0)
    }
}

impl Picture {
    /// The picture in the file at `path`. Fails if the API would refuse it, with what is wrong and how to change that.
    pub fn new(path: &str, format: Format, file: &[u8]) -> Result<Picture, String> {
        let name = format.name();
        let Some((width, height)) = format.size(file) else {
            return Err(format!("{path} begins like a {name} picture, but it is damaged or not whole"));
        };
        // Four characters for three bytes.
        let length = file.len().div_ceil(3) * 4;
        if length > LARGEST || width.max(height) > LONGEST_SIDE {
            return Err(format!(
                "{path} is a {name} picture of {width} x {height} pixels and {} kB, and the API takes {LONGEST_SIDE} \
                 pixels a side and {} kB: make a smaller copy, {}",
                file.len() / 1024,
                LARGEST / 4 * 3 / 1024,
                how_to_shrink(path),
            ));
        }
        Ok(Picture { format, size: (width, height), data: BASE64_STANDARD.encode(file) })
    }

    /// `PNG picture, 800 x 600 pixels`
    pub fn description(&self) -> String {
        let (width, height) = self.size;
        format!("{} picture, {width} x {height} pixels", self.format.name())
    }

    /// The content block.
    pub fn to_value(&self) -> Value {
        let media_type = format!("image/{}", self.format.name().to_ascii_lowercase());
        json!({"type": "image", "source": {"type": "base64", "media_type": media_type, "data": self.data}})
    }
}

/// Two programs that make a smaller copy of the picture; one of them may be there.
fn how_to_shrink(path: &str) -> String {
    let path = format!("'{}'", path.replace('\'', r"'\''"));
    let side = USEFUL_SIDE;
    format!(
        "with `convert {path} -resize '{side}x{side}>' smaller.jpg` or with \
         `ffmpeg -i {path} -vf scale={side}:{side}:force_original_aspect_ratio=decrease smaller.jpg`"
    )
}

/// Walks over the chunks (<https://www.w3.org/TR/png/#5Chunk-layout>): one has data, and the last one is `IEND`.
fn png_size(file: &[u8]) -> Option<(u32, u32)> {
    let (mut at, mut has_data) = (8, false);
    while file.get(at + 4..at + 8)? != b"IEND" {
        has_data |= file.get(at + 4..at + 8)? == b"IDAT";
        // Length, type and checksum take twelve bytes.
        at = at.checked_add(12)?.checked_add(big(file, at, 4)? as usize)?;
    }
    let is_whole = has_data && file.get(12..16)? == b"IHDR";
    is_whole.then_some((big(file, 16, 4)?, big(file, 20, 4)?))
}

/// Walks over the segments (ITU T.81, B.1) to the first scan, behind which the end of the picture comes.
fn jpeg_size(file: &[u8]) -> Option<(u32, u32)> {
    let mut size = None;
    let mut at = 2;
    loop {
        match file.get(at..at + 2)? {
            // A marker may have any number of these before it.
            [0xff, 0xff] => at += 1,
            // The start of a scan.
            [0xff, 0xda] => break,
            [0xff, marker] => {
                // The start of a frame: all from C0 to CF but the tables in between.
                if matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
                    size = Some((big(file, at + 7, 2)?, big(file, at + 5, 2)?));
                }
                at += 2 + big(file, at + 2, 2)?.max(2) as usize;
            }
            _ => return None,
        }
    }
    memchr::memchr_iter(0xd9, file).any(|end| end > at && file[end - 1] == 0xff).then_some(size?)
}

/// The first chunk tells which kind of WebP it is (<https://developers.google.com/speed/webp/docs/riff_container>).
fn webp_size(file: &[u8]) -> Option<(u32, u32)> {
    let is_whole = file.len() as u64 >= u64::from(little(file, 4, 4)?) + 8;
    let size = match file.get(12..16)? {
        b"VP8 " => (little(file, 26, 2)? & 0x3fff, little(file, 28, 2)? & 0x3fff),
        b"VP8L" => {
            let bits = little(file, 21, 4)?;
            ((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1)
        }
        b"VP8X" => (little(file, 24, 3)? + 1, little(file, 27, 3)? + 1),
        _ => return None,
    };
    is_whole.then_some(size)
}

/// The number in `count` bytes, the most significant one first.
fn big(file: &[u8], at: usize, count: usize) -> Option<u32> {
    let bytes = file.get(at..at.checked_add(count)?)?;
    Some(bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

/// The number in `count` bytes, the least significant one first.
fn little(file: &[u8], at: usize, count: usize) -> Option<u32> {
    let bytes = file.get(at..at.checked_add(count)?)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last two chunks of a PNG.
    const DATA: &[u8] = b"\0\0\0\x01IDAT.CRC!\0\0\0\0IENDCRC!";

    fn png(width: u32, height: u32, rest: &[u8]) -> Vec<u8> {
        let header = [&b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR"[..], &width.to_be_bytes(), &height.to_be_bytes()];
        [&header.concat(), &b"\x08\x06\0\0\0CRC!"[..], rest].concat()
    }

    /// With a comment that holds what looks like a frame, and fill bytes before the frame.
    fn jpeg(end: &[u8]) -> Vec<u8> {
        let comment = b"\xff\xd8\xff\xfe\0\x0b\xff\xc0\0\x11\x08\0\x01\0\x01";
        let frame = b"\xff\xff\xff\xc2\0\x11\x08\x02\x58\x03\x20\x03\x01\x11\0\x02\x11\0\x03\x11\0";
        [&comment[..], frame, b"\xff\xda\0\x02data", end].concat()
    }

    fn webp(chunk: &[u8]) -> Vec<u8> {
        let length = (chunk.len() as u32 + 4).to_le_bytes();
        [&b"RIFF"[..], &length, b"WEBP", chunk].concat()
    }

    #[track_caller]
    fn check(file: &[u8], expected: Option<(Format, Option<(u32, u32)>)>) {
        assert_eq!(Format::of(file).map(|format| (format, format.size(file))), expected);
    }

    #[test]
    fn the_bytes_tell_format_and_size() {
        let size = Some((800, 600));
        check(&png(800, 600, DATA), Some((Format::Png, size)));
        let comment = [b"\0\0\0\x02tEXthiCRC!", DATA, b"and more"].concat();
        check(&png(800, 600, &comment), Some((Format::Png, size)));
        check(&jpeg(b"\xff\xd9"), Some((Format::Jpeg, size)));
        check(b"GIF89a\x20\x03\x58\x02\0\0\0;", Some((Format::Gif, size)));
        check(&webp(b"VP8 \0\0\0\0\0\0\0\x9d\x01\x2a\x20\x03\x58\x02"), Some((Format::Webp, size)));
        check(&webp(b"VP8L\0\0\0\0\x2f\x1f\xc3\x95\0"), Some((Format::Webp, size)));
        check(&webp(b"VP8X\0\0\0\0\0\0\0\0\x1f\x03\0\x57\x02\0"), Some((Format::Webp, size)));
    }

    #[test]
    fn what_is_damaged_or_not_whole_has_no_size() {
        check(&png(800, 600, b""), Some((Format::Png, None)));
        check(&png(800, 600, b"\0\0\0\0IENDCRC!"), Some((Format::Png, None)));
        check(&png(800, 600, b"\0\0\x09\0IDAT"), Some((Format::Png, None)));
        check(&png(800, 600, b"\xff\xff\xff\xffIDAT"), Some((Format::Png, None)));
        check(&png(0, 600, DATA), Some((Format::Png, None)));
        check(&jpeg(b""), Some((Format::Jpeg, None)));
        check(b"\xff\xd8\xff\xe0\0\0\0\0\0\0", Some((Format::Jpeg, None)));
        check(b"GIF89a\x20\x03", Some((Format::Gif, None)));
        let whole = webp(b"VP8L\0\0\0\0\x2f\x1f\xc3\x95\0");
        check(&whole[..whole.len() - 1], Some((Format::Webp, None)));
        check(b"RIFF\x04\0\0\0WEBP", Some((Format::Webp, None)));
    }

    #[test]
    fn what_is_no_picture_has_no_format() {
        for file in
            [&b""[..], b"<html>404</html>", b"\x89PNG", b"GIF", b"RIFF\0\0\0\0WAVEfmt ", b"BM\0\0\0\0"]
        {
            check(file, None);
        }
    }

    #[test]
    fn what_the_api_would_refuse_is_refused_with_a_way_out() {
        let end = DATA;
        let new =
            |file: &[u8]| Picture::new("it's.png", Format::Png, file).map(|picture| picture.description());
        assert_eq!(new(&png(8000, 1, end)), Ok("PNG picture, 8000 x 1 pixels".to_owned()));
        let error = new(&png(1, 8001, end)).unwrap_err();
        assert!(error.starts_with("it's.png is a PNG picture of 1 x 8001 pixels and 0 kB"), "{error}");
        assert!(error.contains(r"`convert 'it'\''s.png' -resize '1568x1568>' smaller.jpg`"), "{error}");
        let fill = LARGEST / 4 * 3 - png(1, 1, end).len();
        let filled = |length: usize| png(1, 1, &[end, &vec![0; length][..]].concat());
        assert!(new(&filled(fill)).is_ok());
        assert!(new(&filled(fill + 1)).unwrap_err().contains("and 3840 kB"));
    }
}

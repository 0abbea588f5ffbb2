//! The answer to a request, without the credential in it: a server may repeat that.

use std::io::{self, Read};

use super::recording::Recording;
use crate::secrets::{MaskStream, Secrets};

/// What came back; the body is read as it arrives.
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Body,
}

/// The bytes of an answer, without the credential, recorded as they are read where that was asked for.
pub struct Body {
    reader: Box<dyn Read + Send>,
    mask: MaskStream,
    /// Masked, and from `next` on not handed on yet.
    masked: Vec<u8>,
    next: usize,
    pub recording: Option<Recording>,
}

impl Response {
    /// The value of the header `name`, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl Body {
    pub fn new(reader: Box<dyn Read + Send>, secrets: &Secrets) -> Body {
        Body { reader, mask: secrets.stream(), masked: Vec::new(), next: 0, recording: None }
    }

    fn read_masked(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.next == self.masked.len() {
            let read = self.reader.read(buffer)?;
            self.masked.clear();
            self.next = 0;
            let keep = &mut |bytes: &[u8]| self.masked.extend_from_slice(bytes);
            match read {
                0 => self.mask.end(keep),
                n => self.mask.pass(&buffer[..n], keep),
            }
            if read == 0 {
                break;
            }
        }
        let n = (&self.masked[self.next..]).read(buffer)?;
        self.next += n;
        Ok(n)
    }

    /// The reply is whole: the recording of it is written now, and what follows is not in it.
    pub fn complete(&mut self) {
        self.recording = None;
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.read_masked(buffer)?;
        if let Some(recording) = &mut self.recording {
            recording.add(&buffer[..n]);
        }
        Ok(n)
    }
}

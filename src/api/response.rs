//! A response of the server, with secrets masked: a server may repeat the credential.

use std::io::{self, Read};
use std::time::Duration;

use crate::secrets::{MaskStream, Secrets};

pub struct Response {
    pub status: u16,
    /// The names are in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Body,
    /// How long the body may bring nothing but signs of life.
    pub patience: Duration,
}

/// The masked bytes of a response, read as they arrive.
pub struct Body {
    reader: Box<dyn Read + Send>,
    mask: MaskStream,
    /// Masked bytes; those before `next` were returned.
    masked: Vec<u8>,
    next: usize,
    /// A copy of all that was returned, if it is to be recorded.
    pub copy: Option<Vec<u8>>,
}

impl Response {
    /// The value of the header `name`, which is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl Body {
    pub fn new(reader: impl Read + Send + 'static, secrets: &Secrets) -> Body {
        Body { reader: Box::new(reader), mask: secrets.stream(), masked: Vec::new(), next: 0, copy: None }
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.next == self.masked.len() {
            let read = self.reader.read(buffer)?;
            self.masked.clear();
            self.next = 0;
            let keep = &mut |bytes: &[u8]| self.masked.extend_from_slice(bytes);
            if read == 0 {
                self.mask.end(keep);
                break;
            }
            self.mask.pass(&buffer[..read], keep);
        }
        let n = (&self.masked[self.next..]).read(buffer)?;
        self.next += n;
        if let Some(copy) = &mut self.copy {
            copy.extend_from_slice(&buffer[..n]);
        }
        Ok(n)
    }
}

//! Plain lines from standard input, where there is no terminal that could do more.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io::{self, Write},
    rc::Rc,
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, select};

use super::question::{consent, question};
use crate::{
    error::{Error, Result},
    tools::approval::{Asker, Consent},
};

/// What was typed before a question came is read within this time; it is no answer to it.
const TYPED_AHEAD: Duration = Duration::from_millis(50);

pub struct Lines {
    received: Receiver<String>,
    /// Typed before a question was asked, and meant for something else.
    ahead: RefCell<VecDeque<String>>,
}

impl Lines {
    /// Reads in a thread of its own, one line ahead at the most. Fails when there can't be another thread.
    pub fn read() -> Result<Rc<Lines>> {
        let (sender, received) = crossbeam_channel::bounded(0);
        let read = move || {
            let mut bytes = Vec::new();
            while let Ok(1..) = io::BufRead::read_until(&mut io::stdin().lock(), b'\n', &mut bytes)
            {
                let line = String::from_utf8_lossy(&bytes).into_owned();
                bytes.clear();
                if sender.send(line).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new()
            .name("input".into())
            .spawn(read)
            .map_err(|err| Error::System {
                doing: "start a thread",
                err,
            })?;
        Ok(Rc::new(Lines {
            received,
            ahead: RefCell::default(),
        }))
    }

    /// The next line; None at the end of input. Fails when a signal comes.
    pub fn next(&self, signals: &Receiver<i32>) -> Result<Option<String>> {
        if let Some(line) = self.ahead.borrow_mut().pop_front() {
            return Ok(Some(line));
        }
        select! {
            recv(self.received) -> line => Ok(line.ok()),
            recv(signals) -> signal => Err(Error::Interrupted(signal.unwrap_or_default())),
        }
    }

    /// Asks on standard error.
    pub fn asker(self: Rc<Lines>) -> Asker {
        Box::new(move |act, always, signals| {
            while let Ok(line) = self.received.recv_timeout(TYPED_AHEAD) {
                self.ahead.borrow_mut().push_back(line);
            }
            let mut text = question(act, always);
            loop {
                // Nobody who can't read it answers.
                let _ = write!(io::stderr(), "{text}\n? ");
                text.clear();
                select! {
                    recv(self.received) -> line => match line {
                        Ok(line) => if let Some(consent) = consent(&line, always) {
                            return consent;
                        },
                        Err(_) => return Consent::No,
                    },
                    recv(signals) -> signal => return Consent::Interrupted(signal.unwrap_or_default()),
                }
            }
        })
    }
}

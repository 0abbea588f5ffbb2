//! Plain lines from standard input, where there is no terminal that could do more.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io::{self, Write},
    rc::Rc,
    time::Duration,
};

use crossbeam_channel::Receiver;

use super::question::question;
use crate::{
    error::{Error, Result},
    threads,
    tools::approval::Asker,
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
            while let Ok(1..) = io::BufRead::read_until(&mut io::stdin().lock(), b'\n', &mut bytes) {
                let line = String::from_utf8_lossy(&bytes).into_owned();
                bytes.clear();
                if sender.send(line).is_err() {
                    return;
                }
            }
        };
        threads::start("input", read).map_err(|err| Error::System { doing: "start a thread", err })?;
        Ok(Rc::new(Lines { received, ahead: RefCell::default() }))
    }

    /// Where lines come from, for those who wait for more than one thing; but first `ahead`.
    pub fn received(&self) -> &Receiver<String> {
        &self.received
    }

    /// What was typed before a question came.
    pub fn ahead(&self) -> Option<String> {
        self.ahead.borrow_mut().pop_front()
    }

    /// Asks on standard error.
    pub fn asker(self: Rc<Lines>) -> Asker {
        Box::new(move |act, always| {
            while let Ok(line) = self.received.recv_timeout(TYPED_AHEAD) {
                self.ahead.borrow_mut().push_back(line);
            }
            // Nobody who can't read it answers.
            let _ = write!(io::stderr(), "{}\n? ", question(act, always));
            self.received.clone()
        })
    }
}

//! A machine for tests whose programs say what a list says.

use std::cell::RefCell;
use std::io;
use std::net::IpAddr;

use crate::system::{Answer, Call, Privileges, System};

/// Programs with their answers; one that is not in the list does not exist.
pub(crate) struct Written {
    answers: Vec<(String, String)>,
    pub(crate) privileges: Privileges,
    /// Everything that was run, as `program arguments`, and what it read.
    pub(crate) ran: RefCell<Vec<(String, String)>>,
}

impl Written {
    /// Answers by program, or by program and arguments; one that begins with `!` is a failure.
    pub(crate) fn new(answers: &[(&str, &str)]) -> Self {
        Self {
            answers: answers.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect(),
            privileges: Privileges { net_admin: true, net_raw: true },
            ran: RefCell::default(),
        }
    }
}

impl System for Written {
    fn run(&self, call: &Call) -> io::Result<Answer> {
        let line = format!("{} {}", call.program, call.arguments.join(" "));
        self.ran.borrow_mut().push((line.trim().to_owned(), call.input.clone()));
        let found = self.answers.iter().find(|(name, _)| *name == call.program || line.trim() == name);
        let (_, text) = found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(match text.strip_prefix('!') {
            Some(error) => Answer { error: error.to_owned(), ..Answer::default() },
            None => Answer { success: true, output: text.clone(), ..Answer::default() },
        })
    }

    fn privileges(&self) -> Privileges {
        self.privileges
    }

    fn enter_network_namespace(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

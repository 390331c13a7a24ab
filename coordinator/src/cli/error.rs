//! How a command ends: one exit code per kind of answer, and errors that say what, why and what to try.
use std::fmt;

/// Exit codes of `wemixfleet`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// The fleet was asked and says no, or the rollout did not succeed.
    No = 1,
    /// Wrong usage, or the fleet could not be asked.
    Usage = 2,
    /// Some of what was asked was done.
    Partly = 3,
    /// Refused by a safety rule.
    Unsafe = 5,
    /// Waited longer than allowed.
    TimedOut = 124,
}

/// Why a command did not do what was asked.
#[derive(Debug)]
pub struct Failure {
    /// Exit code.
    pub exit: Exit,
    /// What failed, naming the thing.
    pub what: String,
    /// Why, when known.
    pub why: Option<String>,
    /// What to try.
    pub hint: Option<String>,
}

impl Failure {
    /// Wrong usage, or the fleet could not be asked (exit 2).
    pub fn usage(what: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, what: what.into(), why: None, hint: None }
    }

    /// The fleet says no (exit 1).
    pub fn no(what: impl Into<String>) -> Self {
        Self { exit: Exit::No, what: what.into(), why: None, hint: None }
    }

    /// Another exit code.
    pub fn with(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), why: None, hint: None }
    }

    /// Adds the cause, with everything that caused it.
    pub fn because(mut self, why: impl fmt::Display) -> Self {
        self.why = Some(why.to_string());
        self
    }

    /// Adds a command or action to try.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        if let Some(why) = &self.why {
            write!(f, ": {why}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

/// An error with everything that caused it, in one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !said.contains(&text) {
            said.push_str(": ");
            said.push_str(&text);
        }
        next = cause.source();
    }
    said
}

/// What commands return.
pub type Outcome<T = Exit> = Result<T, Failure>;

//! Types that a key of the settings can have: how each is read from a value and shown as one.
use super::duration;
use super::settings::{BackupBefore, LogFormat, OnExit, Output, Restart};
use common::id::NodeName;
use common::time::Span;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A value as files and variables say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Yes or no.
    Bool(bool),
    /// A number, bytes included.
    Integer(u64),
    /// A text; also a path, an address, a length of time, one of several words.
    Text(String),
    /// Several texts or numbers.
    List(Vec<String>),
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Bool(b) => write!(f, "{b}"),
            Value::Integer(n) => write!(f, "{n}"),
            Value::Text(text) => f.write_str(text),
            Value::List(items) => f.write_str(&items.join(" ")),
        }
    }
}

/// What can stand behind a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// An absolute path, unless the key says otherwise.
    Path,
    /// `true` or `false`.
    Bool,
    /// `"90s"`, `"5m"`, `"1h30m"`.
    Span,
    /// A number of bytes, or a text such as `"64MiB"`.
    Bytes,
    /// A whole number, 0 or more.
    Integer,
    /// A list of texts.
    List,
    /// A list of whole numbers.
    Numbers,
    /// `IP:PORT`.
    Address,
    /// One of these words.
    Choice(&'static [&'static str]),
}

impl Kind {
    /// Its name in the documents.
    pub fn name(self) -> String {
        match self {
            Kind::Text => "text".to_owned(),
            Kind::Path => "path".to_owned(),
            Kind::Bool => "true, false".to_owned(),
            Kind::Span => "length of time".to_owned(),
            Kind::Bytes => "bytes".to_owned(),
            Kind::Integer => "number".to_owned(),
            Kind::List => "list".to_owned(),
            Kind::Numbers => "list of numbers".to_owned(),
            Kind::Address => "address".to_owned(),
            Kind::Choice(words) => words.join(", "),
        }
    }

    /// Reads what the file of schema 1 says.
    ///
    /// # Errors
    /// What is expected instead, for people.
    pub fn of_toml(self, value: &toml::Value) -> Result<Value, String> {
        let wrong = || format!("{} is expected, not {value}", self.expected());
        match (self, value) {
            (Kind::Bool, toml::Value::Boolean(b)) => Ok(Value::Bool(*b)),
            (Kind::Integer | Kind::Bytes, toml::Value::Integer(n)) => {
                u64::try_from(*n).map(Value::Integer).map_err(|_| wrong())
            }
            (Kind::Bytes, toml::Value::String(text)) => bytes(text).map(Value::Integer),
            (Kind::List | Kind::Numbers, toml::Value::Array(items)) => items
                .iter()
                .map(|item| match (self, item) {
                    (Kind::List, toml::Value::String(text)) => Ok(text.clone()),
                    (Kind::Numbers, toml::Value::Integer(n)) if *n >= 0 => Ok(n.to_string()),
                    _ => Err(wrong()),
                })
                .collect::<Result<_, _>>()
                .map(Value::List),
            (
                Kind::Text | Kind::Path | Kind::Span | Kind::Address | Kind::Choice(_),
                toml::Value::String(t),
            ) => Ok(Value::Text(t.clone())),
            _ => Err(wrong()),
        }
    }

    /// Reads what a command line or one of our own variables says. A list is a TOML array, or words parted
    /// by commas (by spaces where `spaced`, for arguments).
    ///
    /// # Errors
    /// What is expected instead, for people.
    pub fn of_text(self, text: &str, spaced: bool) -> Result<Value, String> {
        match self {
            Kind::Bool => strict_bool(text).map(Value::Bool),
            Kind::Integer => number(text).map(Value::Integer),
            Kind::Bytes => bytes(text).map(Value::Integer),
            Kind::List | Kind::Numbers if text.trim_start().starts_with('[') => {
                let document: toml::Table =
                    format!("list = {text}").parse().map_err(|_| format!("{text:?} is no TOML array"))?;
                self.of_toml(&document["list"])
            }
            Kind::List | Kind::Numbers => {
                let parting = |c: char| if spaced { c.is_whitespace() } else { c == ',' };
                let parts = text.split(parting).map(str::trim).filter(|part| !part.is_empty());
                Ok(Value::List(parts.map(str::to_owned).collect()))
            }
            _ => Ok(Value::Text(text.to_owned())),
        }
    }

    fn expected(self) -> String {
        match self {
            Kind::Text | Kind::Path => "a text in quotes".to_owned(),
            Kind::Bool => "true or false".to_owned(),
            Kind::Span => "a length of time in quotes, for example \"90s\",".to_owned(),
            Kind::Bytes => "a number of bytes, or a text such as \"64MiB\",".to_owned(),
            Kind::Integer => "a whole number, 0 or more,".to_owned(),
            Kind::List => "a list of texts".to_owned(),
            Kind::Numbers => "a list of whole numbers".to_owned(),
            Kind::Address => "an address in quotes, for example \"127.0.0.1:7490\",".to_owned(),
            Kind::Choice(words) => format!("one of {}", words.join(", ")),
        }
    }
}

/// The incumbents' booleans: `true` or `false` in any case, nothing else.
///
/// # Errors
/// Everything else; an empty text means the default and is not asked here.
pub fn strict_bool(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.trim().parse().map_err(|_| format!("{text:?} is no whole number, 0 or more"))
}

/// A size: `1048576`, `"64MiB"`, `"10GB"`, `"1.5TiB"` is not understood.
fn bytes(text: &str) -> Result<u64, String> {
    let bad = || format!("{text:?} is no size: write for example 1048576, \"64MiB\" or \"10GB\"");
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let value: u64 = text[..digits].parse().map_err(|_| bad())?;
    let factor: u64 = match text[digits..].trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return Err(bad()),
    };
    value.checked_mul(factor).ok_or_else(bad)
}

/// A place in the settings that a key fills.
pub trait Field {
    /// What can stand there.
    fn kind(&self) -> Kind;
    /// What stands there; `None` when nothing does.
    fn show(&self) -> Option<Value>;
    /// Puts a value there.
    ///
    /// # Errors
    /// Why the value cannot stand there; the place is then as before.
    fn put(&mut self, value: &Value) -> Result<(), String>;
    /// Takes away what stands there, where nothing can stand there.
    fn clear(&mut self) {}
}

/// A type of the settings.
pub trait Typed: Sized {
    /// What it is read from.
    const KIND: Kind;
    /// As a value.
    fn value(&self) -> Value;
    /// From a value.
    ///
    /// # Errors
    /// Why it cannot be one.
    fn of(value: &Value) -> Result<Self, String>;
}

impl<T: Typed> Field for T {
    fn kind(&self) -> Kind {
        T::KIND
    }
    fn show(&self) -> Option<Value> {
        Some(self.value())
    }
    fn put(&mut self, value: &Value) -> Result<(), String> {
        *self = T::of(value)?;
        Ok(())
    }
}

impl<T: Typed> Field for Option<T> {
    fn kind(&self) -> Kind {
        T::KIND
    }
    fn show(&self) -> Option<Value> {
        self.as_ref().map(T::value)
    }
    fn put(&mut self, value: &Value) -> Result<(), String> {
        *self = Some(T::of(value)?);
        Ok(())
    }
    fn clear(&mut self) {
        *self = None;
    }
}

macro_rules! typed {
    ($type:ty, $kind:expr, $this:ident => $value:expr, $given:ident => $of:expr) => {
        impl Typed for $type {
            const KIND: Kind = $kind;
            fn value(&self) -> Value {
                let $this = self;
                $value
            }
            fn of($given: &Value) -> Result<Self, String> {
                $of
            }
        }
    };
}

macro_rules! choice {
    ($type:ident, $($word:literal = $variant:ident),+) => {
        typed!($type, Kind::Choice(&[$($word),+]),
            this => Value::Text(match this { $($type::$variant => $word),+ }.to_owned()),
            given => match given.to_string().as_str() {
                $($word => Ok($type::$variant),)+
                other => Err(format!("{other:?} is none of {}", [$($word),+].join(", "))),
            });
    };
}

/// An integer that fits.
fn fitting<N: TryFrom<u64>>(value: &Value) -> Result<N, String> {
    let number = match value {
        Value::Integer(n) => *n,
        other => number(&other.to_string())?,
    };
    N::try_from(number).map_err(|_| format!("{number} is too large"))
}

/// A length of time in our own way of writing, or in Go's.
fn span(text: &str) -> Result<Span, String> {
    text.parse::<Span>().or_else(|error| duration::go(text).map_err(|_| error.to_string()))
}

typed!(String, Kind::Text, this => Value::Text(this.clone()), given => Ok(given.to_string()));
typed!(PathBuf, Kind::Path, this => Value::Text(this.display().to_string()), given => Ok(given.to_string().into()));
typed!(bool, Kind::Bool, this => Value::Bool(*this), given => match given {
    Value::Bool(b) => Ok(*b),
    other => strict_bool(&other.to_string()),
});
typed!(Span, Kind::Span, this => Value::Text(this.to_string()), given => span(&given.to_string()));
typed!(u64, Kind::Integer, this => Value::Integer(*this), given => fitting(given));
typed!(u32, Kind::Integer, this => Value::Integer((*this).into()), given => fitting(given));
typed!(u16, Kind::Integer, this => Value::Integer((*this).into()), given => fitting(given));
typed!(SocketAddr, Kind::Address, this => Value::Text(this.to_string()), given => {
    given.to_string().parse().map_err(|_| format!("{:?} is no address and port, as in 127.0.0.1:7490", given.to_string()))
});
typed!(NodeName, Kind::Text, this => Value::Text(this.to_string()), given => {
    NodeName::new(given.to_string()).map_err(|e| e.to_string())
});
typed!(Vec<String>, Kind::List, this => Value::List(this.clone()), given => match given {
    Value::List(items) => Ok(items.clone()),
    one => Ok(vec![one.to_string()]),
});
typed!(Vec<u64>, Kind::Numbers, this => Value::List(this.iter().map(u64::to_string).collect()), given => match given {
    Value::List(items) => items.iter().map(|item| number(item)).collect(),
    one => number(&one.to_string()).map(|n| vec![n]),
});
choice!(Restart, "always" = Always, "on-failure" = OnFailure, "never" = Never);
choice!(Output, "file" = File, "inherit" = Inherit);
choice!(BackupBefore, "always" = Always, "reflink" = Reflink, "never" = Never);
choice!(LogFormat, "text" = Text, "json" = Json);
choice!(OnExit, "stop" = Stop, "leave" = Leave);

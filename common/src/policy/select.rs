//! Selectors: which nodes a stage takes. `role == "rpc" && (labels.canary == "true" || name != "rpc-1")`.
use crate::fleet::{NodeRecord, Role};
use std::iter::Peekable;
use std::str::CharIndices;

/// Deepest nesting of a selector.
const MAX_DEPTH: usize = 32;
/// Longest selector in bytes.
const MAX_LEN: usize = 4096;

/// An expression over one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector(Expr);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expr {
    Compare { field: Field, equal: bool, value: String },
    Not(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    Role,
    Name,
    Network,
    Label(String),
}

/// A text that is no selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {at}: {problem}")]
pub struct SelectorError {
    /// Place in the text, from 1.
    pub at: usize,
    /// What is wrong there.
    pub problem: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Equal,
    Unequal,
    And,
    Or,
    Not,
    Open,
    Close,
}

impl Selector {
    /// Reads a selector.
    ///
    /// # Errors
    /// [`SelectorError`] with the place of the first problem.
    pub fn parse(text: &str) -> Result<Selector, SelectorError> {
        if text.len() > MAX_LEN {
            return Err(problem(1, "longer than 4096 bytes"));
        }
        let tokens = tokens(text)?;
        let mut parser = Parser { tokens: &tokens, at: 0, end: text.len() + 1 };
        let expr = parser.any_of(0)?;
        match parser.tokens.get(parser.at) {
            None => Ok(Selector(expr)),
            Some((at, _)) => Err(problem(*at, "the end, && or || is expected")),
        }
    }

    /// Whether it takes the node. A label the node does not have equals nothing.
    pub fn matches(&self, node: &NodeRecord) -> bool {
        self.0.matches(node)
    }
}

impl Expr {
    fn matches(&self, node: &NodeRecord) -> bool {
        match self {
            Expr::Not(inner) => !inner.matches(node),
            Expr::And(a, b) => a.matches(node) && b.matches(node),
            Expr::Or(a, b) => a.matches(node) || b.matches(node),
            Expr::Compare { field, equal, value } => {
                let same = match field {
                    Field::Role => node.role.to_string() == *value,
                    Field::Name => node.name.as_str() == value,
                    Field::Network => node.network.as_str() == value,
                    Field::Label(label) => node.labels.get(label) == Some(value),
                };
                same == *equal
            }
        }
    }
}

fn problem(at: usize, text: impl Into<String>) -> SelectorError {
    SelectorError { at, problem: text.into() }
}

fn tokens(text: &str) -> Result<Vec<(usize, Token)>, SelectorError> {
    let mut out = Vec::new();
    let mut chars = text.char_indices().peekable();
    while let Some((i, c)) = chars.next() {
        let at = i + 1;
        let mut double = |second: char, token: Token| match chars.next_if(|(_, c)| *c == second) {
            Some(_) => Ok(token),
            None => Err(problem(at, format!("{c}{second} is expected"))),
        };
        let token = match c {
            c if c.is_whitespace() => continue,
            '(' => Token::Open,
            ')' => Token::Close,
            '&' => double('&', Token::And)?,
            '|' => double('|', Token::Or)?,
            '=' => double('=', Token::Equal)?,
            '!' => double('=', Token::Unequal).unwrap_or(Token::Not),
            '"' => Token::Text(quoted(at, &mut chars)?),
            c if c.is_ascii_alphanumeric() || c == '_' => Token::Word(word(c, &mut chars)),
            c => return Err(problem(at, format!("{c:?} means nothing here"))),
        };
        out.push((at, token));
    }
    Ok(out)
}

fn quoted(at: usize, chars: &mut Peekable<CharIndices<'_>>) -> Result<String, SelectorError> {
    let mut text = String::new();
    for (_, c) in chars.by_ref() {
        match c {
            '"' => return Ok(text),
            '\\' => return Err(problem(at, "escapes are not known in texts")),
            c => text.push(c),
        }
    }
    Err(problem(at, "the text is not closed"))
}

fn word(first: char, chars: &mut Peekable<CharIndices<'_>>) -> String {
    let mut text = String::from(first);
    while let Some((_, c)) =
        chars.next_if(|(_, c)| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'))
    {
        text.push(c);
    }
    text
}

struct Parser<'a> {
    tokens: &'a [(usize, Token)],
    at: usize,
    end: usize,
}

impl Parser<'_> {
    fn place(&self) -> usize {
        self.tokens.get(self.at).map_or(self.end, |(at, _)| *at)
    }

    fn take(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).map(|(_, t)| t.clone());
        self.at += 1;
        token
    }

    fn eat(&mut self, token: &Token) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|(_, t)| t == token);
        self.at += usize::from(found);
        found
    }

    fn any_of(&mut self, depth: usize) -> Result<Expr, SelectorError> {
        let mut left = self.all_of(depth)?;
        while self.eat(&Token::Or) {
            left = Expr::Or(Box::new(left), Box::new(self.all_of(depth)?));
        }
        Ok(left)
    }

    fn all_of(&mut self, depth: usize) -> Result<Expr, SelectorError> {
        let mut left = self.one(depth)?;
        while self.eat(&Token::And) {
            left = Expr::And(Box::new(left), Box::new(self.one(depth)?));
        }
        Ok(left)
    }

    fn one(&mut self, depth: usize) -> Result<Expr, SelectorError> {
        let at = self.place();
        if depth > MAX_DEPTH {
            return Err(problem(at, "nested too deeply"));
        }
        match self.take() {
            Some(Token::Not) => Ok(Expr::Not(Box::new(self.one(depth + 1)?))),
            Some(Token::Open) => {
                let inner = self.any_of(depth + 1)?;
                let place = self.place();
                if self.eat(&Token::Close) { Ok(inner) } else { Err(problem(place, "\")\" is expected")) }
            }
            Some(Token::Word(word)) => self.compare(at, &word),
            _ => Err(problem(at, "role, name, network, labels.NAME, ! or ( is expected")),
        }
    }

    fn compare(&mut self, at: usize, word: &str) -> Result<Expr, SelectorError> {
        let field = match (word, word.strip_prefix("labels.")) {
            ("role", _) => Field::Role,
            ("name", _) => Field::Name,
            ("network", _) => Field::Network,
            (_, Some(label)) if !label.is_empty() => Field::Label(label.to_owned()),
            _ => {
                return Err(problem(at, format!("{word:?} is no field: role, name, network or labels.NAME")));
            }
        };
        let place = self.place();
        let equal = match self.take() {
            Some(Token::Equal) => true,
            Some(Token::Unequal) => false,
            _ => return Err(problem(place, "== or != is expected")),
        };
        let place = self.place();
        let Some(Token::Text(value)) = self.take() else {
            return Err(problem(place, "a text in double quotes is expected"));
        };
        if field == Field::Role {
            value.parse::<Role>().map_err(|e| problem(place, e))?;
        }
        Ok(Expr::Compare { field, equal, value })
    }
}

//! To be written.
/// A selector.
#[derive(Debug)]
pub struct Selector;
/// A text that is no selector.
#[derive(Debug)]
pub struct SelectorError;

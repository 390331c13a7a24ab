use common::chain::Hash32;
use common::id::NodeName;

/// What one RPC operation failed with; every variant names the endpoint and the method.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RpcError {
    /// The endpoint's address cannot be used.
    #[error("endpoint {label}: {url:?} is no usable address: {why}")]
    Address {
        /// Whose address.
        label: NodeName,
        /// The address as configured.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// Two endpoints have the same label, so agreement between them would prove nothing.
    #[error("endpoint label {label} is used twice")]
    Twice {
        /// The repeated label.
        label: NodeName,
    },
    /// There are fewer endpoints than must agree, or none.
    #[error("{required} endpoints must agree, {given} are given")]
    TooFewGiven {
        /// How many must agree.
        required: usize,
        /// How many there are.
        given: usize,
    },
    /// No answer within the limit.
    #[error("endpoint {label}: {method}: no answer within {after_ms} ms")]
    Timeout {
        /// Who was asked.
        label: NodeName,
        /// What was asked.
        method: &'static str,
        /// The limit in milliseconds.
        after_ms: u64,
    },
    /// The connection could not be made or broke.
    #[error("endpoint {label}: {method}: {why}")]
    Transport {
        /// Who was asked.
        label: NodeName,
        /// What was asked.
        method: &'static str,
        /// What the transport says.
        why: String,
    },
    /// The server answered with an HTTP status that is no success.
    #[error("endpoint {label}: {method}: HTTP status {status}")]
    Status {
        /// Who was asked.
        label: NodeName,
        /// What was asked.
        method: &'static str,
        /// The status.
        status: u16,
        /// How long the server asks to wait, in seconds.
        retry_after_s: Option<u64>,
    },
    /// The answer is larger than the limit and was not read to its end.
    #[error("endpoint {label}: {method}: the answer is larger than {limit} bytes")]
    TooLarge {
        /// Who was asked.
        label: NodeName,
        /// What was asked.
        method: &'static str,
        /// The limit in bytes.
        limit: usize,
    },
    /// The endpoint refused the call.
    #[error("endpoint {label}: {method}: refused with {code}: {message:?}")]
    Refused {
        /// Who was asked.
        label: NodeName,
        /// What was asked.
        method: &'static str,
        /// JSON-RPC error code.
        code: i64,
        /// The endpoint's words, cut to a bounded length.
        message: String,
        /// What a reverted call returned, `0x` and hexadecimal digits, cut to a bounded length.
        data: Option<String>,
    },
    /// The answer is not what the method answers.
    #[error("endpoint {label}: {method}: unusable answer: {why}")]
    Shape {
        /// Who was asked.
        label: NodeName,
        /// What was asked.
        method: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Too few endpoints answered.
    #[error("{what}: {answered} of the {required} endpoints that must agree answered; {failures}")]
    TooFew {
        /// What was asked.
        what: String,
        /// How many must agree.
        required: usize,
        /// How many answered.
        answered: usize,
        /// What the others failed with.
        failures: String,
    },
    /// Enough endpoints answered, too few of them the same.
    #[error("{what}: endpoints disagree, {required} must agree: {answers}")]
    Disagreement {
        /// What was asked.
        what: String,
        /// How many must agree.
        required: usize,
        /// Who said what.
        answers: String,
    },
    /// An endpoint serves another chain.
    #[error("endpoint {label} serves chain {found}, chain {expected} is configured")]
    OtherChain {
        /// Who was asked.
        label: NodeName,
        /// The configured chain id.
        expected: u64,
        /// The endpoint's chain id.
        found: u64,
    },
    /// The block at a height is not the one that was agreed on; the chain moved in between.
    #[error("endpoint {label}: block {height} is not {expected} any more")]
    Moved {
        /// Who was asked.
        label: NodeName,
        /// Height of the block.
        height: u64,
        /// The hash that was agreed on.
        expected: Hash32,
    },
}

impl RpcError {
    /// Whether asking the same endpoint the same thing again may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Transport { .. } => true,
            Self::Status { status, .. } => *status == 429 || *status >= 500,
            Self::Refused { code, message, .. } => *code == -32005 && !speaks_of_size(message),
            _ => false,
        }
    }

    /// Whether the endpoint does not offer the method (a closed namespace, another client).
    pub fn is_missing_method(&self) -> bool {
        matches!(self, Self::Refused { code: -32601, .. })
            || matches!(self, Self::Refused { message, .. } if message.contains("does not exist/is not available"))
    }

    /// Whether a smaller range of blocks is the answer. Endpoints word this in many ways: whatever
    /// refuses a range is taken as too much, because halving is harmless.
    pub fn is_too_much(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::TooLarge { .. } => true,
            Self::Status { status, .. } => matches!(status, 400 | 413 | 502 | 504),
            Self::Refused { .. } => !self.is_missing_method(),
            _ => false,
        }
    }
}

fn speaks_of_size(message: &str) -> bool {
    let lower = message.to_ascii_lowercase();
    ["too many", "too large", "range", "more than", "exceed", "limit of"]
        .iter()
        .any(|word| lower.contains(word))
}

/// Text of a stranger, cut to a length that can be logged.
pub(super) fn bounded(text: &str) -> String {
    const LONGEST: usize = 256;
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    let mut end = LONGEST;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: i64, message: &str) -> RpcError {
        let label = NodeName::new("rpc-1").unwrap();
        RpcError::Refused { label, method: "eth_getLogs", code, message: message.to_owned(), data: None }
    }

    #[test]
    fn refusals_are_told_apart() {
        assert!(refused(-32601, "Method not found").is_missing_method());
        assert!(refused(-32000, "the method x does not exist/is not available").is_missing_method());
        assert!(refused(-32005, "query returned more than 10000 results").is_too_much());
        assert!(!refused(-32005, "query returned more than 10000 results").is_transient());
        assert!(refused(-32005, "slow down").is_transient());
        assert!(!refused(-32601, "Method not found").is_too_much());
    }

    #[test]
    fn strange_text_is_cut_at_a_character() {
        let long = "é".repeat(300);
        let cut = bounded(&long);
        assert!(cut.len() < 270 && cut.ends_with('…'), "{}", cut.len());
    }
}

//! What each code means and what to do: read out of the operators' document itself, so that both say the same.

const DOCUMENT: &str = include_str!("../../../docs/operations.md");

/// A row of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// What the code means.
    pub meaning: &'static str,
    /// What to do.
    pub advice: &'static str,
}

/// The row of a code of a reason, fault or check; `None` for a code this program does not know.
pub fn row(code: &str) -> Option<Row> {
    DOCUMENT.lines().find_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        if cells.next()?.trim_end_matches('`') != code {
            return None;
        }
        let meaning = cells.next()?;
        let advice = cells.last().unwrap_or(meaning).trim_end_matches('|').trim_end();
        Some(Row { meaning, advice })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::rollout::Reason;
    use common::wire::v1::FaultCode;

    #[test]
    fn rows_have_a_meaning_and_advice() {
        let paused = row("paused").unwrap();
        assert!(paused.meaning.contains("paused") && paused.advice.contains("rollout resume"), "{paused:?}");
        let fault = row(FaultCode::DigestMismatch.code()).unwrap();
        assert!(fault.advice.contains("hostile"), "{fault:?}");
        assert_eq!(row("no-such-code"), None);
    }

    #[test]
    fn every_reason_and_fault_has_a_row() {
        for code in Reason::all_codes().iter().chain(FaultCode::all_codes()) {
            assert!(row(code).is_some(), "{code} has no row in docs/operations.md");
        }
    }
}

use super::answer::{LogAnswer, RawLog};
use common::chain::{Address, BlockRef};

/// Checks what an endpoint's list of logs must fulfil, and puts it in order.
pub(super) fn check_logs(
    answers: Vec<LogAnswer>,
    contract: Address,
    from: u64,
    to: BlockRef,
) -> Result<Vec<RawLog>, String> {
    let mut logs: Vec<RawLog> = Vec::with_capacity(answers.len());
    for answer in answers {
        logs.extend(answer.into_log()?);
    }
    logs.sort_by_key(|log| (log.block.height, log.index));
    for log in &logs {
        if log.address != contract {
            return Err(format!("a log of {} was not asked for", log.address));
        }
        if !(from..=to.height).contains(&log.block.height) {
            return Err(format!("a log of block {} was not asked for", log.block.height));
        }
        if log.block.height == to.height && log.block.hash != to.hash {
            return Err(format!("a log of another block {}", to.height));
        }
    }
    for pair in logs.windows(2) {
        let same_height = pair[0].block.height == pair[1].block.height;
        if same_height && (pair[0].index == pair[1].index || pair[0].block.hash != pair[1].block.hash) {
            return Err(format!("logs of block {} contradict each other", pair[0].block.height));
        }
    }
    Ok(logs)
}

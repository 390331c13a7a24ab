use super::*;
use proptest::prelude::*;

/// A chain in which block `h` is made by the salt at `h` and, as a real hash is, by everything below.
fn chain(salts: &[u8]) -> Vec<Link> {
    let hash = |at: usize| Hash32(common::release::Digest::of(&salts[..at]).0);
    let link =
        |at: usize| Link { block: BlockRef { height: at as u64, hash: hash(at + 1) }, parent: hash(at) };
    (0..salts.len()).map(link).collect()
}

fn known(links: &[Link]) -> Branch {
    Branch::new(links.iter().map(|l| l.block).collect())
}

fn refs(links: &[Link]) -> Vec<BlockRef> {
    links.iter().map(|l| l.block).collect()
}

#[test]
fn grows() {
    let all = chain(&[0; 10]);
    let branch = known(&all[..5]);
    assert_eq!(
        branch.follow(&all[5..], false),
        Ok(Change::Committed { apply: refs(&all[5..]) }),
        "by parent"
    );
    assert_eq!(
        branch.follow(&all[4..], false),
        Ok(Change::Committed { apply: refs(&all[5..]) }),
        "by overlap"
    );
    assert_eq!(branch.follow(&all[3..5], false), Ok(Change::Nothing));
    assert_eq!(branch.follow(&all[7..], false), Err(TrackError::NoAncestor { lowest: 7 }));
    // A range of backfill: the known tip and the end of the range, nothing between.
    let range = [all[4], all[9]];
    assert_eq!(branch.follow(&range, false), Ok(Change::Committed { apply: vec![all[9].block] }));
}

#[test]
fn reorganizes_and_reverts() {
    let old = chain(&[0, 0, 0, 0, 0, 0]);
    let new = chain(&[0, 0, 0, 1, 1, 1, 1]);
    let branch = known(&old);
    let unwind: Vec<BlockRef> = refs(&old[3..]).into_iter().rev().collect();
    let reorged = Change::Reorged { ancestor: old[2].block, unwind: unwind.clone(), apply: refs(&new[3..]) };
    assert_eq!(branch.follow(&new[2..], false), Ok(reorged));
    assert_eq!(branch.follow(&new[4..], false), Err(TrackError::NoAncestor { lowest: 4 }));
    // A shorter but different branch is a reorganization too.
    let shorter = Change::Reorged { ancestor: old[2].block, unwind: unwind.clone(), apply: refs(&new[3..4]) };
    assert_eq!(branch.follow(&new[2..4], false), Ok(shorter));
    // A shorter prefix is only news when nobody has more.
    assert_eq!(branch.follow(&old[2..3], false), Ok(Change::Nothing));
    assert_eq!(branch.follow(&old[2..3], true), Ok(Change::Reverted { ancestor: old[2].block, unwind }));
}

#[test]
fn seen_blocks_must_be_one_chain() {
    let a = chain(&[0, 0, 0]);
    let b = chain(&[0, 1, 1]);
    let branch = known(&a[..1]);
    assert_eq!(branch.follow(&[a[0], a[1], b[2]], false), Err(TrackError::NotLinked { parent: 1, child: 2 }));
    assert_eq!(branch.follow(&[a[1], a[0]], false), Err(TrackError::NotLinked { parent: 1, child: 0 }));
    assert_eq!(branch.follow(&[], false), Ok(Change::Nothing));
}

#[test]
fn pruning_keeps_a_way_back() {
    let all = chain(&[0; 10]);
    let mut branch = Branch::new(vec![all[0].block, all[5].block, all[8].block, all[9].block]);
    branch.prune(7);
    assert_eq!(branch.newest_first().map(|b| b.height).collect::<Vec<_>>(), [9, 8, 5]);
    branch.prune(100);
    assert_eq!(branch.tip(), Some(all[9].block));
}

/// A model of the index: the applied blocks, in order, each applied once.
fn apply(model: &mut Vec<BlockRef>, change: &Change) -> Result<(), TestCaseError> {
    let (unwind, new): (&[BlockRef], &[BlockRef]) = match change {
        Change::Nothing => (&[], &[]),
        Change::Committed { apply } => (&[], apply),
        Change::Reorged { unwind, apply, .. } => (unwind, apply),
        Change::Reverted { unwind, .. } => (unwind, &[]),
    };
    for undone in unwind {
        prop_assert_eq!(model.pop(), Some(*undone), "undo takes back the newest, exactly");
    }
    for block in new {
        prop_assert!(model.last().is_none_or(|top| top.height < block.height), "applied twice");
        model.push(*block);
    }
    if let Change::Reorged { ancestor, .. } | Change::Reverted { ancestor, .. } = change {
        let below = model.len() - new.len();
        prop_assert_eq!(model[..below].last(), Some(ancestor));
    }
    Ok(())
}

proptest! {
    /// Whatever sequence of chains is seen (longer, forked anywhere, shorter), walking down where the tracker
    /// asks for it, the model ends as the chain seen last.
    #[test]
    fn ends_as_the_chain_seen_last(
        steps in prop::collection::vec((1usize..24, prop::collection::vec(0u8..3, 24), 1usize..6), 1..12),
    ) {
        let mut branch = Branch::new(vec![chain(&[0])[0].block]);
        let mut model: Vec<BlockRef> = branch.newest_first().collect();
        for (length, mut salts, reach) in steps {
            salts[0] = 0;
            let chain = chain(&salts[..length]);
            let mut from = chain.len().saturating_sub(reach);
            let change = loop {
                match branch.follow(&chain[from..], true) {
                    Ok(change) => break change,
                    Err(TrackError::NoAncestor { .. }) => {
                        prop_assert!(from > 0, "genesis is always shared");
                        from -= 1;
                    }
                    Err(error) => return Err(TestCaseError::fail(error.to_string())),
                }
            };
            apply(&mut model, &change)?;
            branch.take(&change);
            prop_assert_eq!(&model, &refs(&chain));
            prop_assert_eq!(branch.newest_first().collect::<Vec<_>>(), model.iter().rev().copied().collect::<Vec<_>>());
            prop_assert_eq!(branch.follow(&chain[from..], true), Ok(Change::Nothing), "the same again is no news");
        }
    }
}

//! What every backend must do. One function a property; each takes a freshly opened, empty store.
use super::{Committed, Condition, MAX_OPS, Op, RedbStore, StoreError};

fn put(key: &str, value: &str) -> Op {
    Op::Put(key.into(), value.as_bytes().to_vec())
}

fn ensure(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

fn text<E: std::fmt::Display>(e: E) -> String {
    e.to_string()
}

/// All or nothing, and conditions on revisions and absence.
///
/// # Errors
/// What does not hold, in words.
pub async fn compare_and_set(store: &RedbStore) -> Result<(), String> {
    let first = store.commit(vec![Condition::Absent("a".into())], vec![put("a", "1"), put("b", "1")]).await;
    let Committed::At(at) = first.map_err(text)? else { return Err("an absent key was there".into()) };
    let again = store.commit(vec![Condition::Absent("a".into())], vec![put("a", "2"), put("c", "2")]).await;
    ensure(again.map_err(text)? == Committed::Conflict, "a key that is there passed as absent")?;
    let rows = store.snapshot("").map_err(text)?.rows;
    ensure(rows.len() == 2 && !rows.contains_key("c"), "a conflict left something behind")?;
    ensure(rows["a"].revision == at, "a row must carry the revision of its commit")?;
    let stale = vec![Condition::Revision("a".into(), at + 1)];
    ensure(
        store.commit(stale, vec![put("a", "3")]).await.map_err(text)? == Committed::Conflict,
        "wrong revision",
    )?;
    let right = vec![Condition::Revision("a".into(), at)];
    let done = store.commit(right, vec![Op::Delete("a".into())]).await.map_err(text)?;
    ensure(matches!(done, Committed::At(r) if r > at), "revisions must grow")?;
    ensure(store.snapshot("a").map_err(text)?.rows.is_empty(), "a deleted key is still there")
}

/// Many writers on one counter lose no increment.
///
/// # Errors
/// What does not hold, in words.
pub async fn concurrent_counters(store: &RedbStore, writers: usize, each: usize) -> Result<(), String> {
    store.commit(vec![], vec![put("n", "0")]).await.map_err(text)?;
    let tasks: Vec<_> = (0..writers)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..each {
                    loop {
                        let row = store.snapshot("n").map_err(text)?.rows["n"].clone();
                        let n: usize = String::from_utf8_lossy(&row.value).parse().map_err(text)?;
                        let ours = vec![Condition::Revision("n".into(), row.revision)];
                        if store.commit(ours, vec![put("n", &(n + 1).to_string())]).await.map_err(text)?
                            != Committed::Conflict
                        {
                            break;
                        }
                    }
                }
                Ok::<(), String>(())
            })
        })
        .collect();
    for task in tasks {
        task.await.map_err(text)??;
    }
    let last = store.snapshot("n").map_err(text)?.rows["n"].value.clone();
    ensure(last == (writers * each).to_string().into_bytes(), "an increment was lost")
}

/// A watch sees every change once, in order, those before it began included.
///
/// # Errors
/// What does not hold, in words.
pub async fn watch_without_gaps(store: &RedbStore) -> Result<(), String> {
    let from = store.snapshot("").map_err(text)?.revision;
    for i in 0..50 {
        store.commit(vec![], vec![put(&format!("w/{i:03}"), "x"), put("other", "y")]).await.map_err(text)?;
    }
    let mut watch = store.watch("w/", from).ok_or("the log must reach back that far")?;
    let writer = store.clone();
    let rest = tokio::spawn(async move {
        for i in 50..200 {
            writer.commit(vec![], vec![put(&format!("w/{i:03}"), "x")]).await.map_err(text)?;
        }
        Ok::<(), String>(())
    });
    let mut last = from;
    for i in 0..200 {
        let change = watch.next().await.ok_or("the watch ended")?;
        ensure(change.key == format!("w/{i:03}"), "a change is missing or out of order")?;
        ensure(change.revision > last, "revisions must grow")?;
        last = change.revision;
    }
    rest.await.map_err(text)?
}

/// Over the limits nothing is written.
///
/// # Errors
/// What does not hold, in words.
pub async fn limits(store: &RedbStore) -> Result<(), String> {
    let many = (0..=MAX_OPS).map(|i| put(&format!("k{i}"), "v")).collect();
    let said = store.commit(vec![], many).await;
    ensure(matches!(said, Err(StoreError::TooLarge { .. })), "too many operations were taken")?;
    let big = vec![Op::Put("k".into(), vec![0; super::MAX_COMMIT_BYTES])];
    ensure(
        matches!(store.commit(vec![], big).await, Err(StoreError::TooLarge { .. })),
        "too many bytes were taken",
    )?;
    ensure(store.snapshot("").map_err(text)?.rows.is_empty(), "a refused commit left something behind")
}

/// After a campaign, whoever campaigned before is fenced.
///
/// # Errors
/// What does not hold, in words.
pub async fn fencing(store: &RedbStore) -> Result<(), String> {
    let old = store.unfenced();
    old.campaign().await.map_err(text)?;
    old.commit(vec![], vec![put("x", "old")]).await.map_err(text)?;
    let new = store.unfenced();
    new.campaign().await.map_err(text)?;
    let said = old.commit(vec![], vec![put("x", "late")]).await;
    ensure(matches!(said, Err(StoreError::Fenced { .. })), "a replaced writer could still write")?;
    new.commit(vec![], vec![put("x", "new")]).await.map_err(text)?;
    ensure(store.snapshot("x").map_err(text)?.rows["x"].value == b"new", "the new writer's value must stay")
}

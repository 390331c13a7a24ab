use super::*;
use crate::plan::batch_file;
use crate::plan::scratch::Scratch;
use std::time::Duration;

/// Everything that is waited for comes long before this.
const PATIENCE: Duration = Duration::from_secs(20);

fn host() -> (Scratch, Notice) {
    let host = Scratch::new("wemixvisor");
    let notice = Notice::new(&host.home, &host.settings).unwrap();
    (host, notice)
}

async fn told(notice: &mut Notice) {
    tokio::time::timeout(PATIENCE, notice.touched()).await.expect("the kernel tells");
    notice.arm();
}

/// Whether something was told up to now; what the kernel has to say is there when the call that caused it returns.
async fn is_told(notice: &mut Notice) -> bool {
    let mut told = std::pin::pin!(notice.touched());
    // Twice: the first look may only begin to listen.
    for _ in 0..2 {
        tokio::select! {
            biased;
            () = &mut told => return true,
            () = tokio::task::yield_now() => {}
        }
    }
    false
}

#[tokio::test]
async fn a_plan_that_is_written_renamed_or_removed_is_told() {
    let (host, mut notice) = host();
    assert!(notice.is_whole());
    let plan = &host.settings.upgrade.plan_file;
    std::fs::write(plan, "{}").unwrap();
    told(&mut notice).await;
    std::fs::write(plan, "{}").unwrap();
    told(&mut notice).await;
    let other = host.home.base.join("other");
    std::fs::write(&other, "[]").unwrap();
    std::fs::rename(&other, plan).unwrap();
    told(&mut notice).await;
    std::fs::remove_file(plan).unwrap();
    told(&mut notice).await;
    std::fs::write(host.home.schedule(), "[]").unwrap();
    told(&mut notice).await;
    std::fs::write(batch_file(&host.settings), "[]").unwrap();
    told(&mut notice).await;
}

#[tokio::test]
async fn what_else_is_written_beside_plans_is_not_told() {
    let (host, mut notice) = host();
    std::fs::write(host.settings.node.data_dir.join("priv_validator_state.json"), "{}").unwrap();
    std::fs::write(host.home.ledger(), "{}").unwrap();
    assert!(!is_told(&mut notice).await);
    std::fs::write(host.home.schedule(), "[]").unwrap();
    told(&mut notice).await;
}

#[tokio::test]
async fn folders_that_are_made_later_are_listened_to() {
    let (host, mut notice) = host();
    std::fs::create_dir(host.home.plans()).unwrap();
    told(&mut notice).await;
    assert!(notice.is_whole());
    std::fs::write(host.home.plans().join("a.json"), "{}").unwrap();
    told(&mut notice).await;
    std::fs::create_dir_all(host.home.upgrades().join("v2")).unwrap();
    told(&mut notice).await;
    std::fs::create_dir(host.home.upgrades().join("v3")).unwrap();
    told(&mut notice).await;
}

#[tokio::test]
async fn a_folder_that_is_moved_away_or_removed_is_listened_to_again_when_it_is_back() {
    let (host, mut notice) = host();
    let (data, aside) = (&host.settings.node.data_dir, host.home.base.join("aside"));
    std::fs::rename(data, &aside).unwrap();
    told(&mut notice).await;
    assert!(!notice.is_whole(), "nobody tells when it is made again");
    std::fs::create_dir(data).unwrap();
    notice.arm();
    assert!(notice.is_whole());
    std::fs::write(aside.join("upgrade-info.json"), "{}").unwrap();
    assert!(!is_told(&mut notice).await, "it is another folder now");
    std::fs::write(&host.settings.upgrade.plan_file, "{}").unwrap();
    told(&mut notice).await;
    std::fs::remove_dir_all(data).unwrap();
    told(&mut notice).await;
    assert!(!notice.is_whole());
}

#[tokio::test]
async fn a_plan_behind_a_link_is_nothing_the_kernel_tells_of() {
    let (host, mut notice) = host();
    std::os::unix::fs::symlink(host.home.base.join("real.json"), &host.settings.upgrade.plan_file).unwrap();
    told(&mut notice).await;
    assert!(!notice.is_whole());
    std::fs::remove_file(&host.settings.upgrade.plan_file).unwrap();
    told(&mut notice).await;
    assert!(notice.is_whole());
}

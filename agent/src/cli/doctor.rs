//! `wemixvisor doctor`: what an operator would look at first.
use crate::config::Settings;
use crate::host::{disk, files, found};
use crate::ledger;
use crate::probe::Prober;
use crate::sync::coordinator::Coordinator;
use crate::sync::files::FleetFiles;
use std::process::ExitCode;

/// Checks a host and prints a line for each check; fails when one of them does.
pub async fn run(settings: &Settings) -> anyhow::Result<ExitCode> {
    let home = settings.layout();
    let mut failed = 0_u32;
    let mut say = |what: &str, result: Result<String, String>| match result {
        Ok(how) => println!("ok    {what}: {how}"),
        Err(why) => {
            failed += 1;
            println!("FAIL  {what}: {why}");
        }
    };
    let ledger = match ledger::read(&home.ledger()) {
        Ok(Some(ledger)) => Ok(ledger),
        Ok(None) => found::first_ledger(&home).map_err(|e| e.to_string()),
        Err(e) => Err(e.to_string()),
    };
    say("ledger", ledger.as_ref().map(|l| format!("{:?}", l.phase)).map_err(Clone::clone));
    if let Ok(ledger) = &ledger {
        let binary = home.binary(&ledger.current.name);
        let digest = files::digest_of(&binary).map_err(|e| format!("{}: {e}", binary.display()));
        say(
            "executable",
            digest.and_then(|d| {
                if d == ledger.current.digest {
                    Ok(format!("{} {d}", ledger.current.name))
                } else {
                    Err(format!("{} has digest {d}, {} is expected", binary.display(), ledger.current.digest))
                }
            }),
        );
        let linked = found::current(&home, ledger).filter(|c| c.name == ledger.current.name);
        say(
            "current",
            linked.map(|c| c.name.to_string()).ok_or_else(|| "the link points elsewhere".to_owned()),
        );
    }
    let free = disk::free_bytes(&settings.node.home).ok_or_else(|| "unknown".to_owned());
    say(
        "disk",
        free.and_then(|f| {
            let text = format!("{} MiB free", f >> 20);
            if f >= 256 << 20 { Ok(text) } else { Err(text) }
        }),
    );
    let look = Prober::new(settings.node.rpc.clone())?.look(0).await;
    let head = look.health.head().map_or("no head".to_owned(), |b| format!("head {}", b.height));
    say(
        "node rpc",
        if look.health.rpc_up { Ok(head) } else { Err(format!("{} does not answer", settings.node.rpc)) },
    );
    if let Some((url, node)) = &settings.fleet {
        let fleet = Coordinator::new(url, FleetFiles::new(home.fleet()));
        let reached = match fleet {
            Ok(coordinator) => {
                coordinator.get("/v1/ca").await.map(|a| format!("{url} as {node}: {}", a.status()))
            }
            Err(e) => Err(e.to_string()),
        };
        say("fleet", reached);
        let keys = settings.trust.as_ref().map(|t| format!("{} of {} keys", t.threshold, t.keys.len()));
        say("trust", keys.ok_or_else(|| "no maintainers' keys: no release can be accepted".to_owned()));
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

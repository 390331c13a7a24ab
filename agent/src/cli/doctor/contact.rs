//! Who can be reached: the node, and the fleet.
use super::{Findings, Patient};
use crate::clock;
use crate::probe::Prober;
use crate::sync::coordinator::Coordinator;
use crate::sync::files::FleetFiles;
use common::time::{Span, UnixMs};

/// A head this far ahead of the host's clock says that the clock is wrong.
const AHEAD: Span = Span::secs(30);

pub(super) async fn look(patient: &Patient<'_>, findings: &mut Findings) -> anyhow::Result<()> {
    let settings = patient.settings;
    let look = Prober::new(settings.node.rpc.clone())?.look(0).await;
    if look.health.rpc_up {
        let head = look.health.head();
        findings.ok("node rpc", head.map_or("no head".to_owned(), |b| format!("head {}", b.height)));
        let ahead =
            head.map_or(Span::ZERO, |b| UnixMs(b.timestamp_s.saturating_mul(1000)).since(clock::now()));
        if ahead > AHEAD {
            let detail = format!("the node's head is {ahead} ahead of this host's clock");
            findings.fail("clock", detail, "set the clock, and let chrony or systemd-timesyncd keep it");
        }
    } else {
        let detail = format!("{} does not answer", settings.node.rpc);
        findings.fail(
            "node rpc",
            detail,
            "does the node run (`wemixvisor status`), and with --http or --ipcpath as [node] rpc says?",
        );
    }
    if let Some((url, node)) = &settings.fleet {
        let fleet = Coordinator::new(url, FleetFiles::new(patient.home.fleet()));
        let reached = match fleet {
            Ok(coordinator) => coordinator.get("/v1/ca").await.map(|a| a.status()).map_err(|e| e.to_string()),
            Err(e) => Err(e.to_string()),
        };
        let hint = "is the coordinator up, the way to it open, and this host enrolled (`wemixvisor enroll`)?";
        match reached {
            Ok(status) => findings.ok("fleet", format!("{url} as {node}: {status}")),
            Err(why) => findings.fail("fleet", why, hint),
        }
        match &settings.trust {
            Some(trust) => findings.ok("trust", format!("{} of {} keys", trust.threshold, trust.keys.len())),
            None => findings.fail(
                "trust",
                "no maintainers' keys: no release can be accepted",
                "write the maintainers' keys into [trust]",
            ),
        }
    }
    Ok(())
}

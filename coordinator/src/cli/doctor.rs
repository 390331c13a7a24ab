//! `doctor`: is this machine, and the coordinator as seen from it, as it should be?
use super::Env;
use super::client::Client;
use super::error::{Exit, Outcome};
use super::escape::escape;
use super::output::{Format, Paint, Table, json, print};
use super::time::{now, short};
use common::time::{Span, UnixMs};
use coordinator::api::body::{ChainStatus, NodeList};
use serde::Serialize;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Flags of `doctor`.
#[derive(Debug, clap::Args)]
pub struct DoctorFlags {
    /// The coordinator's configuration, to look at its disk and certificates; only on its own machine.
    #[arg(long, env = "WEMIXFLEET_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    ok: bool,
    said: String,
}

/// Runs every check; exit 1 when one is not good.
///
/// # Errors
/// When the configuration cannot be read or nothing could be looked at.
pub async fn run(env: &Env, flags: &DoctorFlags) -> Outcome {
    let mut findings =
        vec![Finding { what: "version", ok: true, said: env!("CARGO_PKG_VERSION").to_owned() }];
    if let Some(path) = &flags.config {
        let dir = super::config::load(path)?.data_dir;
        findings.push(disk(&dir));
        findings.push(fsync(&dir));
        findings.extend(certificates(&dir));
    }
    match env.client() {
        Ok(client) => remote(&client, &mut findings).await,
        Err(failure) => findings.push(Finding { what: "coordinator", ok: false, said: failure.what }),
    }
    let good = findings.iter().all(|f| f.ok);
    if env.format == Format::Json {
        json(&findings)?;
    } else {
        let paint = Paint::detect();
        let mut table = Table::new(&["CHECK", "SAYS"]);
        for finding in &findings {
            table.row([finding.what, &finding.said]);
        }
        let text = table.render(5);
        let mut lines = text.lines();
        let mut out = format!("{}\n", lines.next().unwrap_or_default());
        for (line, finding) in lines.zip(&findings) {
            let mark = if finding.ok { paint.green("ok  ") } else { paint.red("BAD ") };
            out.push_str(&format!("{mark} {}\n", line.trim_start()));
        }
        print(&out)?;
    }
    Ok(if good { Exit::Done } else { Exit::No })
}

fn disk(dir: &Path) -> Finding {
    let (ok, said) = match rustix::fs::statvfs(dir) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let all = stat.f_blocks.saturating_mul(stat.f_frsize).max(1);
            (free > 1 << 30, format!("{} MiB free of {} MiB at {}", free >> 20, all >> 20, dir.display()))
        }
        Err(e) => (false, format!("{}: {e}", dir.display())),
    };
    Finding { what: "disk", ok, said }
}

/// Every acknowledged write waits for one fsync; the median of eight is told.
fn fsync(dir: &Path) -> Finding {
    let path = dir.join(format!(".doctor.{}", std::process::id()));
    let measured = (|| {
        let mut file = std::fs::File::create(&path)?;
        let mut spans = Vec::new();
        for _ in 0..8 {
            let start = Instant::now();
            file.write_all(&[0; 4096])?;
            file.sync_data()?;
            spans.push(start.elapsed());
        }
        spans.sort();
        std::io::Result::Ok(spans[spans.len() / 2])
    })();
    let _ = std::fs::remove_file(&path);
    match measured {
        Ok(span) => Finding {
            what: "fsync",
            ok: span.as_millis() < 50,
            said: format!("{:.1} ms for a synchronous write", span.as_secs_f64() * 1e3),
        },
        Err(e) => {
            Finding { what: "fsync", ok: false, said: format!("cannot write in {}: {e}", dir.display()) }
        }
    }
}

/// Every certificate in the data directory and one level below.
fn certificates(dir: &Path) -> Vec<Finding> {
    let mut files = Vec::new();
    for dir in [dir.to_owned(), dir.join("ca"), dir.join("tls"), dir.join("pki")] {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        files.extend(
            entries
                .flatten()
                .map(|e| e.path())
                .filter(|p| p.extension().is_some_and(|e| e == "crt" || e == "pem")),
        );
    }
    files.sort();
    let mut findings: Vec<Finding> = files.iter().filter_map(|path| certificate(path)).collect();
    if findings.is_empty() {
        findings.push(Finding { what: "certificate", ok: false, said: format!("none in {}", dir.display()) });
    }
    findings
}

fn certificate(path: &Path) -> Option<Finding> {
    let bytes = std::fs::read(path).ok()?;
    let (_, pem) = x509_parser::pem::parse_x509_pem(&bytes).ok()?;
    let parsed = pem.parse_x509().ok()?;
    let end = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0).saturating_mul(1000);
    let left = UnixMs(end).since(now());
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let said = format!("{name}: {} left", short(left));
    Some(Finding { what: "certificate", ok: left > Span::mins(60), said })
}

async fn remote(client: &Client, findings: &mut Vec<Finding>) {
    match client.get_text("/readyz").await {
        Ok((status, text)) => findings.push(Finding {
            what: "store",
            ok: status.is_success(),
            said: format!("{} {}", status.as_u16(), escape(text.trim())),
        }),
        Err(failure) => {
            let why = failure.why.map(|w| format!(": {w}")).unwrap_or_default();
            findings.push(Finding { what: "coordinator", ok: false, said: failure.what + &why });
            return;
        }
    }
    match client.get::<ChainStatus>("/v1/chain").await {
        Ok(chain) => {
            let here = now();
            let skew = here.since(chain.as_of).max(chain.as_of.since(here));
            findings.push(Finding {
                what: "clock",
                ok: skew < Span::secs(2),
                said: format!("differs from the coordinator's by at most {}", skew),
            });
            findings.push(match &chain.view {
                None => Finding {
                    what: "rpc",
                    ok: false,
                    said: "no chain view: no endpoints, or too few agree".into(),
                },
                Some(view) => Finding {
                    what: "rpc",
                    ok: view.agreeing.len() >= view.required
                        && chain.as_of.since(view.observed_at) < Span::secs(30),
                    said: format!(
                        "{} endpoints agree ({} needed) on height {}, {} ago",
                        view.agreeing.len(),
                        view.required,
                        view.head.height,
                        short(chain.as_of.since(view.observed_at))
                    ),
                },
            });
        }
        Err(failure) => findings.push(Finding { what: "rpc", ok: false, said: failure.what }),
    }
    if let Ok(list) = client.get::<NodeList>("/v1/nodes").await {
        let silent = list.nodes.iter().filter(|n| n.silent || n.observed.is_none()).count();
        findings.push(Finding {
            what: "agents",
            ok: silent == 0,
            said: format!("{} of {} nodes report", list.nodes.len() - silent, list.nodes.len()),
        });
        let other: Vec<String> = list
            .nodes
            .iter()
            .filter_map(|n| n.observed.as_ref())
            .map(|o| o.report.agent_version.clone())
            .filter(|v| v != env!("CARGO_PKG_VERSION"))
            .collect();
        if !other.is_empty() {
            let said = format!("{} agents have another version, for example {}", other.len(), other[0]);
            findings.push(Finding { what: "agent version", ok: false, said });
        }
    }
}

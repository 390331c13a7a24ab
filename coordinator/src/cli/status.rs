//! One screen that answers "why is it not moving", and the preview of a plan.
use super::escape::escape;
use super::output::{Paint, Table, bar};
use super::reasons;
use super::show::{control, phase, word};
use super::time::{ago, short, utc};
use common::planner::{Level, Preview, QuorumReport, Verdict};
use common::rollout::{Control, NodeState, Reason, Rollout};
use common::time::UnixMs;
use coordinator::api::body::RolloutStatus;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Most nodes listed one by one; the rest is counted.
const MAX_NODES: usize = 40;

/// Votes on one line: live, quorum, reserve, slack.
pub fn gauge(report: &QuorumReport, paint: Paint) -> String {
    let votes = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let picture = bar(votes(report.live), votes(report.total), 20);
    let reserve = i64::try_from(report.reserve).unwrap_or(i64::MAX);
    let words = format!(
        "quorum  {picture} {} of {} votes live, {} needed + {} reserve, slack {}",
        report.live, report.total, report.quorum, report.reserve, report.slack
    );
    let mut out = match report.slack {
        s if s < 0 => paint.red(&words),
        s if s <= reserve => paint.yellow(&words),
        _ => paint.green(&words),
    };
    out.push('\n');
    for (who, why) in &report.down {
        let _ = writeln!(out, "  down: {} ({})", escape(who), escape(why));
    }
    out
}

/// The whole screen.
pub fn screen(status: &RolloutStatus, base: &str, paint: Paint) -> String {
    let rollout = &status.rollout;
    let now = status.as_of;
    let release = &rollout.release;
    let mut out = format!(
        "{}  release {} on {}, policy {}\nphase   {}\ncontrol {}\n",
        paint.bold(rollout.id.as_str()),
        release.name,
        rollout.network,
        rollout.policy.name,
        phase(&rollout.phase),
        colour(&rollout.control, paint)
    );
    if !rollout.is_over() {
        let _ = writeln!(
            out,
            "time    {}; got further {}",
            verdict(&status.preview.verdict),
            ago(rollout.progressed_at, now)
        );
    }
    out.push_str(&stages(rollout));
    if let Some(quorum) = &status.quorum {
        out.push_str(&gauge(quorum, paint));
    }
    if let Some(slack) = rollout.min_slack {
        let _ = writeln!(out, "        smallest slack so far {slack}");
    }
    out.push_str(&nodes(rollout, now));
    if !rollout.waiting.is_empty() {
        out.push_str("waits for\n");
        for reason in &rollout.waiting {
            let _ = writeln!(out, "  {}: {}", paint.yellow(reason.code()), escape(&reason.message()));
        }
        let _ = writeln!(out, "what to do: wemixfleet rollout why {}", rollout.id);
    }
    let _ = writeln!(out, "as the coordinator at {} saw it at {}", escape(base), utc(now));
    out
}

fn colour(value: &Control, paint: Paint) -> String {
    let words = control(value);
    match value {
        Control::Run => words,
        Control::Held { .. } => paint.red(&words),
        _ => paint.yellow(&words),
    }
}

fn stages(rollout: &Rollout) -> String {
    let widest = rollout.policy.stages.iter().map(|s| s.name.as_str().len()).max().unwrap_or(0);
    let mut out = String::new();
    for (i, (stage, progress)) in rollout.policy.stages.iter().zip(&rollout.stages).enumerate() {
        let of = rollout.nodes.values().filter(|n| n.stage == i);
        let (mut all, mut done, mut busy, mut failed) = (0, 0, 0, 0);
        for node in of {
            all += 1;
            done += usize::from(matches!(node.state, NodeState::Done | NodeState::RolledBack));
            busy += usize::from(node.permission.is_some() && node.state != NodeState::Done);
            failed += usize::from(node.state.failed());
        }
        let mut notes = String::new();
        if busy > 0 {
            let _ = write!(notes, ", {busy} at work");
        }
        if failed > 0 {
            let _ = write!(notes, ", {failed} failed");
        }
        let _ = writeln!(
            out,
            "stage   {:widest$} {} {done}/{all} {}{notes}",
            stage.name,
            bar(done, all, 20),
            word(&progress.state)
        );
    }
    out
}

fn nodes(rollout: &Rollout, now: UnixMs) -> String {
    let mut table = Table::new(&["NODE", "STAGE", "STATE", "FOR", "WHY"]);
    let mut quiet: BTreeMap<String, usize> = BTreeMap::new();
    let mut shown = 0;
    for (name, node) in &rollout.nodes {
        let settled = matches!(node.state, NodeState::Done | NodeState::Selected) && node.reason.is_none();
        if (settled && rollout.nodes.len() > MAX_NODES) || shown == MAX_NODES {
            *quiet.entry(word(&node.state)).or_default() += 1;
            continue;
        }
        shown += 1;
        let fault = node.fault.as_ref().map(|f| format!("{}: {}", f.code.code(), f.detail));
        let why = node.reason.as_ref().map(Reason::message).or(fault).unwrap_or_default();
        let stage = rollout.policy.stages.get(node.stage).map_or("", |s| s.name.as_str());
        table.row([name.as_str(), stage, &word(&node.state), &short(now.since(node.since)), &why]);
    }
    let mut out = if table.is_empty() { String::new() } else { table.render(0) };
    for (state, count) in quiet {
        let _ = writeln!(out, "and {count} more {state}");
    }
    out
}

/// A verdict in words.
pub fn verdict(verdict: &Verdict) -> String {
    let said = match verdict.level {
        Level::Ok => "enough",
        Level::AtRisk => "AT RISK",
        Level::Unknown => "unknown",
        Level::Infeasible => "INFEASIBLE",
    };
    let need = verdict.need.map_or("unknown".into(), short);
    match verdict.eta {
        Some(eta) => format!(
            "{said}: activation in about {}, the rest needs about {need} ({} waves)",
            short(eta),
            verdict.waves
        ),
        None => format!("{said}: no deadline known, the rest needs about {need} ({} waves)", verdict.waves),
    }
}

/// What a plan would do, a row per stage.
pub fn preview(preview: &Preview, wide: bool) -> String {
    let mut table = Table::new(&["STAGE", "AFTER", "NODES", "AT ONCE", "WAVES", "SOAK", "WHICH"]);
    for stage in &preview.stages {
        let after: Vec<&str> = stage.after.iter().map(|s| s.as_str()).collect();
        let names: Vec<&str> = stage.nodes.iter().map(|n| n.as_str()).collect();
        let which = match names.len() {
            n if n > 6 && !wide => format!("{}, … {}", names[..5].join(", "), names[n - 1]),
            _ => names.join(", "),
        };
        table.row([
            stage.name.as_str(),
            &after.join(","),
            &names.len().to_string(),
            &stage.at_once.to_string(),
            &stage.waves.to_string(),
            &format!("{} blocks", stage.soak_blocks),
            &which,
        ]);
    }
    let mut out = table.render(0);
    if !preview.left_out.is_empty() {
        let names: Vec<&str> = preview.left_out.iter().map(|n| n.as_str()).collect();
        let _ = writeln!(out, "left out: {}", names.join(", "));
    }
    let _ = writeln!(out, "time: {}", verdict(&preview.verdict));
    for reason in &preview.refusals {
        let _ = writeln!(out, "in the way now: {}: {}", reason.code(), escape(&reason.message()));
    }
    out
}

/// Every reason with its meaning and what to do.
pub fn why(status: &RolloutStatus) -> String {
    let rollout = &status.rollout;
    let mut seen: Vec<(Reason, Vec<String>)> = Vec::new();
    let mut add = |reason: &Reason, of: Option<String>| match seen.iter_mut().find(|(r, _)| r == reason) {
        Some((_, nodes)) => nodes.extend(of),
        None => seen.push((reason.clone(), of.into_iter().collect())),
    };
    if let Control::Held { reason, .. } = &rollout.control {
        add(reason, None);
    }
    rollout.waiting.iter().for_each(|r| add(r, None));
    for (name, node) in &rollout.nodes {
        if let Some(reason) = &node.reason {
            add(reason, Some(name.to_string()));
        }
    }
    let mut out = String::new();
    for (reason, nodes) in &seen {
        let _ = writeln!(out, "{}: {}", reason.code(), escape(&reason.message()));
        if !nodes.is_empty() {
            let _ = writeln!(out, "  nodes: {}", nodes.join(", "));
        }
        advise(&mut out, reason.code());
        if let Reason::NodeFailed { fault, .. } = reason {
            let _ = writeln!(out, "  fault {}:", fault.code());
            advise(&mut out, fault.code());
        }
    }
    if seen.is_empty() {
        let _ = writeln!(out, "{} waits for nothing: {}", rollout.id, phase(&rollout.phase));
    }
    out
}

fn advise(out: &mut String, code: &str) {
    if let Some(row) = reasons::row(code) {
        let _ = writeln!(out, "  means: {}\n  do:    {}", row.meaning, row.advice);
    }
}

//! How each plan stands, and which comes next.
use super::{Applied, Plan, Queue, Source};
use serde::Serialize;

/// How a plan stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Its time has come, or it is the first whose time will come.
    Next,
    /// Its height is after that of the next one.
    Waiting,
    /// It is what runs, or it ran before what runs.
    Done,
    /// Its height went by without it: a later one was applied, or is due as well. It will not be applied.
    Missed,
    /// The operator said to pass over its height.
    Skipped,
    /// A plan of a stronger place has its height or its name.
    Overruled,
}

impl std::fmt::Display for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Standing::Next => "next",
            Standing::Waiting => "waiting",
            Standing::Done => "done",
            Standing::Missed => "missed",
            Standing::Skipped => "skipped",
            Standing::Overruled => "overruled",
        })
    }
}

impl Queue {
    /// How each of the plans stands, in their order. At most one is [`Standing::Next`].
    pub fn standings(&self, applied: &Applied, head: Option<u64>, skip: &[u64]) -> Vec<Standing> {
        let mut standings: Vec<Standing> =
            (0..self.plans.len()).map(|at| self.standing(at, applied, skip)).collect();
        let waits = |at: &usize| standings[*at] == Standing::Waiting;
        let waiting: Vec<usize> = (0..self.plans.len()).filter(waits).collect();
        // Of several heights that have gone by only the last one counts: its release knows the rules of the
        // others, and each switch costs a stop of the node. What the operator wants at once comes before all.
        let at_once = waiting.iter().copied().find(|at| self.plans[*at].height.is_none());
        let due = waiting.iter().copied().rfind(|at| self.plans[*at].is_due(head));
        let due = due.filter(|at| self.plans[*at].height.is_some());
        for at in &waiting {
            let before = self.plans[*at].height.is_some() && due.is_some_and(|due| *at < due);
            if before {
                standings[*at] = Standing::Missed;
            }
        }
        if let Some(next) = at_once.or(due).or(waiting.first().copied()) {
            standings[next] = Standing::Next;
        }
        standings
    }

    /// The plan to be applied next; [`Plan::is_due`] says whether its time has come.
    pub fn next(&self, applied: &Applied, head: Option<u64>, skip: &[u64]) -> Option<&Plan> {
        self.with(Standing::Next, applied, head, skip).into_iter().next()
    }

    /// Plans whose height went by without them, to be shown to the operator.
    pub fn missed(&self, applied: &Applied, head: Option<u64>, skip: &[u64]) -> Vec<&Plan> {
        self.with(Standing::Missed, applied, head, skip)
    }

    fn with(&self, standing: Standing, applied: &Applied, head: Option<u64>, skip: &[u64]) -> Vec<&Plan> {
        let standings = self.standings(applied, head, skip);
        let plans = self.plans.iter().zip(standings);
        plans.filter(|(_, s)| *s == standing).map(|(plan, _)| plan).collect()
    }

    /// How a plan stands before it is known which one is next.
    fn standing(&self, at: usize, applied: &Applied, skip: &[u64]) -> Standing {
        let plan = &self.plans[at];
        if applied.is(plan) {
            return Standing::Done;
        }
        if self.plans.iter().enumerate().any(|(other, o)| overrules((other, o), (at, plan))) {
            return Standing::Overruled;
        }
        let Some(height) = plan.height else { return Standing::Waiting };
        if skip.contains(&height) {
            return Standing::Skipped;
        }
        // A plan file written anew with the height of the last one corrects it; a list that still has that
        // height was answered by what was applied there.
        let past = applied
            .height
            .is_some_and(|last| height < last || (height == last && plan.source != Source::PlanFile));
        match past {
            false => Standing::Waiting,
            true if applied.earlier.contains(&plan.name) => Standing::Done,
            true => Standing::Missed,
        }
    }
}

/// Whether `strong` is of a stronger place, or earlier in the same one, with the same height or name. What
/// the operator wants at once is only overruled by the same wish: it may well be planned for later.
fn overrules(strong: (usize, &Plan), weak: (usize, &Plan)) -> bool {
    let ((a, strong), (b, weak)) = (strong, weak);
    let same = match (strong.height, weak.height) {
        (Some(strong_height), Some(height)) => strong_height == height || strong.name == weak.name,
        (None, None) => strong.name == weak.name,
        _ => false,
    };
    same && (strong.source, a) < (weak.source, b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::id::ReleaseName;

    const FILE: Source = Source::PlanFile;
    const BATCH: Source = Source::Batch;
    const OURS: Source = Source::Schedule;

    fn release(name: &str) -> ReleaseName {
        ReleaseName::new(name).unwrap()
    }

    /// `name@height` a plan, `name@now` at once.
    fn plan((text, source): (&str, Source)) -> Plan {
        let (title, height) = text.split_once('@').unwrap();
        let name = release(&title.to_lowercase());
        Plan { title: title.to_owned(), name, height: height.parse().ok(), info: String::new(), source }
    }

    fn applied(running: &str, last: Option<&str>) -> Applied {
        let last = last.map(|text| plan((text, FILE)));
        let height = last.as_ref().and_then(|p| p.height);
        let title = last.map(|p| p.title);
        Applied { running: Some(release(running)), title, height, earlier: Vec::new() }
    }

    /// The plans in their order with how they stand.
    fn check(plans: &[(&str, Source)], applied: &Applied, head: Option<u64>, expected: &str) {
        let mut queue = Queue { plans: plans.iter().copied().map(plan).collect(), faults: Vec::new() };
        queue.plans.sort_by_key(|p| (p.height.unwrap_or(0), p.source));
        let standings = queue.standings(applied, head, &[666]);
        let shown: Vec<String> =
            queue.plans.iter().zip(&standings).map(|(p, s)| format!("{} {s}", p.title)).collect();
        assert_eq!(shown.join(", "), expected, "{plans:?} at {head:?}");
        let next = queue.next(applied, head, &[666]).map(|p| p.title.clone());
        let marked = queue.plans.iter().zip(&standings).find(|(_, s)| **s == Standing::Next);
        assert_eq!(next, marked.map(|(p, _)| p.title.clone()));
    }

    #[test]
    fn the_lowest_height_to_come_is_next() {
        let genesis = applied("genesis", None);
        check(&[], &genesis, Some(5), "");
        check(&[("b@20", BATCH), ("a@10", FILE)], &genesis, Some(5), "a next, b waiting");
        check(&[("b@20", BATCH), ("a@10", FILE)], &genesis, None, "a next, b waiting");
    }

    #[test]
    fn a_plan_whose_height_was_reached_while_nobody_watched_is_next() {
        check(&[("a@10", FILE)], &applied("genesis", None), Some(5000), "a next");
    }

    #[test]
    fn what_runs_is_done_whatever_its_case() {
        check(&[("V2@10", FILE)], &applied("v2", None), Some(50), "V2 done");
        check(&[("Chain2@10", FILE)], &applied("x", Some("chain2@10")), Some(50), "Chain2 done");
        // Also with a higher height: a second switch to what runs only costs a stop.
        check(&[("v2@90", FILE)], &applied("v2", Some("v2@10")), Some(95), "v2 done");
    }

    #[test]
    fn a_passed_first_height_does_not_block_a_batch() {
        let batch = [("a@10", BATCH), ("b@100", BATCH), ("c@200", BATCH)];
        check(&batch, &applied("x", Some("x@20")), Some(50), "a missed, b next, c waiting");
        check(&batch, &applied("genesis", None), Some(50), "a next, b waiting, c waiting");
        check(&batch, &applied("genesis", None), Some(150), "a missed, b next, c waiting");
        check(&batch, &applied("a", Some("a@10")), Some(150), "a done, b next, c waiting");
        let mut later = applied("b", Some("b@100"));
        later.earlier = vec![release("a"), release("b")];
        check(&batch, &later, Some(150), "a done, b done, c next");
    }

    #[test]
    fn the_plan_file_wins_at_its_height_and_for_its_name() {
        let genesis = applied("genesis", None);
        check(&[("b@10", BATCH), ("f@10", FILE)], &genesis, Some(10), "f next, b overruled");
        check(&[("s@10", OURS), ("b@10", BATCH)], &genesis, Some(10), "b next, s overruled");
        check(&[("v2@10", BATCH), ("v2@20", FILE)], &genesis, Some(10), "v2 overruled, v2 next");
        check(&[("a@10", BATCH), ("b@10", BATCH)], &genesis, Some(1), "a next, b overruled");
        let done = applied("f", Some("f@10"));
        check(&[("b@10", BATCH), ("f@10", FILE)], &done, Some(10), "f done, b overruled");
    }

    #[test]
    fn the_height_of_the_last_one_is_corrected_by_the_plan_file_only() {
        let v2 = applied("v2", Some("v2@10"));
        check(&[("v2-fix@10", FILE)], &v2, Some(12), "v2-fix next");
        check(&[("v2-fix@10", BATCH)], &v2, Some(12), "v2-fix missed");
        check(&[("v1@9", FILE)], &v2, Some(12), "v1 missed");
    }

    #[test]
    fn skipped_heights_leave_the_node_alone_and_do_not_block() {
        let genesis = applied("genesis", None);
        check(&[("a@666", FILE), ("b@700", BATCH)], &genesis, Some(666), "a skipped, b next");
        check(&[("a@666", FILE), ("b@666", BATCH)], &genesis, Some(666), "a skipped, b overruled");
        check(&[("a@666", FILE), ("b@600", BATCH)], &genesis, Some(900), "b next, a skipped");
    }

    #[test]
    fn at_once_comes_before_every_height() {
        let genesis = applied("genesis", None);
        check(&[("a@10", FILE), ("n@now", OURS)], &genesis, Some(5), "n next, a waiting");
        check(&[("a@10", FILE), ("n@now", OURS)], &genesis, Some(15), "n next, a waiting");
        check(&[("n@now", OURS)], &genesis, None, "n next");
        check(&[("v2@900", FILE), ("v2@now", OURS)], &genesis, Some(5), "v2 next, v2 waiting");
        check(&[("n@now", OURS), ("m@now", OURS)], &genesis, None, "n next, m waiting");
        check(&[("a@10", FILE), ("n@now", OURS)], &applied("n", Some("n@7")), Some(15), "n done, a next");
    }

    #[test]
    fn due_is_said_by_height_and_head() {
        let at = |text: &str, head| plan((text, FILE)).is_due(head);
        assert!(at("a@10", Some(10)) && at("a@10", Some(11)) && at("a@now", None));
        assert!(!at("a@10", Some(9)) && !at("a@10", None));
    }
}

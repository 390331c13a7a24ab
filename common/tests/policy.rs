//! Policies: what is read, what is refused, and what they become on a fleet.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]
mod toy;

use common::fleet::{NodeRecord, Role};
use common::id::PolicyName;
use common::manifest::Activation;
use common::policy::{
    BUILTIN, Deadlines, Gate, Parallel, PolicyFile, Promote, ProofPolicy, Selector, builtin,
};
use common::time::Span;
use toy::{POLICY, World, address, fleet, record};

fn refused(text: &str, nodes: &[NodeRecord]) -> String {
    let name = PolicyName::new("p").unwrap();
    match PolicyFile::parse(text) {
        Err(errors) => errors.to_string(),
        Ok(file) => file.resolve(name, nodes).expect_err("the policy was taken").to_string(),
    }
}

fn stage(name: &str, rest: &str) -> String {
    format!("[[stage]]\nname = \"{name}\"\n{rest}\n")
}

const ALL: &str = "[[stage]]\nname = \"all\"\nselect = 'role != \"archive\"'\n";

#[test]
fn built_in_policies_are_read_and_fit_a_fleet() {
    for (name, text) in BUILTIN {
        let file = PolicyFile::parse(text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let policy = file.resolve(PolicyName::new(*name).unwrap(), &fleet(20, 13)).unwrap();
        assert!(policy.stages.len() >= 4, "{name}");
        assert_eq!(policy.stages[0].nodes.len(), 1, "{name} begins with one node");
        let nodes: usize = policy.stages.iter().map(|s| s.nodes.len()).sum();
        assert_eq!(nodes, 33, "{name} takes every node once");
        let json = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<common::policy::ResolvedPolicy>(&json).unwrap(), policy);
    }
    assert!(builtin("canary").is_some() && builtin("nothing").is_none());
}

#[test]
fn the_comments_of_canary_say_the_defaults() {
    let read = PolicyFile::parse(builtin("canary").unwrap()).unwrap();
    let policy = read.resolve(PolicyName::new("canary").unwrap(), &fleet(2, 7)).unwrap();
    assert_eq!(policy.deadlines, Deadlines::default());
    assert_eq!(policy.proof, ProofPolicy::default());
    let least = PolicyFile::parse(&format!("schema = 1\n{ALL}")).unwrap();
    let least = least.resolve(PolicyName::new("canary").unwrap(), &fleet(2, 7)).unwrap();
    assert_eq!(policy.quorum, least.quorum);
    assert_eq!(
        (policy.mode, policy.offline, policy.on_failure),
        (least.mode, least.offline, least.on_failure)
    );
    assert_eq!((policy.max_parallel, policy.expect_switch), (least.max_parallel, least.expect_switch));
}

#[test]
fn a_policy_becomes_names_and_numbers() {
    let policy = toy::resolve(POLICY, &fleet(3, 5));
    let names = |i: usize| policy.stages[i].nodes.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(0), ["rpc-1"]);
    assert_eq!(names(1), ["rpc-2", "rpc-3"], "the earlier stage took rpc-1");
    assert_eq!(names(2), ["val-01"]);
    assert_eq!(names(3).len(), 4);
    assert_eq!(policy.stages[3].after, [2], "without `after` a stage follows the one before it");
    assert_eq!(policy.stages[1].parallel, Parallel::Count(2));
    assert_eq!(policy.stages[3].parallel, Parallel::Slack);
    assert_eq!(policy.stages[0].gates, [Gate::StateRootEqual, Gate::RpcOk]);
    assert_eq!(policy.stages[0].promote, Promote::Auto);
    assert_eq!(policy.deadlines.progress, Span::mins(5));
    assert_eq!(policy.quorum.max_block_slowdown_milli, 2000);
}

#[test]
fn stages_are_ordered_by_what_they_come_after() {
    let text = format!(
        "schema = 1\n{}{}",
        stage("second", "select = 'role == \"validator\"'\nafter = [\"first\"]"),
        stage("first", "select = 'role == \"rpc\"'\nafter = []"),
    );
    let policy = toy::resolve(&text, &fleet(2, 4));
    assert_eq!(policy.stages[0].name.as_str(), "first");
    assert_eq!(policy.stages[1].after, [0]);
    let cycle = text.replace("after = []", "after = [\"second\"]");
    assert!(refused(&cycle, &fleet(2, 4)).contains("wait for each other"));
}

#[test]
fn every_error_is_said_at_once_with_its_key() {
    let text = r#"
        schema = 2
        [quorum]
        unknown_is_down = false
        [defaults]
        max_parallel = 0
        [[stage]]
        name = "a"
        select = 'rol == "rpc"'
        count = 0
        gate = ["peers>=x"]
        after = ["nowhere"]
    "#;
    let said = refused(text, &fleet(2, 4));
    for key in [
        "schema: ",
        "quorum.unknown_is_down: ",
        "defaults.max_parallel: ",
        "stage.a.select: at character 1: \"rol\" is no field",
        "stage.a.count: 0 nodes",
        "stage.a.gate: \"peers>=x\" is no gate",
        "stage.a.after: there is no stage nowhere",
    ] {
        assert!(said.contains(key), "{key:?} is missing in:\n{said}");
    }
}

#[test]
fn what_is_not_built_yet_is_refused_by_name() {
    for (text, key) in [
        ("[[window]]\nstart = \"01:00\"", "window: not supported yet"),
        ("[[blackout]]\nfrom = 1", "blackout: not supported yet"),
        ("[[hold]]\nselect = \"x\"", "hold: not supported yet"),
        ("[hooks]\na = 1", "hooks: not supported yet"),
        ("[[check]]\nname = \"x\"", "check: not supported yet"),
        ("[rollout]\nmode = \"at_height\"", "rollout.mode: \"at_height\" is not supported yet"),
        ("[rollout]\nsupersede = \"queue\"", "rollout.supersede: \"queue\" is not supported yet"),
        ("[quorum]\nrule = \"weighted_two_thirds\"", "quorum.rule: \"weighted_two_thirds\" is not supported"),
        ("[defaults]\non_failure = \"forward\"", "defaults.on_failure: \"forward\" is not supported yet"),
    ] {
        let said = refused(&format!("schema = 1\n{text}\n{ALL}"), &fleet(2, 4));
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(key), "{key:?} is missing in: {said}");
    }
    for (text, key) in [
        ("growth = { start = 1 }", "stage.all.growth: not supported yet"),
        ("approvals = { n = 2 }", "stage.all.approvals: not supported yet"),
        ("soak = { epochs = 1 }", "stage.all.soak.epochs: not supported yet"),
        ("abort_if = { or_percent = 10 }", "stage.all.abort_if.or_percent: not supported yet"),
        ("gate = [\"metric:errors\"]", "stage.all.gate: \"metric:errors\" is not supported yet"),
    ] {
        let said = refused(&format!("schema = 1\n{ALL}{text}\n"), &fleet(2, 4));
        assert!(said.contains(key), "{key:?} is missing in: {said}");
    }
    let said = refused(&format!("schema = 1\nnonsense = 1\n{ALL}"), &fleet(2, 4));
    assert!(said.contains("nonsense"), "{said}");
    assert!(refused("= 1", &fleet(2, 4)).len() > 5);
}

#[test]
fn a_policy_that_does_not_fit_the_fleet_is_refused() {
    let nodes = fleet(2, 4);
    let with = |stages: &str| refused(&format!("schema = 1\n{stages}"), &nodes);
    let rpc = |rest: &str| stage("rpc", &format!("select = 'role == \"rpc\"'\n{rest}"));
    let val = stage("val", "select = 'role == \"validator\"'");
    assert!(with(&(rpc("count = 2") + &val)).contains("a canary must be smaller than its group"));
    assert!(with(&(rpc("percent = 10") + &val)).contains("10 percent of 2 node(s) is 0 nodes"));
    assert!(with(&rpc("")).contains("no stage takes val-01, val-02, val-03, val-04"));
    assert!(with(&(stage("arch", "select = 'role == \"archive\"'") + ALL)).contains("selects no node"));
    let none = format!("schema = 1\n[quorum]\nrule = \"none\"\n{ALL}");
    assert!(refused(&none, &nodes).contains("val-01 is a validator and quorum.rule is \"none\""));
    assert!(
        refused(&none.replace("none", "wbft"), &[record("v", Role::Validator, None)]).contains("address")
    );
    let other = format!("schema = 1\n[rollout]\nnetwork = \"elsewhere\"\n{ALL}");
    assert!(refused(&other, &nodes).contains("no node is registered in network elsewhere"));
    let left = format!(
        "schema = 1\n[rollout]\nleft_out = [\"val-01\", \"val-02\", \"val-03\", \"val-04\"]\n{}",
        rpc("")
    );
    let policy = toy::resolve(&left, &nodes);
    assert_eq!(policy.left_out.len(), 4);
}

#[test]
fn selectors() {
    let mut node = record("val-07", Role::Validator, Some(address(7)));
    node.labels.insert("zone".into(), "a".into());
    for (text, taken) in [
        ("role == \"validator\"", true),
        ("role != \"validator\"", false),
        ("labels.zone == \"a\" && name == \"val-07\"", true),
        ("labels.zone == \"b\" || network == \"toynet\"", true),
        ("!(labels.zone == \"a\")", false),
        ("labels.rack == \"\"", false),
        ("labels.rack != \"x\"", true),
        ("role == \"rpc\" || role == \"validator\" && labels.zone == \"b\"", false),
        ("!labels.zone == \"b\"", true),
    ] {
        assert_eq!(Selector::parse(text).unwrap().matches(&node), taken, "{text}");
    }
    for bad in [
        "",
        "role",
        "role =",
        "role == ",
        "role == rpc",
        "role == \"king\"",
        "role == \"rpc",
        "role == \"rpc\" &&",
        "role == \"rpc\" role",
        "(role == \"rpc\"",
        "labels. == \"x\"",
        "age == \"1\"",
        "role & \"rpc\"",
        "name == \"a\\n\"",
        &"!".repeat(100),
        &"(".repeat(5000),
    ] {
        assert!(Selector::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn verbs_are_refused_where_they_make_no_sense() {
    use common::rollout::{Control, Verb};
    let w = World::with(fleet(3, 4), POLICY, Activation::Anytime, 0);
    let draft = common::rollout::Rollout { phase: common::rollout::Phase::Draft, ..w.rollout.clone() };
    let legal = |r: &common::rollout::Rollout| -> Vec<&str> {
        let all = [
            Verb::Approve,
            Verb::Pause,
            Verb::Resume,
            Verb::Promote,
            Verb::Retry,
            Verb::Abort,
            Verb::Rollback,
        ];
        all.into_iter().filter(|v| r.apply(*v, "a", "", w.now).is_ok()).map(Verb::name).collect()
    };
    assert_eq!(legal(&draft), ["approve", "abort"]);
    assert_eq!(legal(&w.rollout), ["pause", "abort", "rollback"]);
    let mut irreversible = w.rollout.clone();
    irreversible.manifest.irreversible = true;
    assert_eq!(legal(&irreversible), ["pause", "abort"]);
    let (paused, events) = w.rollout.apply(Verb::Pause, "a", "lunch", w.now).unwrap();
    assert_eq!((paused.revision, events.len()), (w.rollout.revision + 1, 1));
    assert!(matches!(paused.control, Control::Paused { .. }));
    assert_eq!(legal(&paused), ["resume", "abort", "rollback"]);
    let (over, _) = draft.apply(Verb::Abort, "a", "", w.now).unwrap();
    assert!(legal(&over).is_empty());
}

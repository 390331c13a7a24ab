//! Plans of a host from the command line: files byte for byte, refusals before anything is written, homes of
//! the other supervisors read back.
#![allow(clippy::unwrap_used, reason = "tests fail by panic")]

#[path = "plans/host.rs"]
mod host;
#[path = "plans/init.rs"]
mod init;
#[path = "plans/samples.rs"]
mod samples;
#[path = "plans/schedule.rs"]
mod schedule;
mod support;

use host::{Host, failed, said};

const CHAIN2: &str = r#"{"name":"chain2","time":"0001-01-01T00:00:00Z","height":49}"#;

#[test]
fn add_upgrade_writes_what_cosmovisor_writes() {
    let host = Host::new("cosmovisor");
    let binary = host.executable("new", "chain 2");
    let out = said(&host.run(&["add-upgrade", "Chain2", &binary, "--upgrade-height", "49"]));
    let target = host.path("cosmovisor/upgrades/chain2/bin/geth");
    assert!(out.contains(&format!("{} sha256 {}", target.display(), host::digest("chain 2"))), "{out}");
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "chain 2");
    assert_eq!(host.mode(&target), 0o755);
    assert_eq!(host.text("data/upgrade-info.json"), CHAIN2);
    // Said again it changes nothing.
    said(&host.run(&["add-upgrade", "CHAIN2", &binary, "--upgrade-height", "49"]));
    assert_eq!(host.text("data/upgrade-info.json"), CHAIN2);
    let plan = &host.plans()[0];
    assert_eq!((plan["name"].as_str(), plan["standing"].as_str()), (Some("chain2"), Some("next")));
    assert_eq!((&plan["staged"], &plan["due"]), (&true.into(), &serde_json::Value::Null));
}

#[test]
fn add_upgrade_escapes_names_and_plans_nothing_without_a_height() {
    let host = Host::new("cosmovisor");
    let binary = host.executable("new", "x");
    said(&host.run(&["add-upgrade", "My Up", &binary]));
    assert!(host.path("cosmovisor/upgrades/my%20up/bin/geth").is_file());
    assert!(!host.path("data/upgrade-info.json").exists(), "no height, no plan");
    said(&host.run(&["add-upgrade", "a/B", &binary, "--upgrade-height", "0"]));
    assert!(host.path("cosmovisor/upgrades/a%2Fb/bin/geth").is_file());
}

#[test]
fn add_upgrade_refuses_before_it_writes_anything() {
    let host = Host::new("wemixvisor");
    let other = host.write("data/upgrade-info.json", r#"{"name":"v9","height":900}"#);
    let binary = host.executable("new", "v2");
    let args = ["add-upgrade", "v2", &binary, "--upgrade-height", "49"];
    let error = failed(&host.run(&args));
    assert!(error.contains("file already exists at") && error.contains("v9 at height 900"), "{error}");
    assert!(!host.path("wemixvisor/upgrades/v2").exists(), "the executable was not copied either");
    host.write("wemixvisor/upgrades/v2/bin/geth", "another v2");
    let error = failed(&host.run(&["add-upgrade", "v2", &binary]));
    assert!(error.contains("file already exists at"), "{error}");
    assert_eq!(host.text("wemixvisor/upgrades/v2/bin/geth"), "another v2");
    assert_eq!(std::fs::read_to_string(&other).unwrap(), r#"{"name":"v9","height":900}"#);
    // A file that cannot be read may be somebody's plan.
    std::fs::write(&other, "{\"name\":").unwrap();
    assert!(failed(&host.run(&args)).contains("file already exists at"));
    said(&host.run(&[&args[..], &["--force"]].concat()));
    assert_eq!(host.text("wemixvisor/upgrades/v2/bin/geth"), "v2");
    assert!(host.text("data/upgrade-info.json").starts_with(r#"{"name":"v2","#));
}

#[test]
fn a_spent_plan_makes_way_and_a_lower_height_is_refused() {
    let host = Host::new("wemixvisor");
    host.applied("v2", 100);
    host.write("data/upgrade-info.json", r#"{"name":"V2","height":100}"#);
    let binary = host.executable("new", "v3");
    let error = failed(&host.run(&["add-upgrade", "v3", &binary, "--upgrade-height", "99"]));
    assert!(error.contains("would never be applied"), "{error}");
    said(&host.run(&["add-upgrade", "v3", &binary, "--upgrade-height", "200"]));
    assert!(host.text("data/upgrade-info.json").contains(r#""name":"v3""#));
}

#[test]
fn heights_and_names_that_are_none_are_errors() {
    let host = Host::new("wemixvisor");
    let binary = host.executable("new", "v2");
    for height in ["-5", "abc", "1.5", "", "9223372036854775808", "0x10"] {
        let error = failed(&host.run(&["add-upgrade", "v2", &binary, "--upgrade-height", height]));
        assert!(error.contains("the upgrade height"), "{height}: {error}");
        let error = failed(&host.run(&["upgrade", "schedule", "v2", height, "--binary", &binary]));
        assert!(error.contains("height") && error.contains("invalid"), "{height}: {error}");
    }
    for name in ["..", ".", "genesis", "", "a\nb", "../../evil"] {
        failed(&host.run(&["add-upgrade", name, &binary]));
        failed(&host.run(&["upgrade", "schedule", name, "5", "--binary", &binary]));
        failed(&host.run(&["add-batch-upgrade", "--upgrade-list", &format!("{name}:{binary}:5")]));
    }
    assert!(!host.path("wemixvisor/upgrades").exists() && !host.path("wemixvisor/schedule.json").exists());
    assert_eq!(host.text("wemixvisor/genesis/bin/geth"), "genesis", "E23: nothing left its folder");
    for (file, part) in [("none", "executable file not found"), ("", "must not be a directory")] {
        let file = host.path(file).display().to_string();
        assert!(failed(&host.run(&["add-upgrade", "v2", &file])).contains(part));
    }
}

#[test]
fn a_batch_is_written_sorted_from_each_form() {
    let sorted = "[\n  {\n    \"name\": \"v2\",\n    \"time\": \"0001-01-01T00:00:00Z\",\n    \"height\": 49\n  },\n  \
                  {\n    \"name\": \"v3\",\n    \"time\": \"0001-01-01T00:00:00Z\",\n    \"height\": 936\n  }\n]";
    let check = |form: &str, text: &dyn Fn(&str, &str) -> String| {
        let host = Host::new("cosmovisor");
        let (two, three) = (host.executable("two", "2"), host.executable("three", "3"));
        let text = text(&two, &three);
        let args = if form == "list" {
            vec!["--upgrade-list".to_owned(), text]
        } else {
            let file = host.write(&format!("upgrades.{form}"), &text);
            vec!["--upgrade-file".to_owned(), file.display().to_string()]
        };
        let mut all = vec!["add-batch-upgrade"];
        all.extend(args.iter().map(String::as_str));
        said(&host.run(&all));
        assert_eq!(host.text("data/upgrade-info.json.batch"), sorted, "{form}");
        assert_eq!(host.text("cosmovisor/upgrades/v2/bin/geth"), "2", "{form}");
        assert_eq!(host.text("cosmovisor/upgrades/v3/bin/geth"), "3", "{form}");
        assert!(!host.path("data/upgrade-info.json").exists());
        let left: Vec<_> = std::fs::read_dir(host.path("data")).unwrap().collect();
        assert_eq!(left.len(), 1, "no left-overs: {left:?}");
    };
    check("list", &|two, three| format!("V3:{three}:936,v2:{two}:49"));
    check("csv", &|two, three| format!("v3, {three}, 936\r\n\n\"V2\",{two},49\n"));
    check("json", &|two, three| {
        format!(
            r#"[{{"name":"v3","executable":{three:?},"height":936}},{{"name":"v2","executable":{two:?},"height":"49"}}]"#
        )
    });
}

#[test]
fn a_bad_batch_changes_nothing() {
    let host = Host::new("cosmovisor");
    let two = host.executable("two", "2");
    let list = |text: String| host.run(&["add-batch-upgrade", "--upgrade-list", &text]);
    let table = [
        (format!("v2:{two}:49,v3:{two}"), "argument at position 1 (v3:".to_owned()),
        (format!("v2:{two}:49,v3:{two}:x"), "upgrade height at position 1 (x) is invalid".into()),
        (format!("v2:{two}:-49"), "upgrade height at position 0 (-49) is invalid".into()),
        (format!("v2:{two}:49,v3:/nowhere/v3:50"), "executable file not found: /nowhere/v3".into()),
        (format!("v2:{two}:49,v3:{two}:49"), "same height".into()),
        (format!("v2:{two}:49,V2:{two}:50"), "in the batch twice".into()),
    ];
    for (text, part) in table {
        let error = failed(&list(text.clone()));
        assert!(error.contains(&part), "{text}: {error}");
    }
    let error = failed(&host.run(&["add-batch-upgrade"]));
    assert!(error.contains("either --upgrade-file or --upgrade-list must be provided"), "{error}");
    let error = failed(&host.run(&["add-batch-upgrade", "--upgrade-list", "x", "--upgrade-file", "y"]));
    assert!(error.contains("[upgrade-file upgrade-list] were all set"), "{error}");
    assert!(!host.path("cosmovisor/upgrades").exists());
    assert!(!host.path("data/upgrade-info.json.batch").exists());
    // What runs is not exchanged by a list.
    host.applied("v1", 10);
    let error = failed(&list(format!("v1:{two}:10,v2:{two}:49")));
    assert!(error.contains("v1 is what runs"), "{error}");
    assert_eq!(host.text("cosmovisor/upgrades/v1/bin/geth"), "v1");
}

#[test]
fn a_passed_first_height_of_a_batch_does_not_block_the_rest() {
    let host = Host::new("cosmovisor");
    host.applied("v2", 50);
    let batch = r#"[{"name":"old","height":10},{"name":"v3","height":90},{"name":"v4","height":95}]"#;
    host.write("data/upgrade-info.json.batch", batch);
    let standings: Vec<_> = host.plans().iter().map(|p| p["standing"].as_str().unwrap().to_owned()).collect();
    assert_eq!(standings, ["missed", "next", "waiting"]);
    host.write("cosmovisor/upgrades/v3/bin/geth", "v3");
    assert!(said(&host.run(&["prepare-upgrade"])).contains("upgrades/v3/bin/geth sha256"));
}

#[test]
fn show_upgrade_info_prints_the_file_to_stdout() {
    let host = Host::new("cosmovisor");
    let absent = host.run(&["show-upgrade-info"]);
    assert!(absent.status.success() && absent.stdout.is_empty());
    let path = host.path("data/upgrade-info.json");
    let message = String::from_utf8(absent.stderr).unwrap();
    assert_eq!(message, format!("No upgrade info found at {}\n", path.display()));
    host.write("data/upgrade-info.json", CHAIN2);
    assert_eq!(said(&host.run(&["show-upgrade-info"])), CHAIN2);
}

#[test]
fn prepare_upgrade_looks_for_the_next_or_the_named_plan() {
    let host = Host::new("cosmovisor");
    assert_eq!(said(&host.run(&["prepare-upgrade"])), "No active upgrade plan found\n");
    host.write("data/upgrade-info.json", r#"{"name":"V2","height":"49"}"#);
    let error = failed(&host.run(&["prepare-upgrade"]));
    assert!(error.contains("v2") && error.contains("add-upgrade"), "{error}");
    host.write("cosmovisor/upgrades/v2/bin/geth", "v2");
    let out = said(&host.run(&["prepare-upgrade"]));
    assert!(out.contains(&host::digest("v2")), "{out}");
    assert_eq!(said(&host.run(&["prepare-upgrade", "v2"])), out);
    assert!(failed(&host.run(&["prepare-upgrade", "v3"])).contains("v3"));
    host.applied("v2", 49);
    assert_eq!(said(&host.run(&["prepare-upgrade"])), "No active upgrade plan found\n");
}

#[test]
fn bad_plan_files_are_shown_and_end_nothing() {
    let host = Host::new("cosmovisor");
    for (text, kind, part) in [
        ("", "not_yet", "empty upgrade-info.json in"),
        ("{\"name\"", "not_yet", "in the middle"),
        ("not json", "malformed", "no JSON"),
        ("{\"name\":\"v2\",\"height\":5,\"info\":7}", "malformed", "cannot unmarshal number"),
        ("{\"name\":\"..\",\"height\":5}", "malformed", "cannot name an upgrade"),
        ("{\"name\":\"v2\",\"height\":5,\"time\":\"2031-01-01T00:00:00Z\"}", "warning", "time-based"),
    ] {
        host.write("data/upgrade-info.json", text);
        let list = host.list();
        assert_eq!(list["faults"][0]["kind"], kind, "{text}");
        assert!(list["faults"][0]["detail"].as_str().unwrap().contains(part), "{text}: {list}");
        assert!(said(&host.run(&["upgrade", "list"])).contains(part), "{text}");
    }
}

#[test]
fn a_running_agent_tells_whether_a_plan_is_due() {
    let mut host = support::Host::new(&serde_json::json!({"version": "1.0.0"}));
    host.settings(None, "stop", "20s");
    let batch = r#"[{"name":"v2","height":1},{"name":"v3","height":9000000000000000000}]"#;
    std::fs::write(host.data().join("upgrade-info.json.batch"), batch).unwrap();
    let list = |host: &support::Host| -> serde_json::Value {
        serde_json::from_slice(&host.command(&["upgrade", "list", "-o", "json"]).stdout).unwrap()
    };
    assert_eq!(list(&host)["head"], serde_json::Value::Null, "nobody runs who knows it");
    host.start();
    host.healthy();
    let known = support::wait("a head above 1", || {
        Some(list(&host)).filter(|known| known["head"].as_u64().is_some_and(|head| head >= 1))
    });
    assert_eq!((&known["plans"][0]["due"], &known["plans"][1]["due"]), (&true.into(), &false.into()));
    assert_eq!(known["plans"][0]["standing"], "next");
}

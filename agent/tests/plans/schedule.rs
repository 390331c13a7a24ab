//! `upgrade schedule`, `upgrade list` and `upgrade cancel`.
use super::host::{Host, digest, failed, said};
use serde_json::{Value, json};

fn scheduled(host: &Host) -> Value {
    serde_json::from_str(&host.text("wemixvisor/schedule.json")).unwrap()
}

#[test]
fn a_plan_is_put_into_the_schedule_with_its_executable() {
    let host = Host::new("wemixvisor");
    let binary = host.executable("new", "v2");
    let governance = host.write("data/upgrade-info.json", r#"{"name":"v9","height":900}"#);
    let out = said(&host.run(&["upgrade", "schedule", "V2", "49", "--binary", &binary]));
    assert!(out.contains(&digest("v2")) && out.contains("v2 at height 49"), "{out}");
    said(&host.run(&["upgrade", "schedule", "v3", "now", "--binary", &binary]));
    let upgrades = json!([{"name": "v2", "height": 49}, {"name": "v3", "height": null}]);
    assert_eq!(scheduled(&host), json!({"schema": 1, "upgrades": upgrades}));
    assert_eq!(std::fs::read_to_string(governance).unwrap(), r#"{"name":"v9","height":900}"#);
    let shown: Vec<_> = host
        .plans()
        .iter()
        .map(|p| format!("{} {} {} {}", p["title"], p["standing"], p["staged"], p["due"]))
        .collect();
    let expected =
        [r#""v3" "next" true true"#, r#""v2" "waiting" true null"#, r#""v9" "waiting" false null"#];
    assert_eq!(shown, expected);
    let table = said(&host.run(&["upgrade", "status"]));
    assert!(table.lines().count() == 4 && table.contains("STANDING"), "{table}");
}

#[test]
fn nothing_that_is_planned_is_written_over() {
    let host = Host::new("wemixvisor");
    let binary = host.executable("new", "v2");
    host.write("data/upgrade-info.json", r#"{"name":"v9","height":900}"#);
    let schedule =
        |args: &[&str]| host.run(&[&["upgrade", "schedule"], args, &["--binary", binary.as_str()]].concat());
    said(&schedule(&["v2", "49"]));
    let before = scheduled(&host);
    for args in [["v2", "50"], ["v3", "49"], ["v3", "900"], ["v9", "800"]] {
        let error = failed(&schedule(&args));
        assert!(error.contains("is planned") && error.contains("upgrade cancel"), "{args:?}: {error}");
        assert!(!host.path("wemixvisor/upgrades/v3").exists(), "{args:?}");
    }
    said(&schedule(&["v2", "49"]));
    assert_eq!(scheduled(&host), before, "the same once more is no second one");
    // What is planned for later may be wanted now.
    said(&schedule(&["v9", "now"]));
    assert_eq!(host.plans()[0]["standing"], "next");
    let other = host.executable("other", "other bytes");
    let error = failed(&host.run(&["upgrade", "schedule", "v2", "49", "--binary", &other]));
    assert!(error.contains("file already exists at"), "{error}");
    host.applied("v2", 49);
    assert!(failed(&schedule(&["v2", "60"])).contains("is what runs"));
    assert!(failed(&schedule(&["v4", "49"])).contains("would never be applied"));
}

#[test]
fn an_upgrade_without_an_executable_is_refused_unless_it_can_be_fetched() {
    let host = Host::new("wemixvisor");
    let schedule = ["upgrade", "schedule", "v2", "49"];
    assert!(failed(&host.run(&schedule)).contains("there is no executable"));
    host.write("wemixvisor/upgrades/v2/bin/geth", "");
    assert!(failed(&host.run(&schedule)).contains("there is no executable"), "an empty one is none");
    let sum = "00".repeat(32);
    let binaries = &format!("{{\"any\":\"https://example.org/geth?checksum=sha256:{sum}\"}}");
    let fetched =
        [&schedule[..], &["--binaries", binaries, "--checksum", &sum, "--info", r#"{"z":1}"#]].concat();
    assert!(failed(&host.run(&fetched)).contains("downloads are not allowed"));
    assert!(!host.path("wemixvisor/schedule.json").exists());
    for (flag, text) in
        [("--binaries", "x"), ("--binaries", "{}"), ("--binaries", r#"{"any":1}"#), ("--info", "{")]
    {
        assert!(failed(&host.run(&[&schedule[..], &[flag, text]].concat())).contains(flag), "{flag} {text}");
    }
    host.write("wemixvisor/upgrades/v2/bin/geth", "v2");
    said(&host.run(&fetched));
    let info = scheduled(&host)["upgrades"][0]["info"].as_str().unwrap().to_owned();
    let expected = json!({"binaries": {"any": format!("https://example.org/geth?checksum=sha256:{sum}")}, "checksum": sum, "z": 1});
    assert_eq!(serde_json::from_str::<Value>(&info).unwrap(), expected);
}

#[test]
fn cancel_takes_a_plan_out_of_its_place() {
    let host = Host::new("wemixvisor");
    assert_eq!(said(&host.run(&["upgrade", "cancel"])), "No upgrade scheduled\n");
    host.write("data/upgrade-info.json", r#"{"name":"v1","height":10}"#);
    let batch = r#"[{"name":"v2","height":20},{"broken":1},{"name":"V3","height":30,"info":"a&b"}]"#;
    host.write("data/upgrade-info.json.batch", batch);
    let plan =
        r#"{"version":"1.0","name":"x","upgrades":[{"name":"v4","height":40},{"name":"v5","height":50}]}"#;
    host.write("wemixvisor/plans/x-1.json", plan);
    host.write("wemixvisor/upgrades/v6/bin/geth", "v6");
    said(&host.run(&["upgrade", "schedule", "v6", "60"]));
    // Nobody is there to agree.
    assert!(host.run(&["upgrade", "cancel", "v1"]).stderr.ends_with(b"say --force to cancel it\n"));
    assert!(failed(&host.run(&["upgrade", "cancel", "--force"])).contains("v1, v2, v3, v4, v5, v6"));
    assert!(failed(&host.run(&["upgrade", "cancel", "v7", "--force"])).contains("v7"));
    assert_eq!(host.plans().len(), 6);
    for name in ["V1", "v2", "v4", "v6"] {
        said(&host.run(&["upgrade", "cancel", name, "--force"]));
    }
    assert!(!host.path("data/upgrade-info.json").exists());
    let left = "[\n  {\n    \"broken\": 1\n  },\n  {\n    \"name\": \"v3\",\n    \"time\": \"0001-01-01T00:00:00Z\",\n    \
                \"height\": 30,\n    \"info\": \"a\\u0026b\"\n  }\n]";
    assert_eq!(host.text("data/upgrade-info.json.batch"), left);
    let whole: Value = serde_json::from_str(&host.text("wemixvisor/plans/x-1.json")).unwrap();
    assert_eq!(whole, json!({"version": "1.0", "name": "x", "upgrades": [{"name": "v5", "height": 50}]}));
    assert_eq!(scheduled(&host)["upgrades"], json!([]));
    let names: Vec<_> = host.plans().iter().map(|p| p["name"].clone()).collect();
    assert_eq!(names, ["v3", "v5"]);
}

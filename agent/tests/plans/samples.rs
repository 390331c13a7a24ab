//! Homes as the other supervisors leave them.
use super::host::{Host, said};
use serde_json::json;

#[test]
fn a_cosmovisor_home_with_either_link() {
    for absolute in [false, true] {
        let host = Host::new("cosmovisor");
        for name in ["chain2", "my%20up", "chain4"] {
            host.write(&format!("cosmovisor/upgrades/{name}/bin/geth"), name);
        }
        let applied = r#"{"name":"chain2","time":"0001-01-01T00:00:00Z","height":49}"#;
        host.write("cosmovisor/upgrades/chain2/upgrade-info.json", applied);
        host.write("cosmovisor/config.toml", "daemon_name = 'geth'\n");
        host.write("data/upgrade-info.json.My Up", "left over by a batch");
        host.write(
            "data/upgrade-info.json",
            r#"{"name":"Chain2","time":"0001-01-01T00:00:00Z","height":49,"info":""}"#,
        );
        let batch = r#"[{"name":"Chain4","height":400,"time":"0001-01-01T00:00:00Z"},
                        {"name":"My Up","height":300,"info":"{\"binaries\":{}}","upgraded_client_state":null}]"#;
        host.write("data/upgrade-info.json.batch", batch);
        match absolute {
            true => host.link(host.path("cosmovisor/upgrades/chain2")),
            false => host.link("upgrades/chain2"),
        }
        let list = host.list();
        assert_eq!((&list["running"], &list["last_applied_height"]), (&json!("chain2"), &json!(49)));
        assert_eq!(list["faults"], json!([]));
        let shown: Vec<_> = host
            .plans()
            .iter()
            .map(|p| format!("{} {} {} {}", p["name"], p["height"], p["standing"], p["staged"]))
            .collect();
        let expected =
            [r#""chain2" 49 "done" true"#, r#""my%20up" 300 "next" true"#, r#""chain4" 400 "waiting" true"#];
        assert_eq!(shown, expected, "absolute: {absolute}");
        assert!(said(&host.run(&["prepare-upgrade"])).contains("my%20up"));
    }
}

#[test]
fn a_home_of_wemixvisor_v0() {
    for absolute in [false, true] {
        let host = Host::new("wemixvisor");
        host.write("wemixvisor/upgrades/Brioche/bin/geth", "Brioche");
        host.write("wemixvisor/upgrades/v0.10.1/bin/geth", "v0.10.1");
        let trigger = r#"{"name":"Brioche","height":49,"info":{"binaries":{"linux/amd64":"https://a/b"},"checksum":"00"}}"#;
        host.write("data/upgrade-info.json", trigger);
        let plan = json!({
            "version": "1.0", "name": "autumn", "description": "two of them", "created_at": "2025-09-30T12:00:00Z",
            "upgrades": [{"name": "v0.10.2", "height": 200}, {"name": "v0.10.1", "height": 100}],
        });
        host.write("wemixvisor/plans/autumn-20250930-120000.json", &plan.to_string());
        let shown = || -> Vec<String> {
            let plans = host.plans();
            let row = |p: &serde_json::Value| format!("{} {} {}", p["name"], p["standing"], p["staged"]);
            plans.iter().map(row).collect()
        };
        // That home never changed the case of a name, and its folder tells.
        let before =
            [r#""Brioche" "next" true"#, r#""v0.10.1" "waiting" true"#, r#""v0.10.2" "waiting" false"#];
        assert_eq!(shown(), before);
        assert_eq!(host.plans()[0]["info"], r#"{"binaries":{"linux/amd64":"https://a/b"},"checksum":"00"}"#);
        match absolute {
            true => host.link(host.path("wemixvisor/upgrades/Brioche")),
            false => host.link("upgrades/Brioche"),
        }
        let after = [r#""Brioche" "done" true"#, r#""v0.10.1" "next" true"#, r#""v0.10.2" "waiting" false"#];
        assert_eq!(shown(), after, "absolute: {absolute}");
        assert_eq!(host.list()["faults"], json!([]));
    }
}

//! `init`: safe to repeat, nothing taken away.
use super::host::{Host, digest, failed, said};
use std::path::Path;

/// Arguments, variables, and what is said of them.
type Wrong<'a> = (&'a [&'a str], &'a [(&'a str, &'a Path)], &'a [&'a str]);

fn link(host: &Host, root: &str) -> String {
    std::fs::read_link(host.path(root).join("current")).unwrap().display().to_string()
}

#[test]
fn a_blank_slate_becomes_a_home_of_either_kind() {
    for (program, flag, root) in [
        ("wemixvisor", None, "wemixvisor"),
        ("wemixvisor", Some("cosmovisor"), "cosmovisor"),
        ("cosmovisor", None, "cosmovisor"),
        ("cosmovisor", Some("wemixvisor"), "wemixvisor"),
    ] {
        let host = Host::empty(root).called(program);
        let binary = host.executable("geth-1.0", "genesis");
        let mut args = vec!["init", &binary];
        args.extend(flag.iter().flat_map(|folder| ["--folder", *folder]));
        let out = said(&host.run(&args));
        let target = host.path(root).join("genesis/bin/geth");
        assert!(out.contains(&digest("genesis")), "{out}");
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "genesis");
        assert_eq!(host.mode(&target), 0o755, "a source that is not executable becomes so");
        assert_eq!(link(&host, root), "genesis");
        assert!(host.path("data").is_dir() && host.path(root).join("wemixvisor.toml").is_file());
        let other = if root == "cosmovisor" { "wemixvisor" } else { "cosmovisor" };
        assert!(!host.path(other).exists());
        let error = failed(&host.run(&["init", &binary, "--folder", other]));
        assert!(error.contains("one supervisor's folder"), "{error}");
    }
}

#[test]
fn it_is_safe_to_repeat() {
    let host = Host::new("wemixvisor");
    host.applied("v2", 10);
    host.write("wemixvisor/wemixvisor.toml", "schema = 1\n# mine\n");
    host.write("data/chain", "blocks");
    let binary = host.executable("geth-2.0", "another");
    let output = host.run(&["init", &binary]);
    said(&output);
    assert!(String::from_utf8(output.stderr).unwrap().contains("--force replaces it"));
    assert_eq!(host.text("wemixvisor/genesis/bin/geth"), "genesis");
    assert_eq!(host.mode(&host.path("wemixvisor/genesis/bin/geth")) & 0o111, 0o111);
    said(&host.run(&["init", &binary, "--force"]));
    assert_eq!(host.text("wemixvisor/genesis/bin/geth"), "another");
    assert_eq!(link(&host, "wemixvisor"), "upgrades/v2", "never pointed elsewhere");
    assert_eq!(host.text("wemixvisor/wemixvisor.toml"), "schema = 1\n# mine\n");
    assert_eq!(host.text("data/chain"), "blocks");
    host.link("upgrades/gone");
    said(&host.run(&["init", &binary]));
    assert_eq!(link(&host, "wemixvisor"), "upgrades/gone", "not even when it dangles");
}

#[test]
fn a_missing_link_is_made_unless_upgrades_were_applied() {
    let host = Host::new("cosmovisor");
    let binary = host.executable("geth-1.0", "genesis");
    for name in ["v1", "v2", "v3", "v4", "v5"] {
        host.write(&format!("cosmovisor/upgrades/{name}/bin/geth"), name);
    }
    std::fs::remove_file(host.path("cosmovisor/current")).unwrap();
    said(&host.run(&["init", &binary]));
    assert_eq!(link(&host, "cosmovisor"), "genesis");
    host.applied("v3", 10);
    std::fs::remove_file(host.path("cosmovisor/current")).unwrap();
    let error = failed(&host.run(&["init", &binary]));
    assert!(error.contains("ln -s upgrades/v3"), "{error}");
    assert!(!host.path("cosmovisor/current").exists());
}

#[test]
fn everything_wrong_is_said_at_once_and_nothing_is_made() {
    let host = Host::empty("wemixvisor");
    let binary = host.executable("geth-1.0", "genesis");
    let run = |args: &[&str], env: &[(&str, &Path)]| {
        let all = [&["init"], args].concat();
        failed(&host.prepared(&all).envs(env.iter().copied()).output().unwrap())
    };
    let (home, name) = (("DAEMON_HOME", host.path("")), ("DAEMON_NAME", Path::new("geth")));
    let both: [(&str, &Path); 2] = [(home.0, &home.1), name];
    let folder = host.path("").display().to_string();
    std::fs::write(host.path("empty"), "").unwrap();
    let table: [Wrong<'_>; 9] = [
        (&[], &both, &["no <path to executable> provided"]),
        (&[""], &both, &["no <path to executable> provided"]),
        (&["/nowhere/geth"], &both, &["executable file not found"]),
        (&[&folder], &both, &["invalid path to executable: must not be a directory"]),
        (&["empty"], &both, &["is empty"]),
        (&[&binary], &both[..1], &["DAEMON_NAME is not set"]),
        (&[&binary], &both[1..], &["DAEMON_HOME is not set"]),
        (&[], &[], &["DAEMON_NAME is not set", "DAEMON_HOME is not set", "no <path to executable> provided"]),
        (&[&binary], &[("DAEMON_HOME", Path::new("foo")), name], &["DAEMON_HOME must be an absolute path"]),
    ];
    for (args, env, parts) in table {
        let error = run(args, env);
        for part in parts {
            assert!(error.contains(part), "{args:?} {env:?}: {error}");
        }
    }
    assert!(!host.path("wemixvisor").exists() && !host.path("data").exists());
}

#[test]
fn what_is_in_the_way_is_said() {
    let check = |path: &str, is_folder: bool, part: &str| {
        let host = Host::empty("cosmovisor");
        let binary = host.executable("geth-1.0", "genesis");
        std::fs::create_dir_all(host.path("cosmovisor")).unwrap();
        match is_folder {
            true => std::fs::create_dir_all(host.path(path)).unwrap(),
            false => drop(host.write(path, "here")),
        }
        let error = failed(&host.run(&["init", &binary]));
        assert!(error.contains(part), "{path}: {error}");
        let link = host.path("cosmovisor/current");
        assert!(!link.is_symlink(), "{path}");
    };
    check("cosmovisor/genesis/bin", false, "already exists but is not a directory");
    check("cosmovisor/genesis/bin/geth", true, "geth is not a regular file");
    check("cosmovisor/current", false, "symlink genesis current: file exists");
    check("cosmovisor/current", true, "symlink genesis current: file exists");
    check("data", false, "already exists but is not a directory");
}

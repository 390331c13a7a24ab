//! The files of cosmovisor and of wemixvisor v0.x, understood as they are.
use super::*;

const COSMOVISOR: &str = "\
daemon_home = '/h'
daemon_name = 'myd'
daemon_allow_download_binaries = true
daemon_download_must_have_checksum = false
daemon_restart_after_upgrade = false
daemon_restart_delay = 600000000
daemon_shutdown_grace = 0
daemon_poll_interval = 300000000
unsafe_skip_backup = true
daemon_data_backup_dir = ''
daemon_preupgrade_max_retries = 3
daemon_grpc_address = 'localhost:9090'
cosmovisor_disable_logs = false
cosmovisor_color_logs = false
cosmovisor_timeformat_logs = '3:04PM'
cosmovisor_custom_preupgrade = 'preupgrade.sh'
cosmovisor_disable_recase = true
";

const FLAT: &str = "\
home = '/v0'
name = 'wemixd'
max_restarts = 5.0
restart_delay = 1000000000.0
shutdown_grace = 30000000000
health_check_interval = 30000000000.0
metrics_interval = 60000000000.0
metrics_enabled = true
allow_download_binaries = true
auto_backup = false
pre_upgrade_timeout = 300000000000.0
log_level = 'debug'
log_format = 'json'
log_time_format = 'rfc3339'
network_id = 1112.0
chain_id = '1112'
rpc_addr = '127.0.0.1'
rpc_port = 8588.0
rpc_apis = ['eth', 'net', 'web3']
ws_port = 8598
p2p_port = 8589
bootnodes = ['enode://abc123...@mainnet-boot1.example.org:8589']
max_peers = 25.0
validator_mode = true
validator_key = ''
data_dir = '${HOME}/.wemix/mainnet'
extra_flags = ['--verbosity=4']
";

fn load(text: &str, env: Pairs<'_>) -> Result<Loaded, SettingsError> {
    Loaded::parse(text, &Flags::default(), &variables(env))
}

#[test]
fn cosmovisors_file_is_read_under_the_environment() {
    let loaded = load(COSMOVISOR, &[("DAEMON_NAME", "other")]).unwrap();
    let settings = &loaded.settings;
    assert_eq!((settings.node.home.to_str(), settings.node.name.as_str()), (Some("/h"), "other"));
    assert!(settings.download.allowed && !settings.upgrade.restart_after && !settings.upgrade.recase);
    assert_eq!(settings.node.restart_delay, Span(600));
    assert_eq!(settings.node.stop, Span::mins(5), "zero was its way of not saying it");
    assert_eq!(settings.upgrade.poll, Span(300));
    assert_eq!((settings.backup.before_upgrade, settings.hooks.retries), (BackupBefore::Never, 3));
    assert_eq!((settings.log.filter.as_str(), settings.log.time.as_str()), ("info", "kitchen"));
    assert_eq!(
        (settings.log.color, settings.hooks.pre_upgrade.as_deref()),
        (Some(false), Some("preupgrade.sh"))
    );
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
    assert!(loaded.warnings[0].starts_with("daemon_grpc_address is ignored"), "{:?}", loaded.warnings);
    assert_eq!(loaded.origins["node.name"].to_string(), "env DAEMON_NAME");
}

#[test]
fn missing_keys_have_defaults_and_texts_are_go_durations() {
    let text = "daemon_home = '/h'\ndaemon_name = 'n'\ndaemon_poll_interval = '2s'\n";
    let settings = load(text, &[]).unwrap().settings;
    assert_eq!((settings.upgrade.poll, settings.upgrade.restart_after), (Span::secs(2), true));
    assert_eq!(settings.backup.dir, Path::new("/h"));
    let bad = "daemon_home = 'h'\ndaemon_poll_interval = 'x'\ndaemon_preupgrade_max_retries = 'y'\n\
               unsafe_skip_backup = 'maybe'\n";
    errors(
        load(bad, &[("DAEMON_DATA_BACKUP_DIR", "/")]),
        &[
            "daemon_poll_interval",
            "daemon_preupgrade_max_retries",
            "unsafe_skip_backup",
            "the home h is not absolute",
            "no chain client",
        ],
    );
}

#[test]
fn the_flat_file_is_read_with_the_floats_it_was_left_with() {
    let loaded = load(FLAT, &[]).unwrap();
    let settings = &loaded.settings;
    assert_eq!((settings.node.max_restarts, settings.node.stop), (5, Span::secs(30)));
    assert_eq!((settings.node.restart_delay, settings.health.every), (Span::secs(1), Span::secs(30)));
    assert_eq!((settings.hooks.timeout, settings.download.allowed), (Span::mins(5), true));
    assert_eq!(settings.backup.before_upgrade, BackupBefore::Never);
    assert_eq!((settings.log.filter.as_str(), settings.log.format), ("debug", LogFormat::Json));
    assert!(settings.node.validator);
    assert_eq!(
        settings.node.args.join(" "),
        "--networkid 1112 --datadir /v0/data --http --http.addr 127.0.0.1 --http.port 8588 \
         --http.api eth,net,web3 --ws --ws.port 8598 --port 8589 --maxpeers 25 --verbosity=4"
    );
    assert_eq!(settings.node.rpc, "http://127.0.0.1:8588");
    for said in ["metrics_enabled", "bootnodes", "data_dir"] {
        assert!(loaded.warnings.iter().any(|w| w.starts_with(said)), "{said}: {:?}", loaded.warnings);
    }
    assert_eq!(loaded.warnings.len(), 3, "{:?}", loaded.warnings);
    let mixed =
        FLAT.replace("chain_id = '1112'", "chain_id = '1111'").replace("restarts = 5.0", "restarts = 5.5");
    errors(load(&mixed, &[]), &["chain_id", "max_restarts"]);
}

#[test]
fn files_are_found_and_ours_is_laid_over_cosmovisors() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    std::fs::create_dir(home.join("cosmovisor")).unwrap();
    let theirs = home.join("cosmovisor/config.toml");
    std::fs::write(&theirs, COSMOVISOR).unwrap();
    let env = [("DAEMON_HOME", home.to_str().unwrap())];
    let mut flags = Flags { name: Some("geth".into()), ..Flags::default() };
    assert_eq!(files_of(&flags, &variables(&env)), Vec::<PathBuf>::new(), "it is read only when it is named");
    flags.cosmovisor_config = Some(theirs.clone());
    let ours = home.join("cosmovisor/wemixvisor.toml");
    std::fs::write(&ours, "schema = 1\n[upgrade]\npoll = \"4s\"\n").unwrap();
    let loaded = Loaded::load(&flags, &variables(&env)).unwrap();
    assert_eq!((loaded.settings.upgrade.poll, loaded.settings.hooks.retries), (Span::secs(4), 3));
    assert_eq!(loaded.origins["upgrade.poll"], Origin::File(Some(ours)));
    assert_eq!(loaded.origins["hooks.retries"], Origin::File(Some(theirs)));
    let flat = home.join("flat.toml");
    std::fs::write(&flat, FLAT).unwrap();
    flags = Flags { config: Some(flat), name: Some("geth".into()), ..Flags::default() };
    let loaded = Loaded::load(&flags, &variables(&env)).unwrap();
    assert_eq!((loaded.settings.node.max_restarts, loaded.settings.node.home.as_path()), (5, home));
    flags.config = Some(home.join("absent.toml"));
    errors(Loaded::load(&flags, &variables(&env)), &["absent.toml"]);
}

#[test]
fn an_enrolled_home_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = folder.path().join("wemixvisor/fleet");
    std::fs::create_dir_all(&fleet).unwrap();
    let membership = "{\"url\":\"https://fleet.example\",\"node\":\"val-07\"}";
    std::fs::write(fleet.join("membership.json"), membership).unwrap();
    let loaded = loaded_in(folder.path(), "", &[]).unwrap();
    let (url, node) = loaded.settings.fleet.unwrap();
    assert_eq!((url.as_str(), node.as_str()), ("https://fleet.example", "val-07"));
    assert_eq!(loaded.settings.agent.on_exit, OnExit::Leave);
    assert!(loaded.origins["fleet.url"].to_string().starts_with("enrolment "));
    std::fs::write(fleet.join("membership.json"), "{").unwrap();
    errors(loaded_in(folder.path(), "", &[]), &["membership.json"]);
}

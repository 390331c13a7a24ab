//! The configuration: one look tells everything that is wrong with it.
use coordinator::config::{Config, ConfigError};
use coordinator::init::{InitError, InitOptions, SAMPLE, init};
use std::path::Path;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/fleet/wemixfleet.toml"), |_| None)
}

#[test]
fn the_sample_is_a_configuration() {
    let config = parse(SAMPLE).unwrap();
    assert_eq!(config.data_dir, Path::new("/fleet/data"));
    assert_eq!(config.url("127.0.0.1:9".parse().unwrap()), "https://127.0.0.1:9");
}

#[test]
fn the_environment_wins() {
    let env = |key: &str| match key {
        "WEMIXFLEET_DATA_DIR" => Some("/elsewhere".to_owned()),
        "WEMIXFLEET_LISTEN" => Some("[::1]:1".to_owned()),
        "WEMIXFLEET_PUBLIC_URL" => Some("https://fleet.example.org".to_owned()),
        _ => None,
    };
    let config = Config::parse(SAMPLE, Path::new("/fleet/wemixfleet.toml"), env).unwrap();
    assert_eq!(config.data_dir, Path::new("/elsewhere"));
    assert_eq!(config.listen, "[::1]:1".parse().unwrap());
    assert_eq!(config.url(config.listen), "https://fleet.example.org");
}

#[test]
fn all_faults_are_told_at_once() {
    let text = SAMPLE
        .replace("schema = 1", "schema = 2")
        .replace("public_url = \"\"", "public_url = \"http://x\"")
        .replace("required = 2", "required = 3")
        .replace("poll = \"1s\"", "poll = \"1ms\"")
        .replace("label = \"rpc-2\"", "label = \"rpc-1\"")
        .replace("http://127.0.0.1:8546", "ftp://127.0.0.1")
        .replace("threshold = 1", "threshold = 2")
        .replace("hold = \"10s\"", "hold = \"10m\"");
    let env = |key: &str| (key == "WEMIXFLEET_LISTEN").then(|| "nowhere".to_owned());
    let said = Config::parse(&text, Path::new("/fleet/wemixfleet.toml"), env).unwrap_err();
    let ConfigError::Invalid { faults, .. } = said else { panic!("{said}") };
    for key in [
        "WEMIXFLEET_LISTEN",
        "schema",
        "public_url",
        "chain.required",
        "chain.poll",
        "chain.endpoint[1].url",
        "chain.endpoint[1].label",
        "trust",
        "agents.hold",
        "agents.silent_after",
    ] {
        assert_eq!(
            faults.iter().filter(|f| f.starts_with(&format!("{key}:"))).count(),
            1,
            "{key}: {faults:?}"
        );
    }
    assert_eq!(faults.len(), 10, "{faults:?}");
}

#[test]
fn an_unknown_key_is_refused_in_every_section() {
    for section in
        ["schema = 1", "[network]", "[chain]", "[governance]", "[trust]", "[artifacts]", "[agents]"]
    {
        let text = SAMPLE.replace(section, &format!("{section}\nlisten_port = 1"));
        let said = parse(&text).unwrap_err();
        assert!(matches!(said, ConfigError::Malformed { .. }), "{section}: {said}");
        assert!(said.to_string().contains("listen_port"), "{section}: {said}");
    }
}

#[test]
fn governance_needs_chain_and_trust() {
    let said =
        parse(&SAMPLE.replace("[trust]\nthreshold = 1", "").replace("keys = [", "# keys = [")).unwrap_err();
    assert!(said.to_string().contains("governance: needs [chain] and [trust]"), "{said}");
}

#[tokio::test]
async fn init_replaces_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options =
        InitOptions { dir: dir.path().join("fleet"), config: None, token_life: common::time::Span::mins(5) };
    let made = init(&options).await.unwrap();
    let before = std::fs::read(&made.ca).unwrap();
    assert!(matches!(init(&options).await.unwrap_err(), InitError::Exists(_)));
    assert_eq!(std::fs::read(&made.ca).unwrap(), before);

    // The data directory may be elsewhere; the CA in it is as precious.
    std::fs::remove_file(&made.config).unwrap();
    assert!(init(&options).await.is_err());
    assert_eq!(std::fs::read(&made.ca).unwrap(), before);
    assert!(!made.config.exists(), "nothing was changed");
}

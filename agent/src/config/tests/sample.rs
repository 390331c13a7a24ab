//! What is generated from the table of keys: the sample and the document.
use super::*;

/// Set, the files are written anew instead of compared.
const REWRITE: &str = "WEMIXVISOR_REWRITE";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn same(path: &str, expected: &str) {
    let path = root().join(path);
    if std::env::var_os(REWRITE).is_some() {
        std::fs::write(&path, expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap();
    assert!(found == expected, "{} is not what the keys say: run the test with {REWRITE}=1", path.display());
}

#[test]
fn the_sample_is_what_the_keys_say() {
    same("agent/src/config/sample.toml", &sample());
    same("config/wemixvisor.toml", &sample());
}

#[test]
fn the_document_lists_every_key() {
    let (begin, end) = ("<!-- keys -->\n\n", "<!-- /keys -->\n");
    let path = "docs/configuration.md";
    let text = std::fs::read_to_string(root().join(path)).unwrap();
    let (before, rest) = text.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    same(path, &format!("{before}{begin}{}{end}{after}", document()));
    for key in keys::all() {
        assert!(document().contains(&format!("\n| `{}` |", key.name)), "{}", key.path());
    }
}

#[test]
fn the_sample_says_nothing_by_itself() {
    let file = Source::read(SAMPLE).unwrap();
    assert!(file.errors.is_empty() && file.values.is_empty(), "{:?} {}", file.errors, file.values.len());
    assert_eq!(parse(SAMPLE, &[]).unwrap(), parse("", &[]).unwrap());
}

#[test]
fn defaults_in_the_sample_are_the_defaults() {
    let sample = sample();
    for key in keys::all().filter(|key| key.example.is_empty() && !key.usual.contains("HOME")) {
        let (_, section) = sample.split_once(&format!("\n[{}]\n", key.section)).unwrap();
        let line = section.lines().find(|line| line.starts_with(&format!("# {} = ", key.name))).unwrap();
        let text = format!("schema = 1\n[{}]\n{}\n", key.section, line.trim_start_matches("# "));
        let said = parse(&text.replace("\"HOME", "\"/nowhere"), &[]).unwrap();
        assert_eq!(said, parse("", &[]).unwrap(), "{}", key.path());
    }
}

#[test]
fn the_sample_parses_with_every_key_on() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().to_str().unwrap();
    let on: Vec<String> = sample()
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if keys::all().any(|k| rest.starts_with(&format!("{} = ", k.name))) => rest.to_owned(),
            _ => line.to_owned(),
        })
        .map(|line| line.replace("\"HOME", &format!("\"{home}")))
        .map(|line| line.replace("\"RWQ...\", \"RWQ...\", \"RWQ...\"", &keys_of_tests()))
        .collect();
    let file = Source::read(&on.join("\n")).unwrap();
    assert!(file.errors.is_empty(), "{:?}", file.errors);
    let missing: Vec<String> = keys::all()
        .filter(|key| !file.values.iter().any(|found| found.key.path() == key.path()))
        .map(key::Key::path)
        .collect();
    assert_eq!(missing, Vec::<String>::new(), "every key is in the sample");
    let settings = loaded_in(folder.path(), &on.join("\n"), &[]).unwrap().settings;
    assert_eq!(settings.fleet.unwrap().1.as_str(), "val-01");
    assert_eq!(settings.webhook.unwrap().on.len(), 2);
    assert_eq!(settings.trust.unwrap().keys.len(), 3);
}

/// Three minisign public keys of nobody.
fn keys_of_tests() -> String {
    let key = || minisign::KeyPair::generate_unencrypted_keypair().unwrap().pk.to_base64();
    format!("\"{}\", \"{}\", \"{}\"", key(), key(), key())
}

#[test]
fn what_is_shown_as_a_file_says_the_same() {
    let text = "schema = 1\n[node]\nargs = [\"a b\", \"c\"]\nvariant = \"quote\\\"d\"\n[upgrade]\n\
                skip_heights = [3, 4]\n[log]\nnode_max_bytes = \"3MiB\"\ncolor = false\n";
    for env in [[].as_slice(), &[("DAEMON_SHUTDOWN_GRACE", "1h2m3.5s"), ("WEMIXVISOR_GETH_HTTP", "true")]] {
        let first = loaded(text, env).unwrap();
        for origins in [false, true] {
            let shown = show(&first, ShowForm::Toml, origins);
            assert_eq!(parse(&shown, &[]).unwrap(), first.settings, "{shown}");
        }
    }
}

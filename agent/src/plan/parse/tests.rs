//! Plan files, good and bad.
use super::*;

/// What reading a plan file of this text gives: title, height and info, or what is said.
fn read(text: &[u8], recase: bool) -> Result<(String, Option<u64>, String), PlanError> {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::new(folder.path().to_owned(), "geth".into());
    let path = folder.path().join("upgrade-info.json");
    std::fs::write(&path, text).unwrap();
    read_plan_file(&home, &path, recase).map(|(plan, _)| (plan.title, plan.height, plan.info))
}

fn good(text: &str) -> (String, Option<u64>, String) {
    read(text.as_bytes(), true).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn plan(title: &str, height: u64, info: &str) -> (String, Option<u64>, String) {
    (title.to_owned(), Some(height), info.to_owned())
}

#[test]
fn good_files_of_both_supervisors() {
    let table = [
        (r#"{"name":"upgrade1","info":"some info","height":123}"#, plan("upgrade1", 123, "some info")),
        (r#"{"name":"Upgrade2","info":"some info","height":125}"#, plan("upgrade2", 125, "some info")),
        (r#"{"name":"a","height":"123"}"#, plan("a", 123, "")),
        (r#"{"name":"a","height":9223372036854775807}"#, plan("a", MAX_HEIGHT, "")),
        (r#"{"name":"a","time":"0001-01-01T00:00:00Z","height":5,"info":""}"#, plan("a", 5, "")),
        (r#"{"name":"a","height":5,"info":{"checksum":"x","binaries":{"linux/amd64":"u"}}}"#, {
            plan("a", 5, r#"{"binaries":{"linux/amd64":"u"},"checksum":"x"}"#)
        }),
        (r#"{"name":"a","height":5,"info":null,"upgraded_client_state":null,"more":[1]}"#, plan("a", 5, "")),
        (r#"{"Name":"a","HEIGHT":5}"#, plan("a", 5, "")),
        ("\n {\"name\":\"a\",\"height\":5}\n\n", plan("a", 5, "")),
    ];
    for (text, expected) in table {
        assert_eq!(good(text), expected, "{text}");
    }
    let kept = read(br#"{"name":"Upgrade2","info":"some info","height":125}"#, false).unwrap();
    assert_eq!(kept, plan("Upgrade2", 125, "some info"));
}

#[test]
fn bad_files_say_what_is_wrong() {
    let table: [(&str, &[&str]); 25] = [
        (r#"{"name":"u","info":123,"height":5}"#, &["cannot unmarshal number", "info"]),
        (r#"{"name":"u","info":[],"height":5}"#, &["cannot unmarshal array", "info"]),
        (r#"{"name":7,"height":5}"#, &["cannot unmarshal number", "name"]),
        (r#"{"name":"u","heigh":5}"#, &["height must be greater than 0: invalid request"]),
        ("", &["empty upgrade-info.json in"]),
        (" \n", &["empty upgrade-info.json in"]),
        ("{}", &["name cannot be empty"]),
        (r#"{"name":"u"}"#, &["height must be greater than 0"]),
        (r#"{"height":5}"#, &["invalid upgrade-info.json content", "name cannot be empty: invalid request"]),
        (r#"{"name":"","height":5}"#, &["name cannot be empty"]),
        (r#"{"name":"u","height":0}"#, &["height must be greater than 0"]),
        (r#"{"name":"u","height":-3}"#, &["height must be greater than 0"]),
        (r#"{"name":"u","height":"-3"}"#, &["height must be greater than 0"]),
        (r#"{"name":"u","height":"000"}"#, &["height must be greater than 0"]),
        (r#"{"name":"u","height":null}"#, &["height must be greater than 0"]),
        (r#"{"name":"u","height":1.5}"#, &["no whole number"]),
        (r#"{"name":"u","height":"abc"}"#, &["no whole number"]),
        (r#"{"name":"u","height":"+5"}"#, &["no whole number"]),
        (r#"{"name":"u","height":9223372036854775808}"#, &["no whole number"]),
        (r#"{"name":"u","height":true}"#, &["cannot unmarshal bool", "height"]),
        (r#"{"name":"..","height":5}"#, &["cannot name an upgrade"]),
        (r#"{"name":"genesis","height":5}"#, &["cannot name an upgrade"]),
        ("[]", &["cannot unmarshal array"]),
        ("not json", &["no JSON"]),
        (r#"{"name":"u","height":5} and more"#, &["no JSON"]),
    ];
    for (text, parts) in table {
        let said = read(text.as_bytes(), true).unwrap_err().to_string();
        for part in parts {
            assert!(said.contains(part), "{text}: {said}");
        }
    }
}

#[test]
fn what_is_being_written_is_not_yet_a_plan_and_not_malformed() {
    let whole = br#"{"name":"v2","time":"0001-01-01T00:00:00Z","height":1234,"info":"{\"a\":1}"}"#;
    for end in 0..whole.len() {
        let error = read(&whole[..end], true).unwrap_err();
        assert!(error.is_not_yet(), "the first {end} bytes: {error}");
    }
    assert!(read(whole, true).is_ok());
    for text in ["not json", "{}", "[]", "{\"name\":1}"] {
        assert!(!read(text.as_bytes(), true).unwrap_err().is_not_yet(), "{text}");
    }
}

#[test]
fn hostile_files_are_refused() {
    for bytes in [&b"\xff\xfe"[..], &[0; 64], b"{\"name\":\"a\xff\",\"height\":5}", &[b'['; 100_000]] {
        assert!(read(bytes, true).is_err());
    }
    let padded = |length: usize| {
        let mut text = br#"{"name":"a","height":5}"#.to_vec();
        text.resize(length, b' ');
        read(&text, true)
    };
    assert!(padded(MAX_PLAN_BYTES as usize).is_ok());
    assert!(matches!(padded(MAX_PLAN_BYTES as usize + 1).unwrap_err(), PlanError::TooLarge(_)));
    let said = read(br#"{"name":"a","height":"\u001b[2J"}"#, true).unwrap_err().to_string();
    assert!(!said.contains('\u{1b}'), "a terminal is spared: {said:?}");
}

#[test]
fn what_is_no_file_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::new(folder.path().to_owned(), "geth".into());
    let missing = read_plan_file(&home, &folder.path().join("none"), true).unwrap_err();
    assert!(missing.to_string().contains("no such file or directory") && missing.is_not_yet());
    let no_file = read_plan_file(&home, folder.path(), true).unwrap_err();
    assert!(matches!(no_file, PlanError::NoFile(_)));
    let pipe = folder.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    // Opening it would wait for ever.
    assert!(matches!(read_plan_file(&home, &pipe, true).unwrap_err(), PlanError::NoFile(_)));
}

#[test]
fn a_time_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::new(folder.path().to_owned(), "geth".into());
    let warning = |time: &str| {
        let value = serde_json::from_str(&format!(r#"{{"name":"a","height":5,"time":{time}}}"#)).unwrap();
        one(&value, Source::PlanFile, &home, true).unwrap().1
    };
    for time in ["null", "\"\"", "\"0001-01-01T00:00:00Z\""] {
        assert_eq!(warning(time), None, "{time}");
    }
    for time in ["\"2030-01-01T00:00:00Z\"", "12", "\"tomorrow\"", "{}"] {
        assert!(warning(time).unwrap().contains("time-based upgrades have been deprecated"), "{time}");
    }
}

use super::*;
use std::sync::Mutex;

struct Place {
    _folder: tempfile::TempDir,
    home: Home,
    settings: HookSettings,
    lines: Mutex<Vec<String>>,
}

const NAME: &str = "v2";

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path().canonicalize().unwrap(), "geth".into());
        std::fs::create_dir_all(home.binary(&name()).parent().unwrap()).unwrap();
        let settings =
            HookSettings { pre_upgrade: None, node_command: false, timeout: Span::secs(30), retries: 0 };
        Place { _folder: folder, home, settings, lines: Mutex::default() }
    }

    fn script(&self, path: &Path, mode: u32, body: &str) {
        std::fs::write(path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn own(&mut self, mode: u32, body: &str) -> PathBuf {
        let path = self.home.root().join("mine.sh");
        self.script(&path, mode, body);
        self.settings.pre_upgrade = Some("mine.sh".into());
        path
    }

    fn command(&mut self, body: &str) {
        self.settings.node_command = true;
        self.script(&self.home.binary(&name()), 0o755, body);
    }

    async fn run(&self) -> Result<(), Fault> {
        let digest = files::digest_of(&self.home.binary(&name())).unwrap_or(Digest([0; 32]));
        let upgrade =
            Upgrading { title: "V2", name: name(), digest, height: Some(77), info: r#"{"a":"b c"}"# };
        run(&self.home, &self.settings, &upgrade, &|line| self.lines.lock().unwrap().push(line.into())).await
    }

    fn said(&self, file: &str) -> String {
        std::fs::read_to_string(self.home.base.join(file)).unwrap_or_default()
    }
}

fn name() -> ReleaseName {
    ReleaseName::new(NAME).unwrap()
}

fn alive(pid: &str) -> bool {
    let pid = pid.trim().parse().unwrap();
    crate::host::proc::stat(pid).is_some_and(|s| s.state != 'Z')
}

#[tokio::test]
async fn scripts_run_in_order_with_what_they_are_promised() {
    let mut place = Place::new();
    let mine = place.own(
        0o644,
        r#"echo "mine $# $1 $2 $PWD $DAEMON_HOME $DAEMON_NAME $UPGRADE_NAME $UPGRADE_HEIGHT $UPGRADE_INFO" >> said
        cat; exit 0"#,
    );
    place.script(
        &of_upgrade(&place.home, &name()),
        0o600,
        r#"echo "its $# $UPGRADE_NAME" >> said; printf 'a\033[2Jb'"#,
    );
    place.command(r#"echo "node $# $1 $UPGRADE_HEIGHT" >> said; exit 1"#);
    check(&place.home, &place.settings, &name()).unwrap();
    place.run().await.unwrap();
    let home = place.home.base.display();
    let wanted =
        format!("mine 2 V2 77 {home} {home} geth V2 77 {{\"a\":\"b c\"}}\nits 0 V2\nnode 1 pre-upgrade 77\n");
    assert_eq!(place.said("said"), wanted);
    assert_eq!(mine.metadata().unwrap().permissions().mode() & 0o777, 0o744);
    let lines = place.lines.lock().unwrap();
    assert_eq!(lines.len(), 3);
    assert!(lines[1].contains(r"a\u{1b}[2Jb"), "{}", lines[1]);
    assert_eq!(files(&place.home, &place.settings, &name()).len(), 3);
}

#[tokio::test]
async fn a_code_other_than_zero_fails_and_the_end_of_the_output_is_told() {
    let mut place = Place::new();
    place.own(
        0o755,
        "i=0; while [ $i -lt 3000 ]; do echo filling $i; i=$((i+1)); done; echo last >&2; exit 3",
    );
    place.command("touch ran");
    let fault = place.run().await.unwrap_err();
    assert_eq!(fault.code, FaultCode::HookFailed);
    assert!(fault.detail.contains("exit code 3") && fault.detail.contains("last"), "{}", fault.detail);
    assert!(!place.home.base.join("ran").exists(), "what comes after a failure was run");
    let line = place.lines.lock().unwrap()[0].clone();
    assert!(line.contains("last") && !line.contains("filling 12\\n"), "the output has no bound");
    assert!(line.len() < 3 * 8192, "{}", line.len());
}

#[tokio::test]
async fn codes_of_the_nodes_command() {
    for (code, good) in [(0, true), (1, true), (30, false), (2, false), (137, false)] {
        let mut place = Place::new();
        place.command(&format!("exit {code}"));
        let result = place.run().await;
        assert_eq!(result.is_ok(), good, "{code}: {result:?}");
    }
    let mut place = Place::new();
    place.command("echo x >> tries; [ $(wc -l < tries) -ge 2 ] && exit 0; exit 31");
    let fault = place.run().await.unwrap_err();
    assert!(fault.detail.contains("retries"), "{}", fault.detail);
    std::fs::remove_file(place.home.base.join("tries")).unwrap();
    place.settings.retries = 1;
    place.run().await.unwrap();
    assert_eq!(place.said("tries"), "x\nx\n");
}

#[tokio::test]
async fn an_executable_that_changed_is_not_run() {
    let mut place = Place::new();
    place.command("touch ran");
    let upgrade = Upgrading { title: NAME, name: name(), digest: Digest([9; 32]), height: None, info: "" };
    let fault = run(&place.home, &place.settings, &upgrade, &|_| ()).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::DigestMismatch);
    assert!(!place.home.base.join("ran").exists());
}

#[tokio::test]
async fn what_does_not_end_in_time_is_ended_with_everything_it_started() {
    let mut place = Place::new();
    place.settings.timeout = Span(300);
    // One child stays in the group, one leaves it; all of them ignore SIGTERM.
    place.own(
        0o755,
        "trap '' TERM; sleep 600 & echo $! > stays; setsid sleep 601 & echo $! > leaves; echo $$ > self; \
         while :; do sleep 1; done",
    );
    let fault = place.run().await.unwrap_err();
    assert!(fault.detail.contains("did not end within 300ms"), "{}", fault.detail);
    for who in ["stays", "leaves", "self"] {
        assert!(!alive(&place.said(who)), "{who} is left");
    }
}

#[tokio::test]
async fn what_a_hook_leaves_behind_is_ended() {
    let mut place = Place::new();
    place.own(0o755, "sleep 600 & echo $! > stays; setsid sleep 601 & echo $! > leaves; exit 0");
    place.run().await.unwrap();
    assert!(!alive(&place.said("stays")) && !alive(&place.said("leaves")));
    assert!(place.lines.lock().unwrap()[0].contains("processes it left were ended"));
}

#[tokio::test]
async fn a_run_that_is_left_off_leaves_nothing() {
    let mut place = Place::new();
    place.own(0o755, "trap '' TERM; echo $$ > self; touch up; while :; do sleep 1; done");
    {
        let run = place.run();
        tokio::pin!(run);
        while !place.home.base.join("up").exists() {
            tokio::select! {
                done = &mut run => panic!("it ended: {done:?}"),
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
        }
    }
    let from = std::time::Instant::now();
    while alive(&place.said("self")) {
        assert!(from.elapsed() < Duration::from_secs(20), "it is left");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn what_is_missing_or_escapes_is_refused_before_anything_is_stopped() {
    let mut place = Place::new();
    std::fs::write(place.home.base.join("outside"), "#!/bin/sh\n").unwrap();
    std::os::unix::fs::symlink("../outside", place.home.root().join("link")).unwrap();
    std::fs::create_dir(place.home.root().join("folder")).unwrap();
    for (script, why) in [
        ("../outside", "leads out"),
        ("/bin/true", "leads out"),
        ("link", "leads out"),
        ("", "leads out"),
        ("nothing", "No such file"),
        ("folder", "no regular file"),
    ] {
        place.settings.pre_upgrade = Some(script.into());
        let fault = check(&place.home, &place.settings, &name()).unwrap_err();
        assert!(fault.code == FaultCode::HookFailed && fault.detail.contains(why), "{script}: {fault:?}");
    }
    place.settings.pre_upgrade = None;
    check(&place.home, &place.settings, &name()).unwrap();
    place.settings.node_command = true;
    assert!(check(&place.home, &place.settings, &name()).unwrap_err().detail.contains("bin/geth"));
}

#[tokio::test]
async fn what_an_agent_that_died_left_of_a_hook_is_ended_first() {
    let mut place = Place::new();
    place.own(0o755, "echo ran > said");
    let lock = crate::host::lock::for_node(&place.home.root().join("hook.lock")).unwrap();
    let mut left = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    drop(lock);
    place.run().await.unwrap();
    assert_eq!(place.said("said"), "ran\n");
    let status = left.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
}

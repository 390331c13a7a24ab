//! A real coordinator process and real hosts: systemd and sshd in containers as root, else one sshd on loopback.
#![allow(clippy::unwrap_used, reason = "a test that cannot set up its hosts has to fail")]
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Where the hosts are.
pub enum Hosts {
    /// systemd containers in namespaces of their own.
    Containers {
        /// State folder of `loadtest/hosts`.
        state: PathBuf,
        /// Network namespace beside the hosts.
        hub: String,
    },
    /// One sshd on loopback as the current user.
    Loopback {
        /// The daemon.
        sshd: Child,
        /// Its port.
        port: u16,
    },
}

/// Everything a test needs; stopped and removed when dropped.
pub struct Bench {
    /// The hosts.
    pub hosts: Hosts,
    /// Folder of the test.
    pub dir: tempfile::TempDir,
    coordinator: Option<Child>,
    server: String,
    token: String,
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn have(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(["/usr/sbin".into()]).any(|dir| dir.join(program).exists())
}

/// Polls until `ready` gives something, at most a minute.
pub fn until<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < end, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a command that must succeed; its standard output.
pub fn must(command: &mut Command) -> String {
    let out = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(out.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// The agent's binary beside ours, built when it is not there.
pub fn agent_binary() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_wemixfleet")).with_file_name("wemixvisor");
    if !path.exists() {
        must(Command::new(env!("CARGO")).args(["build", "--locked", "-p", "agent"]).current_dir(workspace()));
    }
    path
}

impl Bench {
    /// Boots systemd hosts and a coordinator; `None` where that is not possible.
    pub fn containers() -> Option<Self> {
        let root = rustix::process::geteuid().is_root();
        if !(root && have("systemd-nspawn") && have("mmdebstrap") && have("apt-get")) {
            eprintln!(
                "not root, or no systemd-nspawn: systemd hosts are not tested, one sshd on loopback is"
            );
            return None;
        }
        Some(Self::start(containers))
    }

    /// One sshd on loopback as the current user, without systemd, and a coordinator.
    pub fn loopback() -> Self {
        Self::start(loopback)
    }

    fn start(hosts: fn(&Path) -> Hosts) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("id");
        must(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key));
        let hosts = hosts(dir.path());
        let mut bench = Self { hosts, dir, coordinator: None, server: String::new(), token: String::new() };
        bench.serve();
        bench
    }

    /// A command that runs beside the hosts.
    pub fn beside(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        match &self.hosts {
            Hosts::Containers { hub, .. } => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net=/run/netns/{hub}")).arg(program);
                command
            }
            Hosts::Loopback { .. } => Command::new(program),
        }
    }

    /// Whether the hosts have systemd.
    pub fn systemd(&self) -> bool {
        matches!(self.hosts, Hosts::Containers { .. })
    }

    fn serve(&mut self) {
        let (address, names) = match self.systemd() {
            true => ("10.77.0.1", "names = [\"10.77.0.1\"]\n"),
            false => ("127.0.0.1", ""),
        };
        let config = self.dir.path().join("begin.toml");
        let text = format!(
            "schema = 1\ndata_dir = \"data\"\nlisten = \"{address}:0\"\n{names}\n[network]\nname = \"testnet\"\nchain_id = 1337\ngenesis_hash = \"0x{}\"\n",
            "00".repeat(32)
        );
        std::fs::write(&config, text).unwrap();
        let fleet = self.dir.path().join("fleet");
        let binary = env!("CARGO_BIN_EXE_wemixfleet");
        let said = must(
            Command::new(binary).arg("init").arg(&fleet).arg("--config").arg(&config).arg("--print-token"),
        );
        self.token = said.trim().to_owned();
        let log = std::fs::File::create(self.dir.path().join("coordinator.log")).unwrap();
        let serving = self
            .beside(binary)
            .args(["serve", "--config"])
            .arg(fleet.join("wemixfleet.toml"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.coordinator = Some(serving);
        let told = fleet.join("data/listen.addr");
        let address =
            until("the coordinator", || std::fs::read_to_string(&told).ok().filter(|t| !t.trim().is_empty()));
        self.server = format!("https://{}", address.trim());
        until("readiness", || self.fleet(&["node", "list"]).status.success().then_some(()));
    }

    /// Runs `wemixfleet` beside the hosts.
    pub fn fleet(&self, arguments: &[&str]) -> Output {
        self.beside(env!("CARGO_BIN_EXE_wemixfleet"))
            .args(arguments)
            .env("WEMIXFLEET_SERVER", &self.server)
            .env("WEMIXFLEET_CA", self.dir.path().join("fleet/data/ca.crt"))
            .env("WEMIXFLEET_TOKEN", &self.token)
            .env("XDG_CONFIG_HOME", self.dir.path().join("xdg"))
            .output()
            .unwrap()
    }

    /// `node install` with the flags every installation here has; exit code and both outputs.
    pub fn install(&self, agent: &Path, more: &[&str]) -> (i32, String) {
        let (key, known) = (self.dir.path().join("id"), self.known_hosts());
        let template = self.dir.path().join("agent.toml");
        let home = self.home();
        let fixed = [
            "node",
            "install",
            "--agent-binary",
            agent.to_str().unwrap(),
            "--ssh-key",
            key.to_str().unwrap(),
            "--known-hosts",
            known.to_str().unwrap(),
            "--home",
            &home,
            "--daemon",
            "scripted_node",
            "--agent-config",
            template.to_str().unwrap(),
        ];
        // A developer's machine may run systemd; the test must not install a unit there.
        let init: &[&str] = if self.systemd() { &[] } else { &["--init", "none"] };
        let all: Vec<&str> = fixed.iter().chain(init).chain(more).copied().collect();
        let out = self.fleet(&all);
        let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        (out.status.code().unwrap_or(-1), said)
    }

    /// The file of pinned host keys.
    pub fn known_hosts(&self) -> PathBuf {
        self.dir.path().join("known_hosts")
    }

    /// `DAEMON_HOME` on the hosts.
    pub fn home(&self) -> String {
        match self.systemd() {
            true => "/var/lib/wemixvisor".into(),
            false => self.dir.path().join("host-home").display().to_string(),
        }
    }

    /// SSH address of host `k`, from 1.
    pub fn ssh(&self, k: usize) -> String {
        match &self.hosts {
            Hosts::Containers { .. } => format!("root@10.77.0.{}:22", k + 1),
            Hosts::Loopback { port, .. } => {
                let user = must(Command::new("id").arg("-un"));
                format!("{}@127.0.0.1:{port}", user.trim())
            }
        }
    }

    /// Runs a command on host `k` by OpenSSH, beside what is tested; standard output.
    pub fn on_host(&self, k: usize, command: &str) -> String {
        let address = self.ssh(k);
        let (login, port) = address.rsplit_once(':').unwrap();
        let out = self
            .beside("ssh")
            .args([
                "-q",
                "-o",
                "StrictHostKeyChecking=no",
                "-o",
                "UserKnownHostsFile=/dev/null",
                "-p",
                port,
                "-i",
            ])
            .arg(self.dir.path().join("id"))
            .arg(login)
            .arg(command)
            .output()
            .unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned()
    }
}

/// Files every host begins with: the key that may log in, and a chain client in a home.
fn seed(dir: &Path) {
    let ssh = dir.join("root/.ssh");
    let bin = dir.join("var/lib/wemixvisor/wemixvisor/genesis/bin");
    std::fs::create_dir_all(&ssh).unwrap();
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::copy(dir.parent().unwrap().parent().unwrap().join("id.pub"), ssh.join("authorized_keys"))
        .unwrap();
    put_node(&bin);
    must(Command::new("chmod").arg("700").arg(ssh));
}

/// A program that stays: the agent is what is tested here, not the node.
fn put_node(bin: &Path) {
    std::fs::copy("/bin/sleep", bin.join("scripted_node")).unwrap();
}

fn containers(dir: &Path) -> Hosts {
    let state = dir.join("hosts");
    seed(&state.join("seed"));
    let script = workspace().join("loadtest/hosts/up.sh");
    let me = std::process::id().to_string();
    must(Command::new(script).arg(&state).args(["2", &me]));
    let hub = std::fs::read_to_string(state.join("hub")).unwrap().trim().to_owned();
    Hosts::Containers { state, hub }
}

fn loopback(dir: &Path) -> Hosts {
    let bin = dir.join("host-home/wemixvisor/genesis/bin");
    std::fs::create_dir_all(&bin).unwrap();
    put_node(&bin);
    let key = dir.join("host_key");
    must(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key));
    if rustix::process::geteuid().is_root() {
        std::fs::create_dir_all("/run/sshd").unwrap();
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = dir.join("sshd_config");
    let text = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nSubsystem sftp internal-sftp\n",
        key.display(),
        dir.join("id.pub").display()
    );
    std::fs::write(&config, text).unwrap();
    let log = std::fs::File::create(dir.join("sshd.log")).unwrap();
    let sshd =
        Command::new("/usr/sbin/sshd").args(["-D", "-e", "-f"]).arg(&config).stderr(log).spawn().unwrap();
    until("sshd", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    Hosts::Loopback { sshd, port }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.path().join("coordinator.log")).unwrap_or_default();
            eprintln!("coordinator:\n{log}");
        }
        // A detached agent of the loopback host, and the node it keeps, are ours to end.
        let home = self.home();
        if let Hosts::Loopback { sshd, .. } = &mut self.hosts {
            for file in ["agent.pid", "process.json"] {
                let text = std::fs::read_to_string(format!("{home}/wemixvisor/{file}")).unwrap_or_default();
                let digits: String = text
                    .chars()
                    .skip_while(|c| !c.is_ascii_digit())
                    .take_while(char::is_ascii_digit)
                    .collect();
                if let Some(pid) = digits.parse().ok().and_then(rustix::process::Pid::from_raw) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
            let _ = sshd.kill();
            let _ = sshd.wait();
        }
        if let Some(mut coordinator) = self.coordinator.take() {
            let _ = coordinator.kill();
            let _ = coordinator.wait();
        }
        if let Hosts::Containers { state, .. } = &self.hosts {
            let _ = Command::new(workspace().join("loadtest/hosts/down.sh")).arg(state).status();
        }
    }
}

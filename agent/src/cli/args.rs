//! Which part of the command line is ours and which is the chain client's.
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// First argument of the agent that `start` puts in the background.
pub const RESERVED_DETACHED: &str = "__detached";

/// Our own flags that take a value and may stand before a command.
const VALUE_FLAGS: [&str; 5] = ["--config", "--home", "--name", "--cosmovisor-config", "-c"];
/// Our own flags without a value.
const PLAIN_FLAGS: [&str; 4] = ["--help", "-h", "--version", "-V"];
/// Commands of geth and its kin that are handed on to the chain client.
const CLIENT_COMMANDS: [&str; 27] = [
    "account",
    "attach",
    "bls",
    "console",
    "db",
    "dump",
    "dumpconfig",
    "dumpgenesis",
    "export",
    "export-history",
    "export-preimages",
    "import",
    "import-history",
    "import-preimages",
    "js",
    "license",
    "makecache",
    "makedag",
    "prune-history",
    "removedb",
    "show-deprecated-flags",
    "snapshot",
    "verkle",
    "version-check",
    "wallet",
    "wemix",
    "pre-upgrade",
];

/// A command line, parted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Program, our flags, our command.
    pub own: Vec<OsString>,
    /// What the chain client gets, as it is.
    pub node: Vec<OsString>,
    /// Whether the program was called `cosmovisor`.
    pub as_cosmovisor: bool,
    /// Whether this is the background agent of `start`.
    pub detached: bool,
}

/// Parts a command line.
pub fn part(mut args: Vec<OsString>) -> Line {
    let called = args.first().map(OsString::as_os_str).unwrap_or_default();
    let as_cosmovisor = Path::new(called).file_name() == Some(OsStr::new("cosmovisor"));
    let detached = args.get(1).is_some_and(|a| a == RESERVED_DETACHED);
    if detached {
        args.remove(1);
    }
    if as_cosmovisor && args.len() == 1 {
        // It helps then, and calls that no error.
        args.push("help".into());
    }
    let (own, node) = split(args, as_cosmovisor);
    Line { own, node, as_cosmovisor, detached }
}

fn split(mut args: Vec<OsString>, as_cosmovisor: bool) -> (Vec<OsString>, Vec<OsString>) {
    let mut at = 1;
    while let Some(arg) = args.get(at) {
        let text = arg.to_string_lossy().into_owned();
        let ours = VALUE_FLAGS.iter().any(|f| text.strip_prefix(f).is_some_and(|rest| rest.starts_with('=')));
        match text.as_str() {
            flag if VALUE_FLAGS.contains(&flag) => at += 2,
            flag if ours || PLAIN_FLAGS.contains(&flag) => at += 1,
            "run" => {
                let node = args.split_off(at + 1);
                return if as_cosmovisor { take_config(args, node) } else { (args, node) };
            }
            "exec" => {
                let mut node = args.split_off(at + 1);
                if node.first().is_some_and(|a| a == "--") {
                    node.remove(0);
                }
                return (args, node);
            }
            "start" => {
                let node = args.split_off(at + 1);
                return start(args, node);
            }
            "init" if is_clients_init(&args[at + 1..]) => return handed_on(args, at, "exec"),
            command if CLIENT_COMMANDS.contains(&command) => return handed_on(args, at, "exec"),
            flag if flag.starts_with("--") => return handed_on(args, at, "run"),
            _ => break,
        }
    }
    (args, Vec::new())
}

/// What follows belongs to the chain client; our command is `with`.
fn handed_on(mut args: Vec<OsString>, at: usize, with: &str) -> (Vec<OsString>, Vec<OsString>) {
    let node = args.split_off(at);
    args.push(with.into());
    (args, node)
}

/// geth's `init` takes a genesis file, ours an executable.
fn is_clients_init(rest: &[OsString]) -> bool {
    rest.iter().any(|a| {
        let text = a.to_string_lossy();
        text.ends_with(".json") || text == "--datadir" || text.starts_with("--datadir=")
    })
}

/// Our flags of `start` come first; from the first other one on it is the chain client's.
fn start(mut own: Vec<OsString>, mut rest: Vec<OsString>) -> (Vec<OsString>, Vec<OsString>) {
    while let Some(first) = rest.first() {
        let text = first.to_string_lossy().into_owned();
        let taken = match text.as_str() {
            "--" => {
                rest.remove(0);
                break;
            }
            "--foreground" | "-F" | "--daemon" | "-d" | "--help" | "-h" => 1,
            "--wait" => 2.min(rest.len()),
            flag if VALUE_FLAGS.contains(&flag) => 2.min(rest.len()),
            flag if flag.starts_with("--wait=") => 1,
            _ => break,
        };
        own.extend(rest.drain(..taken));
    }
    (own, rest)
}

/// cosmovisor takes its configuration file also from among the arguments of `run`, apart from its value only.
fn take_config(mut own: Vec<OsString>, mut node: Vec<OsString>) -> (Vec<OsString>, Vec<OsString>) {
    let at = node.iter().position(|a| a == "--cosmovisor-config" || a == "-cosmovisor-config");
    if let Some(at) = at
        && at + 1 < node.len()
    {
        let file = node.remove(at + 1);
        node.remove(at);
        own.insert(1, file);
        own.insert(1, "--cosmovisor-config".into());
    }
    (own, node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parted(line: &str) -> (String, String) {
        let Line { own, node, .. } = part(line.split(' ').map(OsString::from).collect());
        let text = |list: Vec<OsString>| list.join(&OsString::from(" ")).into_string().unwrap();
        (text(own), text(node))
    }

    fn check(line: &str, own: &str, node: &str) {
        assert_eq!(parted(line), (own.to_owned(), node.to_owned()), "{line}");
    }

    #[test]
    fn everything_after_run_is_the_nodes() {
        check("w --config x run --help", "w --config x run", "--help");
        check("w --home run run --home y", "w --home run run", "--home y");
        check("w --home=/a run", "w --home=/a run", "");
        check("w status run", "w status run", "");
        check("w run start -- --x", "w run", "start -- --x");
    }

    #[test]
    fn commands_and_flags_of_the_client_are_handed_on() {
        check("w attach --exec eth.blockNumber", "w exec", "attach --exec eth.blockNumber");
        check("w --home /h account list", "w --home /h exec", "account list");
        check("w --http --port 1", "w run", "--http --port 1");
        check("w init --datadir /d genesis.json", "w exec", "init --datadir /d genesis.json");
        check("w init ./geth", "w init ./geth", "");
        check("w exec -- init g.json", "w exec", "init g.json");
        check("w --version", "w --version", "");
        check("w statsu", "w statsu", "");
    }

    #[test]
    fn start_has_flags_of_its_own() {
        check("w start --wait 3s --http -d", "w start --wait 3s", "--http -d");
        check("w start -F -- -d", "w start -F", "-d");
    }

    #[test]
    fn cosmovisor_by_its_name() {
        let line = part(
            ["/usr/bin/cosmovisor", "run", "start", "--cosmovisor-config", "f", "--x"]
                .map(OsString::from)
                .to_vec(),
        );
        assert!(line.as_cosmovisor && !line.detached);
        assert_eq!(line.own, ["/usr/bin/cosmovisor", "--cosmovisor-config", "f", "run"]);
        assert_eq!(line.node, ["start", "--x"]);
        // As with cosmovisor, the form with `=` is the node's.
        check("cosmovisor run --cosmovisor-config=f", "cosmovisor run", "--cosmovisor-config=f");
        check("w run --cosmovisor-config f", "w run", "--cosmovisor-config f");
    }
}

//! What the arguments of a node may be on each network.
use std::net::IpAddr;

/// What a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Refused,
    Warned,
    Allowed,
}

/// The rules of one network.
struct Rules {
    name: &'static str,
    /// Numbers of the chains that call it so.
    ids: &'static [(u64, &'static str)],
    /// `--dev` and its kin: a chain of its own.
    dev: Verdict,
    /// Modules that command the node, offered to everyone.
    open: Verdict,
    /// Unlocked accounts while JSON-RPC is served.
    unlocked: Verdict,
}

const NETWORKS: [Rules; 3] = [
    Rules {
        name: "mainnet",
        ids: &[(1111, "wemix"), (8282, "stablenet")],
        dev: Verdict::Refused,
        open: Verdict::Refused,
        unlocked: Verdict::Refused,
    },
    Rules {
        name: "testnet",
        ids: &[(1112, "wemix"), (8283, "stablenet")],
        dev: Verdict::Refused,
        open: Verdict::Refused,
        unlocked: Verdict::Warned,
    },
    Rules {
        name: "devnet",
        ids: &[(1337, "geth --dev")],
        dev: Verdict::Allowed,
        open: Verdict::Warned,
        unlocked: Verdict::Allowed,
    },
];

/// Modules that command the node or read its memory.
const COMMANDING: [&str; 3] = ["admin", "personal", "debug"];

/// What is wrong with arguments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judgement {
    /// What is refused.
    pub errors: Vec<String>,
    /// What is allowed and still unwise.
    pub warnings: Vec<String>,
}

impl Judgement {
    fn say(&mut self, verdict: Verdict, text: String) {
        match verdict {
            Verdict::Refused => self.errors.push(text),
            Verdict::Warned => self.warnings.push(text),
            Verdict::Allowed => {}
        }
    }
}

/// Holds arguments of a geth-like node to the rules of a network.
pub fn judge(network: &str, args: &[String]) -> Judgement {
    let mut judgement = Judgement::default();
    let Some(rules) = NETWORKS.iter().find(|rules| rules.name == network) else {
        let names = NETWORKS.map(|rules| rules.name).join(", ");
        judgement.errors.push(format!("[node] network: {network:?} is none of {names}"));
        return judgement;
    };
    identity(rules, args, &mut judgement);
    for flag in args.iter().filter_map(|arg| flag_of(arg)) {
        if flag == "dev" || flag.starts_with("dev.") {
            let text = format!("--{flag} makes a chain of its own and has no place on {network}: remove it");
            judgement.say(rules.dev, text);
        }
    }
    let served = ["http", "ws"].into_iter().filter(|way| is_on(args, way));
    let served: Vec<&str> = served.collect();
    for way in &served {
        open(rules, args, way, &mut judgement);
    }
    let unlocks = value(args, "unlock").is_some_and(|accounts| !accounts.is_empty());
    if unlocks && !served.is_empty() || is_on(args, "allow-insecure-unlock") {
        let text = format!(
            "accounts are unlocked while JSON-RPC is served, so that whoever reaches it can spend from them: \
             on {network} remove --unlock and --allow-insecure-unlock"
        );
        judgement.say(rules.unlocked, text);
    }
    judgement
}

fn identity(rules: &Rules, args: &[String], judgement: &mut Judgement) {
    let Some(said) = value(args, "networkid") else { return };
    if rules.ids.iter().any(|(id, _)| id.to_string() == said) {
        return;
    }
    let ids: Vec<String> = rules.ids.iter().map(|(id, chain)| format!("{id} ({chain})")).collect();
    let others = NETWORKS.iter().find(|r| r.ids.iter().any(|(id, _)| id.to_string() == said));
    let whose = others.map(|r| format!(", which is the {}'s", r.name)).unwrap_or_default();
    judgement.errors.push(format!(
        "[node] network is {}, whose network id is {}, but the node is told network id {said}{whose}: \
         correct one of them",
        rules.name,
        ids.join(" or ")
    ));
}

fn open(rules: &Rules, args: &[String], way: &str, judgement: &mut Judgement) {
    let modules = value(args, &format!("{way}.api")).unwrap_or_default();
    let commanding: Vec<&str> =
        modules.split(',').map(str::trim).filter(|m| COMMANDING.contains(m)).collect();
    let address = value(args, &format!("{way}.addr")).unwrap_or_default();
    let verdict = match reach(&address) {
        Reach::Host => return,
        Reach::Inside => Verdict::Warned.min_of(rules.open),
        Reach::Everyone => rules.open,
    };
    if !commanding.is_empty() {
        let text = format!(
            "--{way}.addr {address} offers {} beyond this host on {}: listen on 127.0.0.1 or take them out of \
             --{way}.api",
            commanding.join(", "),
            rules.name
        );
        judgement.say(verdict, text);
    }
}

impl Verdict {
    /// The milder of the two.
    fn min_of(self, other: Verdict) -> Verdict {
        let rank = |v| matches!(v, Verdict::Refused) as u8 * 2 + matches!(v, Verdict::Warned) as u8;
        if rank(self) <= rank(other) { self } else { other }
    }
}

/// Who can reach an address that is listened on.
enum Reach {
    Host,
    Inside,
    Everyone,
}

fn reach(address: &str) -> Reach {
    match address.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) if ip.is_loopback() => Reach::Host,
        Ok(IpAddr::V4(ip)) if ip.is_private() || ip.is_link_local() => Reach::Inside,
        Ok(IpAddr::V6(ip)) if ip.is_unique_local() || ip.is_unicast_link_local() => Reach::Inside,
        Ok(_) => Reach::Everyone,
        Err(_) if address.is_empty() || address == "localhost" => Reach::Host,
        Err(_) => Reach::Everyone,
    }
}

/// The name of a flag, without dashes and value. geth takes one dash as well as two.
fn flag_of(arg: &str) -> Option<&str> {
    let name = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-'))?;
    Some(name.split('=').next().unwrap_or(name)).filter(|name| !name.is_empty())
}

/// The value of a flag, where it was said last.
fn value(args: &[String], flag: &str) -> Option<String> {
    let at = args.iter().rposition(|arg| flag_of(arg) == Some(flag))?;
    let own = args[at].split_once('=').map(|(_, value)| value.to_owned());
    own.or_else(|| args.get(at + 1).filter(|next| !next.starts_with('-')).cloned())
}

/// Whether a switch is on.
fn is_on(args: &[String], flag: &str) -> bool {
    let last = args.iter().rfind(|arg| flag_of(arg) == Some(flag));
    last.is_some_and(|arg| !arg.ends_with("=false"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(network: &str, line: &str, errors: usize, warnings: usize) {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let said = judge(network, &args);
        assert_eq!(
            (said.errors.len(), said.warnings.len()),
            (errors, warnings),
            "{network} {line}: {said:?}"
        );
    }

    #[test]
    fn each_network_has_its_rules() {
        let admin = "--http --http.addr 0.0.0.0 --http.api eth,admin";
        let unlocked = "--unlock 0xabc --http";
        for (network, line, errors, warnings) in [
            ("mainnet", "--datadir /x --http --http.api eth,net", 0, 0),
            ("mainnet", "--dev --dev.period=1", 2, 0),
            ("testnet", "--dev", 1, 0),
            ("devnet", "--dev --dev.period=1", 0, 0),
            ("mainnet", admin, 1, 0),
            ("testnet", admin, 1, 0),
            ("devnet", admin, 0, 1),
            ("mainnet", "--http --http.addr=:: --http.api=personal", 1, 0),
            ("mainnet", "-ws -ws.addr 0.0.0.0 -ws.api debug", 1, 0),
            ("mainnet", "--http --http.addr 10.0.0.1 --http.api debug", 0, 1),
            ("mainnet", "--http --http.addr 127.0.0.1 --http.api admin", 0, 0),
            ("mainnet", "--http.addr 0.0.0.0 --http.api admin", 0, 0),
            ("mainnet", "--http=false --http.addr 0.0.0.0 --http.api admin", 0, 0),
            ("mainnet", unlocked, 1, 0),
            ("testnet", unlocked, 0, 1),
            ("devnet", unlocked, 0, 0),
            ("mainnet", "--unlock 0xabc", 0, 0),
            ("mainnet", "--networkid 1111", 0, 0),
            ("mainnet", "--networkid=8282", 0, 0),
            ("mainnet", "--networkid 1112", 1, 0),
            ("devnet", "--networkid 1", 1, 0),
            ("moonnet", "", 1, 0),
        ] {
            check(network, line, errors, warnings);
        }
        let said = judge("mainnet", &["--networkid=1112".to_owned()]).errors.join("");
        assert!(said.contains("1111") && said.contains("1112") && said.contains("testnet"), "{said}");
    }
}

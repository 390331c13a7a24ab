//! Where a host is: `user@host:port`.
use std::fmt;
use std::str::FromStr;

/// An SSH address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// Account on the host.
    pub user: String,
    /// Name or address of the host, IPv6 without brackets.
    pub host: String,
    /// Port; 22 when not written.
    pub port: u16,
}

/// A text that is no SSH address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no SSH address ({why}): write user@host or user@host:port")]
pub struct TargetError {
    text: String,
    why: &'static str,
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let bad = |why| TargetError { text: text.to_owned(), why };
        let (user, rest) = text.split_once('@').ok_or_else(|| bad("no '@'"))?;
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or_else(|| bad("no ']'"))?;
                (host, after.strip_prefix(':').or(after.is_empty().then_some("22")))
            }
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, Some("22")),
            },
        };
        let port = port.and_then(|p| p.parse().ok()).filter(|p| *p != 0).ok_or_else(|| bad("the port"))?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if user.is_empty() || user.starts_with('-') || !user.chars().all(plain) {
            return Err(bad("the user"));
        }
        let host_ok = if rest.starts_with('[') {
            host.parse::<std::net::Ipv6Addr>().is_ok()
        } else {
            !host.is_empty() && !host.starts_with('-') && host.chars().all(plain)
        };
        if !host_ok {
            return Err(bad("the host"));
        }
        Ok(Self { user: user.to_owned(), host: host.to_owned(), port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "{}@[{}]:{}", self.user, self.host, self.port)
        } else {
            write!(f, "{}@{}:{}", self.user, self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, written) in [
            ("root@10.0.0.1", "root@10.0.0.1:22"),
            ("ops_1@val-1.example:2222", "ops_1@val-1.example:2222"),
            ("root@[fd00::1]", "root@[fd00::1]:22"),
            ("root@[fd00::1]:2200", "root@[fd00::1]:2200"),
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), written);
        }
        for bad in [
            "",
            "host",
            "@host",
            "root@",
            "root@h:0",
            "root@h:x",
            "root@h:70000",
            "-oProxyCommand=x@h",
            "a b@h",
            "root@-h",
            "root@h;id",
            "root@fd00::1",
            "root@[h]x:1",
            "root@[zz]:1",
        ] {
            assert!(bad.parse::<Target>().is_err(), "{bad:?}");
        }
    }
}

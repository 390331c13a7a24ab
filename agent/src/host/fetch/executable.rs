//! Whether a file can be run on this host, by its first bytes.
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Bytes of an ELF header that are looked at.
const HEADER: usize = 20;

/// Why a file cannot be run here.
#[derive(Debug, thiserror::Error)]
pub enum ExecutableError {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is empty.
    #[error("it is empty")]
    Empty,
    /// It is something else.
    #[error("it is neither an ELF executable nor a script: it begins with {0:?}")]
    Neither(String),
    /// It is for another machine.
    #[error("it is an ELF file for {found}, this host is {host}")]
    Foreign {
        /// What it is for.
        found: String,
        /// What this host is.
        host: &'static str,
    },
    /// It is an object file, a core dump, ….
    #[error("it is an ELF file of type {0}, no executable")]
    NoProgram(u16),
}

/// Looks at the first bytes of a file: an ELF executable of this host's class, byte order and machine,
/// or a `#!` script with an absolute interpreter.
///
/// # Errors
/// [`ExecutableError`] says what it is instead.
pub fn check(path: &Path) -> Result<(), ExecutableError> {
    let mut head = Vec::with_capacity(HEADER);
    File::open(path)?.take(HEADER as u64).read_to_end(&mut head)?;
    judge(&head)
}

fn judge(head: &[u8]) -> Result<(), ExecutableError> {
    if head.is_empty() {
        return Err(ExecutableError::Empty);
    }
    if let Some(rest) = head.strip_prefix(b"#!") {
        let interpreter = rest.iter().find(|b| !matches!(b, b' ' | b'\t'));
        if interpreter == Some(&b'/') {
            return Ok(());
        }
    }
    let neither =
        || ExecutableError::Neither(String::from_utf8_lossy(&head[..head.len().min(16)]).into_owned());
    if !head.starts_with(b"\x7fELF") || head.len() < HEADER {
        return Err(neither());
    }
    let number = |at: usize| match head[5] {
        2 => u16::from_be_bytes([head[at], head[at + 1]]),
        _ => u16::from_le_bytes([head[at], head[at + 1]]),
    };
    let bits = if head[4] == 2 { 64 } else { 32 };
    let big = head[5] == 2;
    let (machine, kind) = (number(18), number(16));
    let own = machine_of(std::env::consts::ARCH);
    let same = bits == usize::BITS && big == cfg!(target_endian = "big") && own.is_none_or(|m| m == machine);
    if !same {
        let order = if big { "big" } else { "little" };
        let found = format!("machine {machine} ({bits} bits, {order}-endian)");
        return Err(ExecutableError::Foreign {
            found: name_of(machine).map_or(found, str::to_owned),
            host: std::env::consts::ARCH,
        });
    }
    // Position-independent executables have the type of shared objects.
    if matches!(kind, 2 | 3) { Ok(()) } else { Err(ExecutableError::NoProgram(kind)) }
}

/// Machines by Rust's names, as the ELF specification numbers them.
const MACHINES: [(&str, u16); 8] = [
    ("x86", 3),
    ("powerpc64", 21),
    ("s390x", 22),
    ("arm", 40),
    ("x86_64", 62),
    ("aarch64", 183),
    ("riscv64", 243),
    ("loongarch64", 258),
];

fn machine_of(arch: &str) -> Option<u16> {
    MACHINES.iter().find(|(name, _)| *name == arch).map(|(_, number)| *number)
}

fn name_of(machine: u16) -> Option<&'static str> {
    MACHINES.iter().find(|(_, number)| *number == machine).map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Vec<u8> {
        let mut head = Vec::new();
        let file = File::open(std::env::current_exe().unwrap()).unwrap();
        file.take(HEADER as u64).read_to_end(&mut head).unwrap();
        head
    }

    fn with(at: usize, value: u8) -> Vec<u8> {
        let mut head = own();
        head[at] = value;
        head
    }

    #[test]
    fn this_program_and_scripts() {
        assert!(check(&std::env::current_exe().unwrap()).is_ok());
        for script in ["#!/bin/sh\n", "#! /usr/bin/env python3\n"] {
            assert!(judge(script.as_bytes()).is_ok(), "{script}");
        }
    }

    #[test]
    fn everything_else() {
        assert!(matches!(judge(b""), Err(ExecutableError::Empty)));
        for other in [&b"<!DOCTYPE html>"[..], b"#!", b"#!sh\n", b"MZ\x90", b"\x7fELF", b"PK\x03\x04"] {
            assert!(matches!(judge(other), Err(ExecutableError::Neither(_))), "{other:?}");
        }
        let foreign = |head: Vec<u8>| matches!(judge(&head), Err(ExecutableError::Foreign { .. }));
        let other_machine = if cfg!(target_arch = "x86_64") { 183 } else { 62 };
        assert!(foreign(with(18, other_machine)), "machine");
        assert!(foreign(with(4, 1)), "32 bits");
        assert!(foreign(with(5, 2)), "byte order");
        assert!(matches!(judge(&with(16, 1)), Err(ExecutableError::NoProgram(1))), "object file");
        assert!(matches!(judge(&with(16, 4)), Err(ExecutableError::NoProgram(4))), "core dump");
    }
}

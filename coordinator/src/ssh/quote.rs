//! Arguments for a remote command. SSH hands one string to the account's shell, so every argument is quoted,
//! always; scripts are constants and get their data as positional parameters.

/// An argument that cannot be handed to a shell at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} holds a NUL character and cannot be an argument")]
pub struct QuoteError(pub String);

/// One argument in single quotes; nothing inside them means anything to a POSIX shell.
///
/// # Errors
/// [`QuoteError`] for a NUL character, which no argument can hold.
pub fn quote(argument: &str) -> Result<String, QuoteError> {
    if argument.contains('\0') {
        return Err(QuoteError(argument.to_owned()));
    }
    Ok(format!("'{}'", argument.replace('\'', r"'\''")))
}

/// A whole command line from its arguments.
///
/// # Errors
/// See [`quote`].
pub fn line<T: AsRef<str>>(arguments: &[T]) -> Result<String, QuoteError> {
    let quoted: Result<Vec<_>, _> = arguments.iter().map(|a| quote(a.as_ref())).collect();
    Ok(quoted?.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_shell_would_act_on_is_inert() {
        assert_eq!(quote("plain").unwrap(), "'plain'");
        assert_eq!(quote("a'b").unwrap(), r"'a'\''b'");
        assert_eq!(line(&["rm", "$(id); `id` && x\ny"]).unwrap(), "'rm' '$(id); `id` && x\ny'");
        assert_eq!(line(&["", "-n"]).unwrap(), "'' '-n'");
        assert!(quote("a\0b").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// A real shell gives back exactly the arguments that went in.
        #[test]
        fn a_shell_reads_back_the_same_arguments(arguments in prop::collection::vec("[^\0]{0,20}", 1..4)) {
            let mut words = vec!["printf".to_owned(), "%s\\0".to_owned()];
            words.extend(arguments.clone());
            let said = std::process::Command::new("sh").arg("-c").arg(line(&words).unwrap()).output().unwrap();
            let expected: String = arguments.iter().map(|a| format!("{a}\0")).collect();
            prop_assert_eq!(String::from_utf8(said.stdout).unwrap(), expected);
        }
    }
}

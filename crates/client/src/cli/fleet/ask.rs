//! What only a person can say: yes, and passphrases.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

use linnet_fleet::keys::Keys;
use linnet_fleet::repository::Editor;
use zeroize::Zeroizing;

use crate::ClientError;

/// Names a file whose first line is the passphrase of every key that has one.
const PASSPHRASE_FILE: &str = "LINNET_FLEET_PASSPHRASE_FILE";
/// Shortest passphrase of a new key, characters.
const MIN_PASSPHRASE: usize = 12;

/// Asks for a yes on the terminal; without one nobody can say it, and `--yes` is the way out.
pub(super) fn confirm(question: &str) -> Result<bool, ClientError> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(ClientError::BadUrl(format!("{question} Nobody can be asked here: give --yes")));
    }
    let mut error = std::io::stderr().lock();
    write!(error, "{question} [y/N] ").and_then(|()| error.flush()).map_err(ClientError::Output)?;
    let mut answer = String::new();
    let read = |source| ClientError::Read { path: "standard input".into(), source };
    stdin.lock().read_line(&mut answer).map_err(read)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Takes the repository's lock after a yes to what was shown; somebody may have published since, and then the yes was to something else.
pub(super) fn again(dir: &Path, operation: &str, shown: u64) -> Result<Editor, ClientError> {
    let editor = Editor::begin(dir, operation).map_err(ClientError::Fleet)?;
    match editor.newest() {
        newest if newest == shown => Ok(editor),
        newest => Err(ClientError::BadUrl(format!(
            "generation {newest} was published while you were asked, so nothing was signed; look at it with `linnet fleet status`, and give the command again"
        ))),
    }
}

/// Keys that ask for their passphrases.
pub(super) fn keys() -> Keys<'static> {
    Keys::new(&passphrase)
}

fn passphrase(key: &Path) -> std::io::Result<Zeroizing<String>> {
    match std::env::var_os(PASSPHRASE_FILE) {
        Some(file) => from_file(Path::new(&file)),
        None => rpassword::prompt_password(format!("Passphrase of {}: ", key.display())).map(Zeroizing::new),
    }
}

fn from_file(file: &Path) -> std::io::Result<Zeroizing<String>> {
    let text = Zeroizing::new(
        std::fs::read_to_string(file)
            .map_err(|e| std::io::Error::new(e.kind(), format!("{PASSPHRASE_FILE}: {}: {e}", file.display())))?,
    );
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

/// The passphrase of new keys, asked for twice.
pub(super) fn new_passphrase() -> Result<Zeroizing<String>, ClientError> {
    let failed = |source| ClientError::Read { path: "the passphrase".into(), source };
    let passphrase = match std::env::var_os(PASSPHRASE_FILE) {
        Some(file) => from_file(Path::new(&file)).map_err(failed)?,
        None => {
            let ask = |text: &str| rpassword::prompt_password(text).map(Zeroizing::new).map_err(failed);
            let first = ask("Passphrase of the new keys: ")?;
            if *ask("Again: ")? != *first {
                return Err(ClientError::BadUrl("the two passphrases differ; begin again".into()));
            }
            first
        }
    };
    if passphrase.chars().count() < MIN_PASSPHRASE {
        return Err(ClientError::BadUrl(format!(
            "a passphrase of fewer than {MIN_PASSPHRASE} characters protects nothing; use several words"
        )));
    }
    Ok(passphrase)
}

#[cfg(test)]
mod tests {
    use linnet_fleet::keys::{Keys, Locator, generate};
    use linnet_fleet::repository::{Draft, Editor, Founding};

    use super::again;

    #[test]
    fn a_yes_to_what_is_the_newest_no_more_signs_nothing() {
        let home = tempfile::tempdir().expect("a directory");
        let dir = home.path().join("repository");
        let founding = Founding::simple("home", home.path());
        for key in founding.roles.values().flat_map(|named| &named.keys) {
            let Locator::File(path) = key else { continue };
            generate(path, None).expect("a key");
        }
        Editor::init(&dir, &founding, &mut Keys::default(), 1_000).expect("a repository");
        assert_eq!(again(&dir, "a test", 0).expect("as it was").newest(), 0);

        let mut editor = again(&dir, "a test", 0).expect("as it was");
        assert!(again(&dir, "another", 0).is_err(), "somebody has the lock");
        let draft = Draft { config_version: 1, lifetime_secs: 1_000, ..Draft::default() };
        let prepared = editor.prepare(&draft, 1_000).expect("a generation");
        editor.publish(&prepared, &mut Keys::default(), 1_000).expect("published");
        drop(editor);
        let refused = again(&dir, "a test", 0).expect_err("not what was shown").to_string();
        assert!(refused.contains("generation 1 was published while you were asked"), "{refused}");
        assert_eq!(again(&dir, "a test", 1).expect("as it was shown").newest(), 1);
    }
}

//! The server secret: from the configuration, from a file, or made once and kept beside the data. Several may stand there,
//! separated by white space, to rotate.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use rand::RngExt;
use secrecy::{ExposeSecret, SecretString};

use crate::config::server::{SECRET_FILE, SHORTEST_SECRET, ServerConfig};

/// Reads the server secrets, the signing one first; makes one when there is none. Blocks for a moment on the file.
///
/// # Errors
/// A file that cannot be read or made, or holds less than it must.
pub fn load(config: &ServerConfig, data_dir: &Path) -> io::Result<Vec<SecretString>> {
    let (text, source) = match (&config.secret, &config.secret_file) {
        (Some(secret), _) => (secret.expose_secret().to_owned(), "server.secret".to_owned()),
        (None, Some(file)) => (read(file)?, file.display().to_string()),
        (None, None) => {
            let file = data_dir.join(SECRET_FILE);
            (kept(&file)?, file.display().to_string())
        }
    };
    let secrets: Vec<_> = text.split_whitespace().map(|word| SecretString::from(word.to_owned())).collect();
    let sound = secrets.iter().all(|secret| secret.expose_secret().len() >= SHORTEST_SECRET);
    if secrets.is_empty() || !sound {
        let problem = format!("{source} must hold a secret of at least {SHORTEST_SECRET} characters");
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    Ok(secrets)
}

fn read(file: &Path) -> io::Result<String> {
    fs::read_to_string(file).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))
}

/// What is kept in the file; made when there is none. Of two that make one at the same time both read the same.
fn kept(file: &Path) -> io::Result<String> {
    match read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    let folder = file.parent().unwrap_or(Path::new("."));
    let draft = folder.join(format!("{SECRET_FILE}.{}", std::process::id()));
    write_down(&draft)?;
    let linked = fs::hard_link(&draft, file);
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    File::open(folder)?.sync_all()?;
    read(file)
}

fn write_down(draft: &Path) -> io::Result<()> {
    let secret: [u8; 32] = rand::rng().random();
    let text: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    // A draft of a process that was killed may lie there.
    let mut made = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(draft)?;
    made.write_all(text.as_bytes())?;
    made.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn texts(config: &ServerConfig, folder: &Path) -> io::Result<Vec<String>> {
        Ok(load(config, folder)?.iter().map(|secret| secret.expose_secret().to_owned()).collect())
    }

    #[test]
    fn a_secret_is_made_once_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let first = texts(&ServerConfig::default(), folder.path()).unwrap();
        assert_eq!((first.len(), first[0].len()), (1, 64));
        assert_eq!(texts(&ServerConfig::default(), folder.path()).unwrap(), first);
        let mode = fs::metadata(folder.path().join(SECRET_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn the_configuration_wins_and_may_hold_several_to_rotate() {
        let folder = tempfile::tempdir().unwrap();
        let (new, old) = ("n".repeat(32), "o".repeat(40));
        let given = ServerConfig { secret: Some(format!(" {new}\n{old} ").into()), ..ServerConfig::default() };
        assert_eq!(texts(&given, folder.path()).unwrap(), [new.clone(), old]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is made beside it");
        let file = folder.path().join("file");
        let named = ServerConfig { secret_file: Some(file.clone()), ..ServerConfig::default() };
        assert!(texts(&named, folder.path()).unwrap_err().to_string().contains("file"));
        for (text, fits) in [(new.as_str(), true), ("", false), ("short", false)] {
            fs::write(&file, text).unwrap();
            assert_eq!(texts(&named, folder.path()).is_ok(), fits, "{text}");
        }
    }
}

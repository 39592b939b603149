//! Key files: a secret key in PKCS#8 PEM (RFC 8410), readable by its owner alone.
//!
//! Version 1 is written, as `openssl genpkey -algorithm ed25519` does; version 2, which carries the
//! public key too, is read as well. Secret bytes are wiped from memory when they are done with.

use std::env;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ed25519::KeypairBytes;
use ed25519::pkcs8::spki::der::pem::LineEnding;
use ed25519::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, Error as Pkcs8Error};
use rustix::fs::OFlags;
use selvedge_core::seal::SecretKey;
use selvedge_core::topic::Name;
use zeroize::Zeroizing;

/// Where key files lie that nobody named.
const KEYS: &str = "/etc/selvedge/keys";

/// Where systemd puts what `LoadCredential=` names.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Longest key file: version 1 has 119 bytes, version 2 with attributes some 300.
const FILE_BYTES: usize = 4 * 1_024;

/// The operating system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct NoRandomness(#[from] getrandom::Error);

/// Why a key file was not read or written, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// Nothing is there to read.
    #[error("no key file {path}; make one with: selvedge keygen --out {path}")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Something is there already; it stays as it is.
    #[error("{path} exists, and a key file is never overwritten; move it away first")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Its group or everyone may read or write it.
    #[error("others may use the key in {path} (mode {mode:04o}); run: chmod 600 {path}")]
    LooseMode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another user owns it, who can change it.
    #[error("{path} belongs to user {owner}, not to us nor to root; run: chown {us} {path}")]
    Owner {
        /// The file.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who we are.
        us: u32,
    },
    /// Not a regular file.
    #[error("{path} is not a regular file")]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// It does not hold a usable key.
    #[error("{path}: {why}")]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with its content.
        why: NotAKey,
    },
    /// The file system refused.
    #[error("cannot {doing} {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What came of it.
        source: io::Error,
    },
}

/// What is wrong with the content of a key file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAKey {
    /// Cut off, garbage, longer than any key, or something else in PEM.
    #[error("not a private key in PKCS#8 PEM (\"BEGIN PRIVATE KEY\")")]
    Form,
    /// Protected by a password, which a service cannot type.
    #[error("the key is encrypted; decrypt it with: openssl pkey")]
    Encrypted,
    /// Not Ed25519.
    #[error("not an Ed25519 key; make one with: selvedge keygen")]
    Algorithm,
    /// Version 2, and its public key is another one's.
    #[error("the public key beside the private one does not belong to it")]
    Mismatch,
}

/// A new key, from the operating system's randomness.
///
/// # Errors
/// [`NoRandomness`] where the system has none to give.
pub fn generate() -> Result<SecretKey, NoRandomness> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut())?;
    Ok(SecretKey::from_seed(&seed))
}

/// Where the key of service or relay `name` lies unless its user says: `NAME.key` among systemd's
/// credentials if it is there, else in `/etc/selvedge/keys`. The file need not exist.
pub fn find(name: &Name) -> PathBuf {
    find_in(env::var_os(CREDENTIALS), name)
}

fn find_in(credentials: Option<OsString>, name: &Name) -> PathBuf {
    let file = format!("{name}.key");
    let credential = credentials.map(|folder| Path::new(&folder).join(&file));
    credential.filter(|path| path.exists()).unwrap_or_else(|| Path::new(KEYS).join(&file))
}

/// Reads a key file of at most 4 KiB, after a look at who else could have. Follows links.
///
/// # Errors
/// Each [`KeyFileError`] but `Exists`.
pub fn read(path: &Path) -> Result<SecretKey, KeyFileError> {
    let io = |doing| {
        move |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => KeyFileError::Missing { path: path.into() },
            _ => KeyFileError::Io { path: path.into(), doing, source },
        }
    };
    // Opened first and judged then, so that it is the same file; without waiting for a pipe's end.
    let flags = OFlags::NONBLOCK.bits() as i32;
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(flags).open(path).map_err(io("open"))?;
    let facts = file.metadata().map_err(io("read"))?;
    if !facts.is_file() {
        return Err(KeyFileError::NotAFile { path: path.into() });
    }
    let us = rustix::process::geteuid().as_raw();
    if let Err(bad) = check_access(facts.mode() & 0o777, facts.uid(), us, is_credential(path)) {
        return Err(bad.of(path, us));
    }
    // Never grown, so no copy of it stays behind.
    let mut content = Zeroizing::new(Vec::with_capacity(FILE_BYTES + 1));
    file.take(FILE_BYTES as u64 + 1).read_to_end(&mut content).map_err(io("read"))?;
    decode(&content).map_err(|why| KeyFileError::NotAKey { path: path.into(), why })
}

/// Writes a new key file, mode 0600: complete and on disk, or not there at all.
///
/// # Errors
/// [`KeyFileError::Exists`] if anything is there, even a dangling link; [`KeyFileError::Io`].
pub fn write_new(path: &Path, key: &SecretKey) -> Result<(), KeyFileError> {
    let io = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => KeyFileError::Exists { path: path.into() },
        _ => KeyFileError::Io { path: path.into(), doing: "write", source },
    };
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let pem = encode(key).map_err(io::Error::other).map_err(io)?;
    // Created with mode 0600 under a name of its own, and removed on any error.
    let mut file = tempfile::Builder::new().prefix(".key-").tempfile_in(folder).map_err(io)?;
    file.write_all(pem.as_bytes()).map_err(io)?;
    file.as_file().sync_all().map_err(io)?;
    file.persist_noclobber(path).map_err(|error| io(error.error))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
}

// ---- who may use the file ----------------------------------------------------------------------

/// Who else could read or change a file.
#[derive(Debug, PartialEq, Eq)]
enum Access {
    Mode(u32),
    Owner(u32),
}

impl Access {
    fn of(self, path: &Path, us: u32) -> KeyFileError {
        let path = path.to_owned();
        match self {
            Access::Mode(mode) => KeyFileError::LooseMode { path, mode },
            Access::Owner(owner) => KeyFileError::Owner { path, owner, us },
        }
    }
}

/// Only the owner may use it, and he is us or root. systemd's credentials are root's, mode 0440:
/// the group bits are the mask of an access list that names the service's user alone.
fn check_access(mode: u32, owner: u32, us: u32, credential: bool) -> Result<(), Access> {
    if owner != us && owner != 0 {
        return Err(Access::Owner(owner));
    }
    let handed_over = credential && owner == 0 && mode == 0o440;
    if mode & 0o077 != 0 && !handed_over { Err(Access::Mode(mode)) } else { Ok(()) }
}

/// Whether the file lies directly in the folder of systemd's credentials.
fn is_credential(path: &Path) -> bool {
    env::var_os(CREDENTIALS).is_some_and(|folder| path.parent() == Some(Path::new(&folder)))
}

// ---- the bytes ---------------------------------------------------------------------------------

fn encode(key: &SecretKey) -> Result<Zeroizing<String>, Pkcs8Error> {
    // Without its public key it is version 1.
    KeypairBytes { secret_key: *key.seed(), public_key: None }.to_pkcs8_pem(LineEnding::LF)
}

fn decode(content: &[u8]) -> Result<SecretKey, NotAKey> {
    let text = str::from_utf8(content).map_err(|_| NotAKey::Form)?;
    if content.len() > FILE_BYTES {
        return Err(NotAKey::Form);
    }
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") {
        return Err(NotAKey::Encrypted);
    }
    let pair = KeypairBytes::from_pkcs8_pem(text).map_err(|error| match error {
        Pkcs8Error::PublicKey(_) | Pkcs8Error::ParametersMalformed => NotAKey::Algorithm,
        _ => NotAKey::Form,
    })?;
    let key = SecretKey::from_seed(&pair.secret_key);
    match pair.public_key {
        Some(public) if public.0 != *key.public().as_bytes() => Err(NotAKey::Mismatch),
        _ => Ok(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    /// `openssl genpkey -algorithm ed25519`: version 1. Used nowhere.
    const OPENSSL: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEIJIMzOrx4h1A4BG/Yb0vc3bu86QAPrrB4EPhj0wFxzFl\n\
        -----END PRIVATE KEY-----\n";
    const OPENSSL_PUBLIC: &str = "ed25519:CbSQWPTRYK/Xw7kNLhBuTFmOysjz4Qt0vSDUeFSAKiw=";

    /// RFC 8410, section 10.3: version 2, with an attribute and the public key.
    const RFC_8410: &str = "-----BEGIN PRIVATE KEY-----\n\
        MHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        oB8wHQYKKoZIhvcNAQkJFDEPDA1DdXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrB\n\
        Z9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PRIVATE KEY-----\n";
    const RFC_8410_PUBLIC: &str = "ed25519:Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=";

    /// `openssl genpkey -algorithm x25519`.
    const X25519: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VuBCIEIJIMzOrx4h1A4BG/Yb0vc3bu86QAPrrB4EPhj0wFxzFl\n\
        -----END PRIVATE KEY-----\n";

    fn file(folder: &tempfile::TempDir, mode: u32, content: &[u8]) -> PathBuf {
        let path = folder.path().join("a.key");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn both_versions_are_read() {
        let folder = tempfile::tempdir().unwrap();
        for (pem, public) in [(OPENSSL, OPENSSL_PUBLIC), (RFC_8410, RFC_8410_PUBLIC)] {
            for pem in [pem.to_owned(), pem.replace('\n', "\r\n")] {
                let key = read(&file(&folder, 0o600, pem.as_bytes())).unwrap();
                assert_eq!(key.public().to_string(), public);
            }
        }
    }

    #[test]
    fn a_new_file_is_what_openssl_would_have_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new.key");
        let key = read(&file(&folder, 0o400, OPENSSL.as_bytes())).unwrap();
        write_new(&path, &key).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), OPENSSL);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else stays behind");
    }

    #[test]
    fn what_exists_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder, 0o600, b"precious");
        let dangling = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path().join("nowhere"), &dangling).unwrap();
        for path in [&path, &dangling] {
            let outcome = write_new(path, &generate().unwrap());
            assert!(matches!(outcome, Err(KeyFileError::Exists { .. })), "{outcome:?}");
        }
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        assert!(!folder.path().join("nowhere").exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else stays behind");
    }

    #[test]
    fn a_loose_mode_is_refused_with_the_cure() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o640, 0o604, 0o620, 0o601, 0o644, 0o440] {
            let path = file(&folder, mode, OPENSSL.as_bytes());
            let error = read(&path).unwrap_err();
            assert!(matches!(error, KeyFileError::LooseMode { mode: m, .. } if m == mode));
            assert!(error.to_string().ends_with(&format!("run: chmod 600 {}", path.display())));
        }
    }

    #[test]
    fn only_we_and_root_may_own_it() {
        for (mode, owner, us, credential, expected) in [
            (0o600, 7, 7, false, Ok(())),
            (0o600, 0, 7, false, Ok(())),
            (0o600, 8, 7, false, Err(Access::Owner(8))),
            (0o600, 8, 0, false, Err(Access::Owner(8))),
            (0o440, 0, 7, true, Ok(())),
            (0o440, 7, 7, true, Err(Access::Mode(0o440))),
            (0o444, 0, 7, true, Err(Access::Mode(0o444))),
        ] {
            let case = format!("{mode:o} {owner} {us} {credential}");
            assert_eq!(check_access(mode, owner, us, credential), expected, "{case}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_by_its_reason() {
        let mut other = KeypairBytes::from_pkcs8_pem(RFC_8410).unwrap();
        other.secret_key[0] ^= 1;
        let mismatch = other.to_pkcs8_pem(LineEnding::LF).unwrap();
        let encrypted = OPENSSL.replace("PRIVATE", "ENCRYPTED PRIVATE");
        let public = OPENSSL.replace("PRIVATE", "PUBLIC");
        let long = OPENSSL.to_owned() + &"\n".repeat(FILE_BYTES);
        for (content, why) in [
            ("", NotAKey::Form),
            ("\u{0}\u{1}garbage", NotAKey::Form),
            (&long, NotAKey::Form),
            (&public, NotAKey::Form),
            (&encrypted, NotAKey::Encrypted),
            (X25519, NotAKey::Algorithm),
            (&mismatch, NotAKey::Mismatch),
        ] {
            assert_eq!(decode(content.as_bytes()).map(|_| ()), Err(why), "{content}");
        }
        assert_eq!(decode(b"\xff\xfe").map(|_| ()), Err(NotAKey::Form));
        for end in 0..OPENSSL.trim_end().len() {
            assert_eq!(decode(&OPENSSL.as_bytes()[..end]).map(|_| ()), Err(NotAKey::Form), "{end}");
        }
    }

    #[test]
    fn what_is_no_file_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let missing = read(&folder.path().join("a.key"));
        assert!(matches!(missing, Err(KeyFileError::Missing { .. })), "{missing:?}");
        let outcome = read(folder.path());
        assert!(matches!(outcome, Err(KeyFileError::NotAFile { .. })), "{outcome:?}");
        let nowhere = write_new(&folder.path().join("no/a.key"), &generate().unwrap());
        assert!(matches!(nowhere, Err(KeyFileError::Io { .. })), "{nowhere:?}");
    }

    #[test]
    fn a_credential_comes_before_the_system_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder, 0o600, OPENSSL.as_bytes());
        let credentials = Some(folder.path().as_os_str().to_owned());
        let (a, b) = (Name::try_from("a").unwrap(), Name::try_from("b").unwrap());
        assert_eq!(find_in(credentials.clone(), &a), path);
        assert_eq!(find_in(credentials, &b), Path::new("/etc/selvedge/keys/b.key"));
        assert_eq!(find_in(None, &a), Path::new("/etc/selvedge/keys/a.key"));
    }

    #[test]
    fn two_new_keys_differ() {
        assert_ne!(generate().unwrap().seed(), generate().unwrap().seed());
    }
}

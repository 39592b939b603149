//! What several commands are told: where the directory, the state and the key are.

use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::anyhow;
use clap::ValueEnum;
use selvedge::directory::{self, Watched};
use selvedge::{Name, keys, state};
use tracing_subscriber::filter::LevelFilter;

/// Where the directory is unless somebody says.
const DIRECTORY: &str = "/etc/selvedge/endpoints.toml";

/// Options of every command, before or after its name.
#[derive(Clone, Debug, clap::Args)]
pub struct Common {
    /// The directory of who speaks [default: /etc/selvedge/endpoints.toml]
    #[arg(long, global = true, value_name = "PATH", env = "SELVEDGE_DIRECTORY")]
    #[arg(hide_env_values = true)]
    directory: Option<PathBuf>,
    /// The folder of what must be remembered [default: $STATE_DIRECTORY, else the XDG state folder]
    #[arg(long, global = true, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// How much is logged on standard error [default: warn; of relays and bridges: info]
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log: Option<Level>,
    /// One JSON object a line
    #[arg(long, global = true)]
    pub json: bool,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[allow(missing_docs, reason = "the names say it, and would be repeated in the help")]
pub enum Level {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Common {
    /// The path of the directory's main file.
    pub fn directory(&self) -> &Path {
        self.directory.as_deref().unwrap_or(Path::new(DIRECTORY))
    }

    /// The path of the directory's main file, if anybody named one.
    pub fn named_directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// The directory, kept current; with `state` its last good form is kept there.
    ///
    /// # Errors
    /// If there is none to start with.
    pub fn watch(&self, state: Option<&Path>) -> anyhow::Result<Watched> {
        let path = self.directory();
        directory::watch(path, state).map_err(|error| match path.try_exists() {
            Ok(false) => anyhow!("{error}\nname another with --directory or SELVEDGE_DIRECTORY"),
            _ => error.into(),
        })
    }

    /// The folder of a service's state.
    pub fn state_folder(&self) -> PathBuf {
        self.state.clone().unwrap_or_else(state::default_folder)
    }
}

/// Which key a service or relay signs with.
#[derive(Clone, Debug, clap::Args)]
pub struct KeyFile {
    /// Its private key [default: NAME.key in $CREDENTIALS_DIRECTORY, else in /etc/selvedge/keys]
    #[arg(long, value_name = "FILE", env = "SELVEDGE_KEY", hide_env_values = true)]
    key: Option<PathBuf>,
}

impl KeyFile {
    /// The path of the key of `name`.
    pub fn path(&self, name: &Name) -> PathBuf {
        self.key.clone().unwrap_or_else(|| keys::find(name))
    }
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> LevelFilter {
        match level {
            Level::Off => LevelFilter::OFF,
            Level::Error => LevelFilter::ERROR,
            Level::Warn => LevelFilter::WARN,
            Level::Info => LevelFilter::INFO,
            Level::Debug => LevelFilter::DEBUG,
            Level::Trace => LevelFilter::TRACE,
        }
    }
}

/// Parses a number of seconds, which may have a fraction.
///
/// # Errors
/// What is expected instead.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| "a number of seconds is expected, such as 5 or 0.5".to_owned())
}

/// Parses a time (RFC 3339, in UTC), as microseconds since 1970.
pub fn time(text: &str) -> Option<u64> {
    let time = humantime::parse_rfc3339_weak(text).ok()?;
    u64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_micros()).ok()
}

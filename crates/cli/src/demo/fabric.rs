//! The fabric's files: a temporary folder with the directory, the keys, and what is played with.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use selvedge::keys;
use tempfile::TempDir;

/// Ports to choose from: below those that Linux gives to outgoing connections (from 32,768), so
/// that a port stays free while its service is down.
const PORTS: std::ops::Range<u16> = 10_000..30_000;

/// Between the first ports of two processes with neighbouring numbers: more than one demo needs.
const PORTS_APART: u32 = 32;

/// The folder, and the directory in it as it should be now.
#[derive(Debug)]
pub struct Fabric {
    folder: TempDir,
    text: String,
    next_port: u16,
}

impl Fabric {
    /// A fabric without services. Its folder is removed when it is dropped.
    pub fn new() -> anyhow::Result<Fabric> {
        let folder = tempfile::Builder::new().prefix("selvedge-demo-").tempdir();
        let folder = folder.context("cannot make a temporary folder")?;
        for inner in ["keys", "logs", "doctored", "watched"] {
            fs::create_dir(folder.path().join(inner))?;
        }
        fs::write(folder.path().join("lines.txt"), "")?;
        // Demos that start together look from different ports on, else they would find the same.
        let room = u32::from(PORTS.end - PORTS.start);
        let spread = std::process::id().wrapping_mul(PORTS_APART) % room;
        let next_port = PORTS.start + u16::try_from(spread).unwrap_or(0);
        let text = "format = 1\nfabric = \"demo\"\n".to_owned();
        Ok(Fabric { folder, text, next_port })
    }

    /// The folder of everything.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The directory's file.
    pub fn directory(&self) -> PathBuf {
        self.folder().join("endpoints.toml")
    }

    /// The folder whose changes are reported.
    pub fn watched(&self) -> PathBuf {
        self.folder().join("watched")
    }

    /// The file whose lines are reported.
    pub fn lines(&self) -> PathBuf {
        self.folder().join("lines.txt")
    }

    /// The key of a service or relay.
    pub fn key(&self, name: &str) -> PathBuf {
        self.folder().join("keys").join(format!("{name}.key"))
    }

    /// Where a process writes its log.
    pub fn log(&self, name: &str) -> PathBuf {
        self.folder().join("logs").join(format!("{name}.log"))
    }

    /// Writes a service with a new key and a free port into the directory. It keeps a journal.
    pub fn add_service(&mut self, name: &str, topics: &str) -> anyhow::Result<()> {
        let entry = self.entry("services", name)?;
        let kept = "journal = true\ndurability = \"buffered\"";
        self.text += &format!("{entry}topics = [\"{topics}\"]\n{kept}\n");
        self.write()
    }

    /// Writes a service with a new key that nobody can dial into the directory.
    pub fn add_hook(&mut self, name: &str, topics: &str) -> anyhow::Result<()> {
        let key = self.generate(name)?;
        self.text += &format!("\n[services.{name}]\n{key}\ntopics = [\"{topics}\"]\n");
        self.write()
    }

    /// Writes a relay for everything, with a journal, into the directory.
    pub fn add_relay(&mut self, name: &str) -> anyhow::Result<()> {
        let entry = self.entry("relays", name)?;
        self.text += &format!("{entry}carries = [\"#\"]\njournal = true\n");
        self.write()
    }

    /// Adds text to the file that is none of the directory's; [`Fabric::repair`] takes it away.
    pub fn damage(&self, text: &str) -> anyhow::Result<()> {
        self.replace(&format!("{}{text}", self.text))
    }

    /// Writes the directory as it should be.
    pub fn repair(&self) -> anyhow::Result<()> {
        self.write()
    }

    /// A copy of the directory in which `name` has a key of its own, unknown to all others.
    pub fn with_another_key(&self, name: &str) -> anyhow::Result<PathBuf> {
        let forged = format!("{name}-forged");
        let (ours, theirs) = (public_line(&self.key(name))?, self.generate(&forged)?);
        self.doctored(name, &self.text.replace(&ours, &theirs))
    }

    /// A copy of the directory in which `topics` are those of everybody.
    pub fn with_all_topics(&self, name: &str, topics: &str) -> anyhow::Result<PathBuf> {
        let allowed = format!("topics = [\"{topics}\"]");
        self.doctored(name, &self.text.replace(&allowed, "topics = [\"#\"]"))
    }

    /// Removes the folder.
    pub fn remove(self) -> anyhow::Result<()> {
        let shown = self.folder().display().to_string();
        self.folder.close().with_context(|| format!("cannot remove {shown}"))
    }

    fn entry(&mut self, kind: &str, name: &str) -> anyhow::Result<String> {
        let (key, port) = (self.generate(name)?, self.free_port()?);
        Ok(format!("\n[{kind}.{name}]\nendpoint = \"tcp://127.0.0.1:{port}\"\n{key}\n"))
    }

    /// Makes a key; its line for the directory.
    fn generate(&self, name: &str) -> anyhow::Result<String> {
        let path = self.key(name);
        keys::write_new(&path, &keys::generate()?)?;
        public_line(&path)
    }

    fn free_port(&mut self) -> anyhow::Result<u16> {
        for _ in PORTS {
            let port = self.next_port;
            self.next_port = if port + 1 < PORTS.end { port + 1 } else { PORTS.start };
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return Ok(port);
            }
        }
        anyhow::bail!("no free port from {} to {}", PORTS.start, PORTS.end)
    }

    fn write(&self) -> anyhow::Result<()> {
        self.replace(&self.text)
    }

    /// As careful tools do: whole, by renaming over it.
    fn replace(&self, text: &str) -> anyhow::Result<()> {
        let file = self.folder().join(".endpoints.toml.new");
        fs::write(&file, text).context("cannot write the directory")?;
        fs::rename(&file, self.directory()).context("cannot replace the directory")
    }

    fn doctored(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder().join("doctored").join(format!("{name}.toml"));
        fs::write(&path, text)?;
        Ok(path)
    }
}

fn public_line(key: &Path) -> anyhow::Result<String> {
    Ok(format!("key = \"{}\"", keys::read(key)?.public()))
}

//! What the demo itself does on this machine, so that there is something to report.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::interval;

/// Time between two changes.
const EVERY: Duration = Duration::from_millis(50);

/// What is appended, by turns.
const SOURCES: [&str; 4] = ["/proc/loadavg", "/proc/net/dev", "/proc/stat", "/proc/meminfo"];

/// Makes, changes, renames and removes files below `folder`, until it is dropped.
pub async fn change_files(folder: PathBuf) -> io::Result<()> {
    let mut pause = interval(EVERY);
    for turn in 0u64.. {
        pause.tick().await;
        let at = |state| folder.join(format!("job-{}.{state}", turn / 4));
        match turn % 4 {
            0 => fs::write(at("new"), format!("job {turn}\n"))?,
            1 => append(&at("new"), &fs::read_to_string("/proc/loadavg")?)?,
            2 => fs::rename(at("new"), at("done"))?,
            _ => fs::remove_file(at("done"))?,
        }
    }
    Ok(())
}

/// Appends the last line of one of [`SOURCES`] to `file`, until it is dropped.
pub async fn append_lines(file: PathBuf) -> io::Result<()> {
    let mut pause = interval(EVERY);
    for source in SOURCES.iter().cycle() {
        pause.tick().await;
        let text = fs::read_to_string(source)?;
        append(&file, &format!("{source}: {}\n", text.lines().last().unwrap_or_default().trim()))?;
    }
    Ok(())
}

fn append(path: &Path, text: &str) -> io::Result<()> {
    File::options().append(true).open(path)?.write_all(text.as_bytes())
}

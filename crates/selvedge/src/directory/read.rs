//! From a path to the bytes of all files of a directory.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use selvedge_core::directory::{File, Files};
use selvedge_core::limits::{DIRECTORY_BYTES, DIRECTORY_FILE_BYTES, DIRECTORY_FILES};

/// Who may write, beside owner and group.
const OTHERS_WRITE: u32 = 0o002;

/// Reads the main file at `path` and `endpoints.d/*.toml` beside it. What cannot be read is told in
/// its place: a file that is not there, is none (a pipe, a device), is too large, or that everyone
/// may write to.
pub fn read_files(path: &Path) -> Files {
    let mut budget = DIRECTORY_BYTES;
    let main = read_file(path, &mut budget);
    let (drop_ins, unlisted) = match list(&drop_in_folder(path)) {
        Ok(paths) => (paths, None),
        Err(why) => (Vec::new(), Some(why)),
    };
    let drop_ins = drop_ins.iter().map(|path| (path, read_file(path, &mut budget)));
    // One that was deleted since it was listed is no file; one that is a broken link is.
    let drop_ins = drop_ins.filter(|(path, file)| file.content.is_ok() || is_there(path));
    Files { main, drop_ins: drop_ins.map(|(_, file)| file).collect(), unlisted }
}

/// Where the drop-ins of the main file at `path` lie.
pub(super) fn drop_in_folder(path: &Path) -> PathBuf {
    path.with_file_name("endpoints.d")
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// The `*.toml` in `folder`, sorted; hidden ones aside. One more than allowed at most. A folder
/// that is not there has none.
fn list(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let shown = folder.display();
    let failed = |error: io::Error| format!("{shown} cannot be listed: {error}");
    match fs::metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
        Ok(meta) if meta.mode() & OTHERS_WRITE != 0 => {
            return Err(format!("everyone may write to {shown}; run: chmod o-w {shown}"));
        }
        Ok(_) => {}
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        if name.ends_with(b".toml") && !name.starts_with(b".") && paths.len() <= DIRECTORY_FILES {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read_file(path: &Path, budget: &mut usize) -> File {
    let name = path.display().to_string();
    let content = read_content(path, *budget).map_err(|error| match error {
        Unread::Io(error) if error.kind() == io::ErrorKind::NotFound => {
            "there is no such file".to_owned()
        }
        Unread::Io(error) => format!("the file cannot be read: {error}"),
        Unread::Other(why) => why,
    });
    *budget -= content.as_ref().map_or(0, Vec::len);
    File { name, content }
}

/// Why a file was not read.
enum Unread {
    Io(io::Error),
    Other(String),
}

/// At most `budget` bytes, and at most one more than a file may have.
fn read_content(path: &Path, budget: usize) -> Result<Vec<u8>, Unread> {
    // Opening a pipe would wait for its writer.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(Unread::Io)?;
    let meta = file.metadata().map_err(Unread::Io)?;
    if !meta.is_file() {
        return Err(Unread::Other("this is not a regular file".to_owned()));
    }
    if meta.mode() & OTHERS_WRITE != 0 {
        let shown = path.display();
        return Err(Unread::Other(format!("everyone may write to it; run: chmod o-w {shown}")));
    }
    let most = budget.min(DIRECTORY_FILE_BYTES) as u64 + 1;
    let mut content = Vec::new();
    file.take(most).read_to_end(&mut content).map_err(Unread::Io)?;
    if content.len() > budget {
        let text = format!("all files together have more than {DIRECTORY_BYTES} bytes");
        return Err(Unread::Other(text));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn drop_ins_are_sorted_and_nothing_else_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("endpoints.toml");
        let drop_ins = drop_in_folder(&main);
        assert_eq!(read_files(&main).main.content, Err("there is no such file".to_owned()));
        fs::write(&main, "main").unwrap();
        assert_eq!(read_files(&main).drop_ins, []);
        fs::create_dir(&drop_ins).unwrap();
        for name in ["b.toml", "a.toml", ".hidden.toml", "c.toml~"] {
            fs::write(drop_ins.join(name), name).unwrap();
        }
        fs::create_dir(drop_ins.join("folder.toml")).unwrap();
        symlink("nowhere", drop_ins.join("link.toml")).unwrap();
        let files = read_files(&main);
        let shown = files.drop_ins.iter().map(|file| {
            let name = file.name.rsplit('/').next().unwrap();
            (name, file.content.as_deref().map_err(String::as_str))
        });
        assert_eq!(
            shown.collect::<Vec<_>>(),
            [
                ("a.toml", Ok(&b"a.toml"[..])),
                ("b.toml", Ok(b"b.toml")),
                ("folder.toml", Err("this is not a regular file")),
                ("link.toml", Err("there is no such file")),
            ]
        );
        assert_eq!(files.unlisted, None);
    }

    #[test]
    fn what_everyone_may_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("endpoints.toml");
        fs::write(&main, "main").unwrap();
        fs::create_dir(drop_in_folder(&main)).unwrap();
        chmod(&main, 0o666);
        chmod(&drop_in_folder(&main), 0o777);
        let files = read_files(&main);
        let shown = main.display();
        let why = format!("everyone may write to it; run: chmod o-w {shown}");
        assert_eq!(files.main.content, Err(why));
        assert!(files.unlisted.unwrap().starts_with("everyone may write to "));
        chmod(&main, 0o664);
        assert_eq!(read_files(&main).main.content, Ok(b"main".to_vec()));
    }

    #[test]
    fn a_device_or_an_endless_file_costs_no_memory() {
        let mut budget = 3;
        let device = read_file(Path::new("/dev/zero"), &mut budget);
        assert_eq!(device.content, Err("this is not a regular file".to_owned()));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.toml");
        fs::write(&path, "1234").unwrap();
        assert!(read_file(&path, &mut budget).content.unwrap_err().contains("together"));
        let sparse = fs::File::create(&path).unwrap();
        sparse.set_len(1 << 40).unwrap();
        let mut budget = DIRECTORY_BYTES;
        let content = read_file(&path, &mut budget).content.unwrap();
        assert_eq!(content.len(), DIRECTORY_FILE_BYTES + 1, "enough to be refused as too large");
    }
}

//! Which folder entries decide what a path leads to.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Symbolic links followed in one path; the kernel gives up after as many.
const LINKS: usize = 40;

/// Every entry on the way from the root to what `path` leads to, links and what they point to
/// included, each in a folder without links. If any of them is renamed, replaced or pointed
/// elsewhere, the path may lead to another file.
pub(super) fn trail(path: &Path) -> BTreeSet<PathBuf> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut trail = BTreeSet::new();
    let mut here = PathBuf::from("/");
    let mut ahead: VecDeque<OsString> = names(&absolute).collect();
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            here.pop();
            continue;
        }
        let entry = here.join(&name);
        trail.insert(entry.clone());
        match fs::read_link(&entry) {
            Ok(_) if links == LINKS => break,
            Ok(target) => {
                links += 1;
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                names(&target).collect::<Vec<_>>().into_iter().rev().for_each(|name| {
                    ahead.push_front(name);
                });
            }
            Err(_) => here = entry, // no link, or not there
        }
    }
    trail
}

/// The names in a path, `..` among them.
fn names(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_and_what_they_point_to_are_on_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::create_dir_all(root.join("v1")).unwrap();
        fs::write(root.join("v1/file"), "").unwrap();
        symlink("../v1", root.join("etc/data")).unwrap();
        symlink(root.join("etc/data/file"), root.join("etc/file")).unwrap();
        symlink("self", root.join("self")).unwrap();
        let found = trail(&root.join("etc/file"));
        let below: Vec<_> = found.iter().filter_map(|p| p.strip_prefix(&root).ok()).collect();
        let expected = ["", "etc", "etc/data", "etc/file", "v1", "v1/file"].map(Path::new);
        assert_eq!(below, expected);
        assert!(trail(&root.join("self")).contains(&root.join("self")), "a loop ends");
        assert!(trail(&root.join("gone/file")).contains(&root.join("gone/file")));
    }
}

//! Does a watched directory survive what happens to its files? Rows E1 to E14 of the fault list.

#[path = "support/directory.rs"]
mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use selvedge::directory::{Changes, Directory, Health, LoadError, NoSpeaker, Watched, watch};
use support::{HEAD, key, service, service_saying, services};
use tempfile::TempDir;
use tokio::time::timeout;

/// Far beyond the two seconds of a poll; only a failure waits this long.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder with a main file, and somewhere else to keep the last good form.
struct Place {
    folder: TempDir,
    state: TempDir,
}

impl Place {
    fn with(main: &str) -> Place {
        let [folder, state] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        fs::write(folder.path().join("endpoints.toml"), main).unwrap();
        fs::create_dir(folder.path().join("endpoints.d")).unwrap();
        Place { folder, state }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn main(&self) -> PathBuf {
        self.at("endpoints.toml")
    }

    /// Replaces a file as a whole, as careful writers do.
    fn replace(&self, name: &str, text: &str) {
        let new = self.at(".new");
        fs::write(&new, text).unwrap();
        fs::rename(&new, self.at(name)).unwrap();
    }

    fn watch(&self) -> Watched {
        watch(&self.main(), Some(self.state.path())).unwrap()
    }
}

/// Waits until the directory is as wanted.
async fn seen(watched: &Watched, wanted: impl FnMut(&Arc<Directory>) -> bool) -> Arc<Directory> {
    let mut directory = watched.directory.clone();
    let found = timeout(PATIENCE, directory.wait_for(wanted)).await;
    found.expect("not seen in time").unwrap().clone()
}

/// Waits until the problems are as wanted, and gives them a line each.
async fn told(watched: &Watched, wanted: impl Fn(&str) -> bool) -> String {
    let shown = |health: &Health| {
        health.problems.iter().map(|problem| format!("{problem}\n")).collect::<String>()
    };
    let mut health = watched.health.clone();
    let found = timeout(PATIENCE, health.wait_for(|health| wanted(&shown(health)))).await;
    shown(&found.expect("not told in time").unwrap())
}

/// Waits for a look that began after now: the one under way may have read before.
async fn looked(watched: &Watched) {
    let mut health = watched.health.clone();
    let looks = health.borrow().looks;
    timeout(PATIENCE, health.wait_for(|health| health.looks >= looks + 2)).await.unwrap().unwrap();
}

fn says(directory: &Directory, name: &str, topics: &str) -> bool {
    directory.service(name).is_some_and(|service| service.topics[0].as_str() == topics)
}

fn names(directory: &Directory) -> Vec<&str> {
    directory.services().map(|(name, _)| name.as_str()).collect()
}

#[tokio::test]
async fn e1_partial_write() {
    let place = Place::with(&[HEAD, &services(0..3)].concat());
    let watched = place.watch();
    let before = watched.directory.borrow().clone();
    let whole = [HEAD, &services(0..2), &service_saying("s2", 2, "new")].concat();
    // Cut inside a text, inside an entry, and to nothing.
    for cut in [whole.len() - 3, whole.find("topics").unwrap(), 0] {
        fs::write(place.main(), &whole[..cut]).unwrap();
        told(&watched, |problems| !problems.is_empty()).await;
        assert_eq!(*watched.directory.borrow(), before, "cut at {cut}");
        fs::write(place.main(), [HEAD, &services(0..3)].concat()).unwrap();
        told(&watched, str::is_empty).await;
        assert_eq!(*watched.directory.borrow(), before, "cut at {cut}");
    }
    fs::write(place.main(), &whole).unwrap();
    seen(&watched, |directory| says(directory, "s2", "new")).await;
}

#[tokio::test]
async fn e2_invalid_toml() {
    let place = Place::with(HEAD);
    fs::write(place.at("endpoints.d/a.toml"), service("a", 1)).unwrap();
    fs::write(place.at("endpoints.d/b.toml"), service("b", 2)).unwrap();
    let watched = place.watch();
    place.replace("endpoints.d/a.toml", "[services.a]\nkey = ed25519\n");
    place.replace("endpoints.d/b.toml", &service_saying("b", 2, "new"));
    let directory = seen(&watched, |directory| says(directory, "b", "new")).await;
    assert!(says(&directory, "a", "test.a.#"), "the broken one stays as it was");
    let problems = told(&watched, |problems| !problems.is_empty()).await;
    let place_of_fault = format!("{}:2:7: ", place.at("endpoints.d/a.toml").display());
    assert!(problems.starts_with(&place_of_fault), "{problems}");
}

#[tokio::test]
async fn e3_rename() {
    let place = Place::with(HEAD);
    let watched = place.watch();
    for label in ["a", "b", "c", "d"] {
        place.replace("endpoints.toml", &[HEAD, &service(label, 1)].concat());
        seen(&watched, |directory| names(directory) == [label]).await;
    }
}

/// Lays out a version of a mounted ConfigMap and points `..data` to it in one step.
fn config_map(place: &Place, version: &str, drop_in: &str) {
    fs::create_dir(place.at(version)).unwrap();
    fs::write(place.at(version).join("endpoints.toml"), HEAD).unwrap();
    fs::write(place.at(version).join("a.toml"), drop_in).unwrap();
    symlink(version, place.at("..tmp")).unwrap();
    fs::rename(place.at("..tmp"), place.at("..data")).unwrap();
}

#[tokio::test]
async fn e4_config_map_swap() {
    let place = Place::with(HEAD);
    config_map(&place, "..v0", &service_saying("a", 1, "v0"));
    fs::remove_file(place.main()).unwrap();
    symlink("..data/endpoints.toml", place.main()).unwrap();
    symlink("../..data/a.toml", place.at("endpoints.d/a.toml")).unwrap();
    let watched = place.watch();
    for (version, before) in [("..v1", "..v0"), ("..v2", "..v1"), ("..v3", "..v2")] {
        let topics = version.trim_start_matches('.');
        config_map(&place, version, &service_saying("a", 1, topics));
        fs::remove_dir_all(place.at(before)).unwrap();
        seen(&watched, |directory| says(directory, "a", topics)).await;
    }
    told(&watched, str::is_empty).await;
}

#[tokio::test]
async fn e5_symlink_to_elsewhere() {
    let place = Place::with(HEAD);
    let elsewhere = Place::with(&[HEAD, &service("there", 1)].concat());
    fs::remove_file(place.main()).unwrap();
    symlink(elsewhere.main(), place.main()).unwrap();
    let watched = place.watch();
    for label in ["a", "b"] {
        elsewhere.replace("endpoints.toml", &[HEAD, &service(label, 1)].concat());
        seen(&watched, |directory| names(directory) == [label]).await;
    }
    let third = Place::with(&[HEAD, &service("third", 1)].concat());
    fs::remove_file(place.main()).unwrap();
    symlink(third.main(), place.main()).unwrap();
    seen(&watched, |directory| names(directory) == ["third"]).await;
    third.replace("endpoints.toml", &[HEAD, &service("fourth", 1)].concat());
    seen(&watched, |directory| names(directory) == ["fourth"]).await;
}

#[tokio::test]
async fn e6_deleted() {
    let place = Place::with(&[HEAD, &service("a", 1)].concat());
    fs::write(place.at("endpoints.d/b.toml"), service("b", 2)).unwrap();
    let watched = place.watch();
    fs::remove_dir_all(place.folder.path()).unwrap();
    let problems = told(&watched, |problems| problems.contains("no such file")).await;
    assert!(problems.starts_with(&format!("{}:1:1: ", place.main().display())), "{problems}");
    assert_eq!(names(&watched.directory.borrow()), ["a", "b"]);
    drop(watched);
    let restarted = place.watch();
    assert_eq!(names(&restarted.directory.borrow()), ["a", "b"], "kept across a restart");
    let without = watch(&place.main(), None);
    assert!(matches!(without, Err(LoadError::Unusable { .. })), "nothing to start with");
    fs::create_dir_all(place.folder.path()).unwrap();
    fs::write(place.main(), [HEAD, &service("c", 3)].concat()).unwrap();
    seen(&restarted, |directory| names(directory) == ["c"]).await;
}

#[tokio::test]
async fn e7_emptied() {
    let place = Place::with(&[HEAD, &services(0..12)].concat());
    let watched = place.watch();
    fs::write(place.main(), "").unwrap();
    told(&watched, |problems| problems.contains("lacks format")).await;
    assert_eq!(watched.directory.borrow().services().count(), 12);
    place.replace("endpoints.toml", HEAD);
    told(&watched, |problems| problems.contains("12 of 12 entries vanished at once")).await;
    assert_eq!(watched.directory.borrow().services().count(), 12);
    drop(watched);
    let restarted = place.watch();
    assert_eq!(restarted.directory.borrow().services().count(), 12, "a restart is no second look");
}

#[tokio::test]
async fn e8_a_hundred_thousand_entries() {
    let place = Place::with(&[HEAD, &service("a", 1)].concat());
    let watched = place.watch();
    let many: String = (0..100_000).map(|at| service_saying(&format!("s{at}"), 1, "x.#")).collect();
    fs::write(place.at("endpoints.d/many.toml"), many + &"#".repeat(10 << 20)).unwrap();
    let problems = told(&watched, |problems| !problems.is_empty()).await;
    assert!(problems.contains("more than 16777216 bytes"), "{problems}");
    place.replace("endpoints.toml", &[HEAD, &service("b", 2)].concat());
    seen(&watched, |directory| names(directory) == ["b"]).await;
}

#[tokio::test]
async fn e9_removed_while_connected() {
    let place = Place::with(HEAD);
    for (name, number) in [("a", 1), ("b", 2)] {
        fs::write(place.at("endpoints.d").join(format!("{name}.toml")), service(name, number))
            .unwrap();
    }
    let watched = place.watch();
    let before = watched.directory.borrow().clone();
    fs::remove_file(place.at("endpoints.d/a.toml")).unwrap();
    let after = seen(&watched, |directory| names(directory) == ["b"]).await;
    assert_eq!(after.speaker(key(1).id()), Err(NoSpeaker::Unknown));
    let changes = Changes::between(Some(&before), &after);
    assert_eq!(format!("{:?}", changes.services.removed), "[Name(a)]");
    assert!(changes.services.changed.is_empty() && changes.services.added.is_empty());
}

#[tokio::test]
async fn e10_rotated() {
    let entry = |keys: &[u32]| {
        let keys: Vec<_> = keys.iter().map(|number| format!("\"{}\"", key(*number))).collect();
        format!("{HEAD}[services.a]\nkey = [{}]\ntopics = \"a\"\n", keys.join(", "))
    };
    let place = Place::with(&entry(&[1]));
    let watched = place.watch();
    for (keys, signs) in [(&[1, 2][..], 1), (&[2, 1], 2), (&[2], 2)] {
        place.replace("endpoints.toml", &entry(keys));
        let first = |directory: &Directory| directory.service("a").unwrap().keys.clone();
        let wanted: Vec<_> = keys.iter().map(|number| key(*number)).collect();
        let directory = seen(&watched, |directory| first(directory) == wanted).await;
        assert_eq!(first(&directory)[0], key(signs));
        for number in [1, 2] {
            assert_eq!(directory.speaker(key(number).id()).is_ok(), keys.contains(&number));
        }
    }
}

#[tokio::test]
async fn e11_revoked() {
    let place = Place::with(&[HEAD, &services(0..2)].concat());
    let watched = place.watch();
    let revoked = format!("[services.broken]\n[revoked]\nkeys = [\"{}\"]\n", key(1));
    fs::write(place.at("endpoints.d/revoked.toml"), revoked).unwrap();
    let directory = seen(&watched, |directory| directory.revoked().count() == 1).await;
    assert_eq!(directory.speaker(key(1).id()), Err(NoSpeaker::Revoked));
    assert!(directory.speaker(key(0).id()).is_ok());
    drop(watched);
    fs::write(place.at("endpoints.d/revoked.toml"), "[revo").unwrap();
    let restarted = place.watch();
    let directory = restarted.directory.borrow().clone();
    assert_eq!(directory.speaker(key(1).id()), Err(NoSpeaker::Revoked), "from the start on");
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn e12_permissions() {
    let place = Place::with(HEAD);
    fs::write(place.at("endpoints.d/a.toml"), service("a", 1)).unwrap();
    let watched = place.watch();
    chmod(&place.at("endpoints.d/a.toml"), 0o666);
    place.replace("endpoints.toml", &[HEAD, &service("b", 2)].concat());
    let directory = seen(&watched, |directory| directory.service("b").is_some()).await;
    assert_eq!(names(&directory), ["a", "b"]);
    told(&watched, |problems| problems.contains("a.toml:1:1: everyone may write to it")).await;
    chmod(&place.at("endpoints.d"), 0o777);
    fs::write(place.at("endpoints.d/c.toml"), service("c", 3)).unwrap();
    let refused = format!("everyone may write to {}", place.at("endpoints.d").display());
    told(&watched, |problems| problems.contains(&refused)).await;
    assert_eq!(names(&watched.directory.borrow()), ["a", "b"]);
    chmod(&place.at("endpoints.d"), 0o755);
    chmod(&place.at("endpoints.d/a.toml"), 0o644);
    told(&watched, str::is_empty).await;
    seen(&watched, |directory| names(directory) == ["a", "b", "c"]).await;
}

#[tokio::test]
async fn e14_the_same_content_again() {
    let text = [HEAD, &service("a", 1)].concat();
    let place = Place::with(&text);
    let mut watched = place.watch();
    watched.directory.mark_unchanged();
    for _ in 0..2 {
        place.replace("endpoints.toml", &text);
        looked(&watched).await;
    }
    assert!(!watched.directory.has_changed().unwrap(), "other times, other inodes, same content");
    assert_eq!(watched.health.borrow().changes, 1);
}

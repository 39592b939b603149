//! Do the house rules hold? Each is one test; what breaks it is listed as `file:line`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use toml::de::{DeTable, DeValue};

// ---- crates ------------------------------------------------------------------------------------

/// What each crate may depend on, its tests aside. One that is not listed is a leaf: it may use
/// every listed crate, and none may use it.
const MAY_USE: &[(&str, &[&str])] = &[
    ("selvedge-sha256", &[]),
    ("selvedge-core", &["selvedge-sha256"]),
    ("selvedge-journal", &[]),
    ("selvedge", &["selvedge-core", "selvedge-journal"]),
    ("selvedge-relay", &["selvedge", "selvedge-core"]),
    ("selvedge-bridge", &["selvedge", "selvedge-core"]),
    ("selvedge-dash", &["selvedge", "selvedge-core"]),
];

/// The packages that are leaves. A new one is named here or in [`MAY_USE`].
const LEAVES: &[&str] = &["selvedge-cli", "selvedge-sim", "selvedge-tests", "selvedge-benches"];

#[test]
fn dependencies_point_down_only() {
    let manifests = find("Cargo.toml");
    let listed: BTreeSet<&str> = MAY_USE.iter().map(|(name, _)| *name).collect();
    let mut offences = Vec::new();
    for file in &manifests {
        let Some((package, uses)) = package(file) else { continue };
        let may = MAY_USE.iter().find(|(name, _)| *name == package).map(|(_, may)| *may);
        if may.is_none() && !LEAVES.contains(&package.as_str()) {
            offences.push(format!("{}: say in tests/tidy.rs what {package} may use", file.path));
        }
        for (used, line) in uses.iter().filter(|(used, _)| used.starts_with("selvedge")) {
            if !may.map_or(listed.contains(used.as_str()), |may| may.contains(&used.as_str())) {
                offences.push(format!("{}:{line}: {package} must not use {used}", file.path));
            }
        }
    }
    none("a dependency that points up", offences);
}

/// A manifest's package, and what it depends on (development aside) with the line.
fn package(manifest: &File) -> Option<(String, Vec<(String, usize)>)> {
    let parsed = DeTable::parse(&manifest.text);
    let table = parsed.unwrap_or_else(|error| bad(manifest, &error.to_string()));
    let table = table.get_ref();
    let name = table.get("package")?.get_ref().get("name")?.get_ref().as_str()?.to_owned();
    let targets = table.get("target").and_then(|all| all.get_ref().as_table());
    let mut uses = Vec::new();
    for owner in
        targets.into_iter().flat_map(|all| all.values()).filter_map(as_table).chain([table])
    {
        for section in ["dependencies", "build-dependencies"] {
            let Some(section) = owner.get(section).and_then(as_table) else { continue };
            for (key, value) in section.iter() {
                let renamed = value.get_ref().get("package").and_then(|v| v.get_ref().as_str());
                let line = manifest.text[..key.span().start].matches('\n').count() + 1;
                uses.push((renamed.unwrap_or(key.get_ref()).to_owned(), line));
            }
        }
    }
    Some((name, uses))
}

fn as_table<'a>(value: &'a toml::Spanned<DeValue<'a>>) -> Option<&'a DeTable<'a>> {
    value.get_ref().as_table()
}

#[test]
fn core_knows_neither_std_nor_tokio() {
    let offences = lines(|file, line| {
        file.path.starts_with("crates/core/src/")
            && ["std::", "tokio"].iter().any(|word| has_word(line.code(), word))
            && !file.is_test(line.number)
    });
    none("std or tokio in core", offences);
}

// ---- source text -------------------------------------------------------------------------------

#[test]
fn every_module_says_what_it_is() {
    let silent = |file: &File| !file.text.starts_with("//! ");
    none(
        "a file that does not begin with //!",
        find(".rs").iter().filter(|file| silent(file)).map(|file| format!("{}:1", file.path)),
    );
}

#[test]
fn tests_never_sleep() {
    const SLEEPS: [&str; 2] = [concat!("sleep", "("), concat!("sleep_until", "(")];
    let offences = lines(|file, line| {
        SLEEPS.iter().any(|call| has_word(line.code(), call)) && file.is_test(line.number)
    });
    none("a test that sleeps (wait for the event itself)", offences);
}

#[test]
fn nothing_is_left_open() {
    const OPEN: [&str; 3] =
        [concat!("#[", "ignore"), concat!("todo", "!"), concat!("unimplemented", "!")];
    none("unfinished code", lines(|_, line| OPEN.iter().any(|word| line.text.contains(word))));
}

#[test]
fn lines_fit_and_hold_no_tab() {
    let bad = |text: &str| text.chars().count() > 100 || text.contains('\t');
    none("a tab, or over 100 columns", lines(|_, line| bad(line.text)));
}

#[test]
fn files_stay_readable() {
    let files = find(".rs").into_iter().filter(|file| file.text.lines().count() > 900);
    none("a file over 900 lines (split it)", files.map(|file| format!("{}:900", file.path)));
}

// ---- what users read ---------------------------------------------------------------------------

#[test]
fn the_documents_are_there() {
    if !root().join("README.md").exists() {
        return; // the README is what points to them
    }
    let documents = ["ARCHITECTURE.md", "PROTOCOL.md", "CHANGELOG.md"].map(|name| {
        let path = format!("docs/{name}");
        (fs::read_to_string(root().join(&path)).unwrap_or_default(), path)
    });
    let missing = documents.iter().filter(|(text, _)| text.trim().is_empty());
    none("a document that is missing or empty", missing.map(|(_, path)| path.clone()));
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let parsed = DeTable::parse(&manifest).unwrap();
    let version = parsed.get_ref()["workspace"].get_ref()["package"].get_ref()["version"].get_ref();
    let version = version.as_str().unwrap();
    let current = |line: &str| {
        let title = line.strip_prefix("## ").unwrap_or("").trim_start_matches('[');
        title.starts_with("Unreleased") || title.starts_with(version)
    };
    assert!(
        documents[2].0.lines().any(current),
        "docs/CHANGELOG.md: no section Unreleased or {version}"
    );
}

#[test]
fn the_example_directory_is_toml() {
    let Ok(text) = fs::read_to_string(root().join("endpoints.toml")) else { return };
    let parsed = DeTable::parse(&text);
    assert!(parsed.is_ok(), "endpoints.toml: {}", parsed.err().unwrap());
}

#[test]
fn every_command_in_the_readme_exists() {
    let Ok(text) = fs::read_to_string(root().join("README.md")) else { return };
    let packages: Vec<String> =
        find("Cargo.toml").iter().filter_map(package).map(|p| p.0).collect();
    let mut offences = Vec::new();
    for (number, command) in commands(&text) {
        let words: Vec<&str> = command.split_whitespace().collect();
        let outcome = match words.as_slice() {
            ["cargo", rest @ ..] => cargo_command(rest, &packages),
            ["selvedge", rest @ ..] => selvedge_command(rest),
            _ => Ok(()),
        };
        offences.extend(outcome.err().map(|why| format!("README.md:{number}: {command}: {why}")));
    }
    none("a command that does not exist", offences);
}

/// The commands in a text's blocks of shell, with their lines.
fn commands(markdown: &str) -> Vec<(usize, &str)> {
    let mut block = None;
    let mut found = Vec::new();
    for (at, line) in markdown.lines().enumerate() {
        let line = line.trim();
        match (line.strip_prefix("```"), block) {
            (Some(language), None) => block = Some(language),
            (Some(_), Some(_)) => block = None,
            (None, Some("" | "sh" | "bash" | "shell" | "console")) => {
                let line = line.trim_start_matches("$ ");
                let line = line.split(" # ").next().unwrap_or(line);
                found.extend(line.split(['|', '&', ';']).map(|part| (at + 1, part.trim())));
            }
            _ => {}
        }
    }
    found
}

fn cargo_command(words: &[&str], packages: &[String]) -> Result<(), String> {
    let (ours, theirs) = match words.iter().position(|word| *word == "--") {
        Some(at) => (&words[..at], &words[at + 1..]),
        None => (words, &[][..]),
    };
    const KNOWN: [&str; 9] =
        ["add", "bench", "build", "clippy", "deny", "doc", "fmt", "install", "test"];
    match ours.first() {
        Some(&"run") => selvedge_command(theirs)?,
        Some(command) if KNOWN.contains(command) => {}
        _ => return Err(format!("cargo has none of {ours:?}")),
    }
    let named = ours.windows(2).filter(|pair| matches!(pair[0], "-p" | "--package"));
    match named.map(|pair| pair[1]).find(|name| !packages.iter().any(|have| have == name)) {
        Some(name) => Err(format!("no package {name}")),
        None => Ok(()),
    }
}

/// Asks the built binary for the subcommand's help, and looks there for every long option.
fn selvedge_command(words: &[&str]) -> Result<(), String> {
    // Known when `crates/cli` declares this file among its tests.
    let binary = option_env!("CARGO_BIN_EXE_selvedge")
        .ok_or("declare tests/tidy.rs in crates/cli, so that the binary can be asked")?;
    // What follows `--` is another program's.
    let words = words.split(|word| *word == "--").next().unwrap_or_default();
    // What follows a command's name is another one's, or an argument that does not matter; a shell
    // takes quotes away.
    let words: Vec<&str> = words.iter().map(|word| word.trim_matches('\'')).collect();
    let names = words.iter().skip_while(|word| word.starts_with('-'));
    let names = names.take_while(|word| !word.starts_with('-')).copied();
    let asked = names.chain(["--help"]);
    let help = Command::new(binary).args(asked).output().map_err(|error| error.to_string())?;
    if !help.status.success() {
        return Err(String::from_utf8_lossy(&help.stderr).trim().to_owned());
    }
    let help = String::from_utf8_lossy(&help.stdout);
    let options = words.iter().filter(|word| word.starts_with("--"));
    let name = |word: &str| word.split_once('=').map_or(word, |(name, _)| name).to_owned();
    match options.map(|word| name(word)).find(|option| !has_word(&help, option)) {
        Some(option) => Err(format!("no option {option}")),
        None => Ok(()),
    }
}

// ---- the rules can fail ------------------------------------------------------------------------

#[test]
fn words_comments_and_tests_are_told_apart() {
    assert!(has_word("a::b(x)", "b("));
    assert!(!has_word("a_b(x)", "b("));
    assert_eq!(Line { number: 1, text: r#"a("tcp://b"); // std::c"# }.code(), r#"a("tcp://b"); "#);
    let text = "//! A.\nfn a() {}\n#[cfg(test)]\nmod tests {\n}\n".to_owned();
    let file = File { path: "crates/x/src/a.rs".into(), text };
    assert_eq!(
        (1..=5).map(|n| file.is_test(n)).collect::<Vec<_>>(),
        [false, false, false, true, true]
    );
    let manifest = "[package]\nname = \"a\"\n[target.'cfg(unix)'.dependencies]\n\
                    b = { package = \"c\", version = \"1\" }\n[dev-dependencies]\nd = \"1\"\n";
    let file = File { path: "Cargo.toml".into(), text: manifest.into() };
    assert_eq!(package(&file), Some(("a".into(), vec![("c".into(), 4)])));
    assert_eq!(commands("x\n```sh\n$ cargo a | b # c\n```\ny"), [(3, "cargo a"), (3, "b")]);
    assert!(cargo_command(&["test", "-p", "x"], &[]).is_err());
    assert!(cargo_command(&["tset"], &[]).is_err());
}

// ---- helpers -----------------------------------------------------------------------------------

/// A file of the repository.
struct File {
    path: String,
    text: String,
}

impl File {
    /// Whether line `number` is test code: below `tests/`, or in the tests at a file's end.
    fn is_test(&self, number: usize) -> bool {
        let place = Path::new(&self.path);
        place.components().any(|part| part.as_os_str() == "tests")
            || place.file_name().is_some_and(|name| name == "tests.rs")
            || self
                .text
                .lines()
                .take(number)
                .collect::<Vec<_>>()
                .windows(2)
                .any(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod "))
    }

    fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.text.lines().enumerate().map(|(at, text)| Line { number: at + 1, text })
    }
}

/// One line of a file; the first is 1.
struct Line<'a> {
    number: usize,
    text: &'a str,
}

impl Line<'_> {
    /// The line without a comment.
    fn code(&self) -> &str {
        let starts = self.text.match_indices("//").map(|(at, _)| at);
        let mut comments = starts.filter(|at| *at == 0 || self.text.as_bytes()[at - 1] == b' ');
        &self.text[..comments.next().unwrap_or(self.text.len())]
    }
}

/// Whether `word` stands in `text` and is not the end of a longer name.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        !text[..at].ends_with(|before: char| before.is_ascii_alphanumeric() || before == '_')
    })
}

/// `file:line: text` of every line of Rust that `offends`.
fn lines(offends: impl Fn(&File, &Line<'_>) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for file in find(".rs") {
        let bad = file.lines().filter(|line| offends(&file, line));
        found.extend(bad.map(|line| format!("{}:{}: {}", file.path, line.number, line.text)));
    }
    found
}

fn none(what: &str, offences: impl IntoIterator<Item = String>) {
    let offences: Vec<String> = offences.into_iter().collect();
    assert!(offences.is_empty(), "{what}:\n{}\n", offences.join("\n"));
}

fn bad(file: &File, why: &str) -> ! {
    unreachable!("{}: {why}", file.path)
}

/// The folder of the workspace, whichever package declares this file.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let top = here.ancestors().find(|folder| folder.join("Cargo.lock").exists());
    top.expect("a workspace").to_owned()
}

/// Every file whose name ends so, hidden folders and build output aside; sorted by path.
fn find(end: &str) -> Vec<File> {
    let root = root();
    let (mut folders, mut files) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder").flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if name.starts_with('.') || name == "target" {
                continue;
            } else if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(end) {
                let text = fs::read_to_string(&path).expect("a readable file");
                let path = path.strip_prefix(&root).expect("a path below the root");
                files.push(File { path: path.to_string_lossy().into_owned(), text });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!files.is_empty(), "no file *{end} below {}", root.display());
    files
}

//! Is the example at the top of the repository a directory without fault?

use std::path::Path;

use selvedge::directory::{check_files, load};

#[test]
fn the_example_directory_is_without_fault() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../endpoints.toml");
    let report = check_files(&path);
    assert_eq!(report.problems, [], "an example that needs an excuse is none");
    let (directory, problems) = load(&path).unwrap();
    assert!(problems.is_empty());
    assert!(directory.services().count() >= 3 && directory.relays().count() == 1);
    assert!(directory.scheme().is_some() && directory.revoked().count() >= 1);
    let scheme = directory.scheme().unwrap();
    for (name, service) in directory.services() {
        for topics in service.topics.iter() {
            assert!(topics.intersects(scheme.pattern()), "{name}");
        }
    }
}

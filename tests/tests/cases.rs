//! What must hold of the differential cases themselves, whatever the proxies do.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;

use sampan_tests::cases;
use sampan_tests::differences::DIFFERENCES;

/// `group/case` of every case.
fn names() -> Vec<String> {
    let groups = cases::all();
    let of_group = |group: &sampan_tests::case::Group| -> Vec<String> {
        group.cases.iter().map(|case| format!("{}/{}", group.name, case.name)).collect()
    };
    groups.iter().flat_map(of_group).collect()
}

#[test]
fn there_are_enough_and_their_names_differ() {
    let names = names();
    let distinct: BTreeSet<&String> = names.iter().collect();
    assert_eq!(distinct.len(), names.len(), "two cases have the same name");
    assert!(names.len() >= 150, "only {} cases", names.len());
    println!("{} cases", names.len());
}

#[test]
fn differences_are_about_cases_and_explained() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/differences.md");
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let names = names();
    let mut seen = BTreeSet::new();
    for difference in DIFFERENCES {
        let case = difference.case;
        assert!(names.iter().any(|name| name == case), "{case} is in the list of differences and is no case");
        assert!(seen.insert(case), "{case} is listed twice");
        assert!(!difference.facts.is_empty(), "{case}: nothing is said to differ");
        let id = format!("`{}`", difference.id);
        assert!(text.contains(&id), "{case}: docs/differences.md does not explain {id}");
    }
}

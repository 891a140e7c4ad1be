//! Kept texts: the order of the tags, and the text that is shown.

use super::{TagSet, is_list, shown};
use crate::model::id::Name;
use proptest::prelude::*;

fn set(items: &[&str]) -> TagSet {
    let mut set = TagSet::default();
    items.iter().for_each(|item| set.add_item(item).expect("a good item"));
    set
}

#[test]
fn a_bare_tag_behind_a_pair_stays_there() {
    let tags = set(&["k:v", "bare", "l:w"]);
    let kept = tags.stored();
    assert!(is_list(&kept));
    assert_eq!(TagSet::parse(&kept).as_ref(), Ok(&tags));
    assert_eq!(shown(&kept), "bare,k:v,l:w");
    let plain = set(&["bare", "k:v", "l:w"]).stored();
    assert_eq!((plain.as_str(), &*shown(&plain)), ("bare,k:v,l:w", "bare,k:v,l:w"));
}

#[test]
fn a_text_from_outside_is_no_list() {
    assert!(TagSet::default().add_text(&set(&["k:v", "bare"]).stored()).is_err());
}

#[test]
fn a_text_fits_with_all_of_the_one_list_and_one_of_the_other() {
    let names = |tags: &[&str]| tags.iter().map(|tag| Name::from(*tag)).collect::<Vec<_>>();
    let fits = |kept: Option<&str>, all: &[&str], any: &[&str]| {
        super::fits(kept, &names(all), &names(any))
    };
    let kept = Some("bare,k:1,k:2");
    assert!(fits(None, &[], &[]) && fits(kept, &[], &[]));
    assert!(fits(kept, &["k:1", "bare"], &[]) && !fits(kept, &["k:1", "k:3"], &[]));
    assert!(fits(kept, &[], &["k:3", "k:2"]) && !fits(kept, &[], &["k:3"]));
    assert!(!fits(kept, &["k:1"], &["k:3"]) && !fits(kept, &["k:3"], &["k:1"]));
    assert!(!fits(None, &["k:1"], &[]) && !fits(None, &[], &["k:1"]));
}

proptest! {
    #[test]
    fn a_kept_text_gives_the_same_tags_in_the_same_order(
        items in prop::collection::vec("[ab]|[ab]:[ab]|[ab]:[ab]:c", 0..8),
    ) {
        let tags = set(&items.iter().map(String::as_str).collect::<Vec<_>>());
        let kept = tags.stored();
        prop_assert_eq!(TagSet::parse(&kept), Ok(tags.clone()), "{}", kept);
        let sorted = |set: TagSet| {
            let mut tags: Vec<String> = set.iter().map(str::to_owned).collect();
            tags.sort();
            tags
        };
        let text = shown(&kept).into_owned();
        prop_assert_eq!(sorted(TagSet::parse(&text).expect("good")), sorted(tags), "{}", text);
    }
}

//! The tag grammar of the seed (`docs/semantics.md` 13.1) and nothing else about tags.
//!
//! What is kept of tags, also in the log, is one text: [`TagSet::parse`] gives the set, [`shown`]
//! the `tag` of an answer. It is the text as submitted or [`TagSet::stored`]; both parse to the
//! same tags in the same order.

use crate::model::id::Name;
use crate::model::limits;
use std::borrow::Cow;

/// Begins a kept text that is a list: single items in their order, without rule 2. A bare tag
/// behind a pair cannot be written otherwise. No text from outside begins so: it may hold no
/// controls.
const LIST: char = '\u{1}';

/// Tags in order, without repeats. Pairs are `key:value`, bare tags are the text itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagSet {
    tags: Vec<String>,
}

/// Why a tag text is refused (`invalid_tag`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadTag(pub String);

/// A tag split at its first colon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagPart<'a> {
    /// `key:value`.
    Pair(&'a str, &'a str),
    /// No colon, or nothing on one side of it.
    Bare(&'a str),
}

impl TagSet {
    /// Parses a kept text: a list, or a tag text by rules 1–4 of the grammar.
    ///
    /// # Errors
    /// Control characters, a part over its length, a text over 4,096 B, more than 32 tags.
    pub fn parse(kept: &str) -> Result<Self, BadTag> {
        let mut set = Self::default();
        set.add_kept(kept)?;
        Ok(set)
    }

    /// Unites with the tags of another kept text.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn add_kept(&mut self, kept: &str) -> Result<(), BadTag> {
        match kept.strip_prefix(LIST) {
            Some(items) => items.split(',').try_for_each(|item| self.add_item(item)),
            None => self.add_text(kept),
        }
    }

    /// Unites with the tags of a text from outside.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn add_text(&mut self, text: &str) -> Result<(), BadTag> {
        if text.len() > limits::TAG_TEXT_BYTES_MAX {
            return Err(BadTag(format!("the tag text has {} B; at most 4,096", text.len())));
        }
        let mut last_key: Option<&str> = None;
        text.split(',').try_for_each(|item| self.add_part(item, &mut last_key))
    }

    /// Unites with the good tags of a text from outside; what breaks the grammar, lies beyond
    /// 4,096 B or is a tag too many is left out.
    pub fn add_good(&mut self, text: &str) {
        let whole = text.get(..text.floor_char_boundary(limits::TAG_TEXT_BYTES_MAX));
        let mut items = whole.unwrap_or_default();
        if items.len() < text.len() {
            // The last item is cut, so it is another one.
            items = items.rsplit_once(',').map_or("", |(before, _)| before);
        }
        let mut last_key: Option<&str> = None;
        for item in items.split(',') {
            // A bad item is left out, and one of a bad pair takes no further values.
            self.add_part(item, &mut last_key).unwrap_or_default();
        }
    }

    /// Leaves out the last tags until their text has at most 4,096 B.
    pub fn fit(&mut self) {
        while self.text().len() > limits::TAG_TEXT_BYTES_MAX {
            self.tags.pop();
        }
    }

    /// Adds one item of a text; `last_key` is what bare items are further values of.
    fn add_part<'a>(
        &mut self,
        item: &'a str,
        last_key: &mut Option<&'a str>,
    ) -> Result<(), BadTag> {
        match split(item) {
            TagPart::Pair(key, value) => {
                *last_key = None;
                check(key, limits::TAG_KEY_BYTES_MAX)?;
                check(value, limits::TAG_VALUE_BYTES_MAX)?;
                *last_key = Some(key);
                self.insert(format!("{key}:{value}"))
            }
            TagPart::Bare("") => Ok(()),
            TagPart::Bare(bare) => {
                check_bare(bare)?;
                if let Some(key) = *last_key {
                    self.insert(format!("{key}:{bare}"))?;
                }
                self.insert(bare.to_owned())
            }
        }
    }

    /// Adds one item of a `tags` array: no commas, no rule 2.
    ///
    /// # Errors
    /// As [`Self::parse`]; also for a comma.
    pub fn add_item(&mut self, item: &str) -> Result<(), BadTag> {
        if item.contains(',') {
            return Err(BadTag(format!(
                "`{item}`: an item of `tags` has no comma; use one item per tag"
            )));
        }
        match split(item) {
            TagPart::Pair(key, value) => {
                check(key, limits::TAG_KEY_BYTES_MAX)?;
                check(value, limits::TAG_VALUE_BYTES_MAX)?;
                self.insert(format!("{key}:{value}"))
            }
            TagPart::Bare("") => Ok(()),
            TagPart::Bare(bare) => {
                check_bare(bare)?;
                self.insert(bare.to_owned())
            }
        }
    }

    /// The canonical text: bare tags first, then pairs, so that it parses back to the same set.
    #[must_use]
    pub fn text(&self) -> String {
        let bare = self.tags.iter().filter(|t| !t.contains(':'));
        let pairs = self.tags.iter().filter(|t| t.contains(':'));
        bare.chain(pairs).map(String::as_str).collect::<Vec<_>>().join(",")
    }

    /// The text to keep: the canonical one where it gives the tags in this order, else a list.
    #[must_use]
    pub fn stored(&self) -> String {
        if self.tags.is_sorted_by_key(|tag| tag.contains(':')) {
            return self.text();
        }
        format!("{LIST}{}", self.tags.join(","))
    }

    /// Tags in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.tags.iter().map(String::as_str)
    }

    /// True when the exact tag (`k:v` or bare) is in the set.
    #[must_use]
    pub fn contains(&self, tag: &str) -> bool {
        self.tags.iter().any(|t| t == tag)
    }

    /// Number of tags.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tags.len()
    }

    /// True without tags.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty()
    }

    fn insert(&mut self, tag: String) -> Result<(), BadTag> {
        if self.tags.contains(&tag) {
            return Ok(());
        }
        if self.tags.len() == limits::TAGS_MAX {
            return Err(BadTag("more than 32 tags".to_owned()));
        }
        self.tags.push(tag);
        Ok(())
    }
}

/// Has a task with this kept text all tags of the one list, and, unless it is empty, one of the
/// other?
#[must_use]
pub fn fits(kept: Option<&str>, all: &[Name], any: &[Name]) -> bool {
    if all.is_empty() && any.is_empty() {
        return true;
    }
    let set = kept.and_then(|kept| TagSet::parse(kept).ok()).unwrap_or_default();
    let has = |tag: &Name| set.contains(tag);
    all.iter().all(has) && (any.is_empty() || any.iter().any(has))
}

/// Is a kept text a list?
#[must_use]
pub fn is_list(kept: &str) -> bool {
    kept.starts_with(LIST)
}

/// The `tag` of an answer: the text as submitted, or the canonical one.
#[must_use]
pub fn shown(kept: &str) -> Cow<'_, str> {
    if is_list(kept) {
        return Cow::Owned(TagSet::parse(kept).unwrap_or_default().text());
    }
    Cow::Borrowed(kept)
}

/// Splits an item at its first colon and trims blanks; `:x` and `x:` are the bare `x`.
#[must_use]
pub fn split(item: &str) -> TagPart<'_> {
    let blank = [' ', '\t'];
    let item = item.trim_matches(blank);
    match item.split_once(':') {
        None => TagPart::Bare(item),
        Some((key, value)) => {
            let (key, value) = (key.trim_matches(blank), value.trim_matches(blank));
            match (key.is_empty(), value.is_empty()) {
                (false, false) => TagPart::Pair(key, value),
                (true, _) => TagPart::Bare(value),
                (false, true) => TagPart::Bare(key),
            }
        }
    }
}

/// A bare tag has no colon: `:a:b` is none of the forms.
fn check_bare(bare: &str) -> Result<(), BadTag> {
    if bare.contains(':') {
        return Err(BadTag(format!("`{bare}`: a tag begins with its key, not with a colon")));
    }
    check(bare, limits::TAG_VALUE_BYTES_MAX)
}

fn check(part: &str, bytes_max: usize) -> Result<(), BadTag> {
    if part.len() > bytes_max {
        return Err(BadTag(format!("a tag part has {} B; at most {bytes_max}", part.len())));
    }
    if part.chars().any(char::is_control) {
        return Err(BadTag("a tag holds a control character".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
#[path = "tags_tests.rs"]
mod tests;

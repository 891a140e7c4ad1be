//! Reads single fields by the rules that hold everywhere: kinds are strict, numbers are refused and
//! never clamped, `null` is an unset field, an unknown field is refused with its nearest neighbour
//! as hint.

use crate::codec::json::{Element, Fields, Raw, shown};
use crate::model::affinity::{AffinityKey, valid_key};
use crate::model::id::Name;
use crate::model::limits;
use crate::model::priority::Priority;
use crate::model::reject::{Code, Reject};
use crate::model::tags::{BadTag, TagSet};
use crate::model::task::{Blob, Encoding};
use crate::model::time::WallMs;
use std::borrow::Cow;
use std::sync::Arc;

/// What the parsers of bodies need to know of the node and the call.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// `?lenient=true`: unknown fields are ignored.
    pub lenient: bool,
    /// Payload bytes after decoding.
    pub payload_bytes_max: usize,
    /// Result bytes after decoding.
    pub result_bytes_max: usize,
    /// Elements of an array.
    pub array_max: u64,
    /// Wall clock, for times that may lie ahead only so far.
    pub now: WallMs,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            lenient: false,
            payload_bytes_max: limits::PAYLOAD_BYTES,
            result_bytes_max: limits::RESULT_BYTES,
            array_max: limits::ARRAY_MAX,
            now: WallMs::default(),
        }
    }
}

/// Fills a slot unless the value is `null`.
///
/// # Errors
/// Those of the reader.
pub fn set<'a, T>(
    slot: &mut Option<T>,
    raw: Raw<'a>,
    read: impl FnOnce(Raw<'a>) -> Result<T, Reject>,
) -> Result<(), Reject> {
    if !raw.is_null() {
        *slot = Some(read(raw)?);
    }
    Ok(())
}

/// A whole number within bounds.
///
/// # Errors
/// `invalid_field`.
pub fn integer(field: &'static str, raw: Raw<'_>, min: u64, max: u64) -> Result<u64, Reject> {
    let wrong = || Reject::field(field, format!("{field} must be {min}..{max}"));
    let Some(value) = raw.integer() else {
        let hint = format!("a whole number is expected, not {}", raw.kind());
        return Err(wrong().hint(hint));
    };
    u64::try_from(value).ok().filter(|v| (min..=max).contains(v)).ok_or_else(wrong)
}

/// A whole number that fits the narrower type of its field.
///
/// # Errors
/// `invalid_field`.
pub fn narrow<T: TryFrom<u64> + Into<u64>>(
    field: &'static str,
    raw: Raw<'_>,
    min: T,
    max: T,
) -> Result<T, Reject> {
    let value = integer(field, raw, min.into(), max.into())?;
    T::try_from(value).map_err(|_| Reject::field(field, format!("{field} is out of range")))
}

/// `true` or `false`.
///
/// # Errors
/// `invalid_field`.
pub fn boolean(field: &'static str, raw: Raw<'_>) -> Result<bool, Reject> {
    raw.boolean().ok_or_else(|| Reject::field(field, format!("{field} must be true or false")))
}

/// A string of any length.
///
/// # Errors
/// `invalid_field`; `bad_json` when it holds no characters.
pub fn string<'a>(field: &'static str, raw: Raw<'a>) -> Result<Cow<'a, str>, Reject> {
    raw.string()?.ok_or_else(|| {
        Reject::field(field, format!("{field} must be a string, not {}", raw.kind()))
    })
}

/// A string of at most `max` bytes.
///
/// # Errors
/// `invalid_field`.
pub fn bounded(field: &'static str, raw: Raw<'_>, max: usize) -> Result<Name, Reject> {
    let text = string(field, raw)?;
    if text.len() > max {
        let detail = format!("{field} has {} B; at most {max}", text.len());
        return Err(Reject::field(field, detail));
    }
    Ok(Arc::from(text.as_ref()))
}

/// A name: 1…128 B, no control characters, no outer spaces.
///
/// # Errors
/// `invalid_field`.
pub fn name(field: &'static str, raw: Raw<'_>) -> Result<Name, Reject> {
    let text = string(field, raw)?;
    match name_fault(&text) {
        None => Ok(Arc::from(text.as_ref())),
        Some(fault) => Err(Reject::field(field, format!("{field} {fault}"))),
    }
}

/// Why a text is no name.
#[must_use]
pub fn name_fault(text: &str) -> Option<&'static str> {
    let len_good = (1..=limits::NAME_BYTES_MAX).contains(&text.len());
    if len_good && text.bytes().all(|b| b.is_ascii_graphic()) {
        return None;
    }
    if !len_good {
        Some("must have 1..128 bytes")
    } else if text.chars().any(char::is_control) {
        Some("must not hold control characters")
    } else if text.trim().len() != text.len() {
        Some("must not begin or end with a space")
    } else {
        None
    }
}

/// A priority 1…9; 0 is unset.
///
/// # Errors
/// `invalid_field`.
pub fn priority_or_unset(raw: Raw<'_>) -> Result<Option<Priority>, Reject> {
    if raw.text() == "0" {
        return Ok(None);
    }
    priority(raw).map(Some)
}

/// A priority 1…9.
///
/// # Errors
/// `invalid_field`.
pub fn priority(raw: Raw<'_>) -> Result<Priority, Reject> {
    raw.integer().and_then(|v| u64::try_from(v).ok()).and_then(Priority::new).ok_or_else(|| {
        Reject::field("priority", "priority must be 1..9").hint("9 is the most urgent")
    })
}

/// A list of at most `max` elements, each read by `read`.
///
/// # Errors
/// `invalid_field`.
pub fn list<'a, T>(
    field: &'static str,
    raw: Raw<'a>,
    max: usize,
    mut read: impl FnMut(Element<'a>) -> Result<T, Reject>,
) -> Result<Vec<T>, Reject> {
    if !raw.is_array() {
        return Err(Reject::field(field, format!("{field} must be an array, not {}", raw.kind())));
    }
    let mut out = Vec::new();
    for element in raw.elements()? {
        if out.len() == max {
            return Err(Reject::field(field, format!("{field} has more than {max} elements")));
        }
        out.push(read(element?)?);
    }
    Ok(out)
}

/// The object of a nested field.
///
/// # Errors
/// `invalid_field`.
pub fn nested<'a>(field: &'static str, raw: Raw<'a>) -> Result<Fields<'a>, Reject> {
    if !raw.is_object() {
        return Err(Reject::field(field, format!("{field} must be an object, not {}", raw.kind())));
    }
    raw.fields()
}

/// An element that must not be an object.
///
/// # Errors
/// `invalid_field`.
pub fn scalar<'a>(field: &'static str, element: Element<'a>) -> Result<Raw<'a>, Reject> {
    match element {
        Element::Other(raw) => Ok(raw),
        Element::Object(_) => Err(Reject::field(field, format!("{field} must not hold objects"))),
    }
}

/// Affinity keys: `"a,b"`, or a list of `"a"` and `{"key","weight"}`. A key that comes twice keeps
/// its higher weight.
///
/// # Errors
/// `invalid_field`.
pub fn affinity(raw: Raw<'_>, max: usize, rules: &Rules) -> Result<Vec<AffinityKey>, Reject> {
    const FIELD: &str = "affinity";
    let mut keys: Vec<AffinityKey> = Vec::new();
    let mut add = |key: &str, weight: u8| -> Result<(), Reject> {
        if !valid_key(key) {
            let detail = "an affinity key has 1..128 bytes, no comma and no control character";
            return Err(Reject::field(FIELD, detail));
        }
        if let Some(known) = keys.iter_mut().find(|k| k.key.as_ref() == key) {
            known.weight = known.weight.max(weight);
            return Ok(());
        }
        if keys.len() == max {
            return Err(Reject::field(FIELD, format!("more than {max} affinity keys")));
        }
        keys.push(AffinityKey { key: Arc::from(key), weight });
        Ok(())
    };
    if raw.is_string() {
        let text = string(FIELD, raw)?;
        for key in text.split(',').map(|k| k.trim_matches([' ', '\t'])).filter(|k| !k.is_empty()) {
            add(key, 1)?;
        }
    } else {
        // Bounded by the body; the number of distinct keys is checked above.
        list(FIELD, raw, limits::BATCH_ITEMS, |element| {
            let (key, weight) = affinity_item(element, rules)?;
            add(&key, weight)
        })?;
    }
    Ok(keys)
}

fn affinity_item<'a>(element: Element<'a>, rules: &Rules) -> Result<(Cow<'a, str>, u8), Reject> {
    let fields = match element {
        Element::Other(raw) => return Ok((string("affinity", raw)?, 1)),
        Element::Object(fields) => fields,
    };
    let (mut key, mut weight) = (None, None);
    for (name, raw) in fields.iter() {
        match name {
            "key" => set(&mut key, raw, |r| string("affinity.key", r))?,
            "weight" => set(&mut weight, raw, |r| {
                narrow("affinity.weight", r, 1, limits::AFFINITY_WEIGHT_MAX)
            })?,
            _ if rules.lenient => {}
            other => return Err(unknown(other, &["key", "weight"])),
        }
    }
    let key = key.ok_or_else(|| Reject::field("affinity.key", "affinity.key is required"))?;
    Ok((key, weight.unwrap_or(1)))
}

/// `tag` and `tags` of a body, united.
///
/// # Errors
/// `invalid_tag`, `invalid_field`.
pub fn tag_text(tag: Option<Raw<'_>>, tags: Option<Raw<'_>>) -> Result<Option<Name>, Reject> {
    let bad = |field: &'static str| {
        move |BadTag(detail): BadTag| Reject::new(Code::InvalidTag, detail).on(field)
    };
    let tag = tag.filter(|r| !r.is_null()).map(|r| string("tag", r)).transpose()?;
    let sets = tags.is_some_and(|r| !r.is_null());
    if let Some(text) = tag.as_deref().filter(|text| !sets && plain_tags(text)) {
        return Ok((!text.is_empty()).then(|| Arc::from(text)));
    }
    let mut set = TagSet::default();
    if let Some(text) = &tag {
        set.add_text(text).map_err(bad("tag"))?;
    }
    let Some(tags) = tags.filter(|r| !r.is_null()) else {
        return Ok(tag.filter(|t| !t.is_empty()).map(|t| Arc::from(t.as_ref())));
    };
    let items = if tags.is_object() { tag_pairs(tags, false)? } else { tag_items(tags)? };
    for item in items {
        set.add_item(&item).map_err(bad("tags"))?;
    }
    let text = set.stored();
    if set.text().len() > limits::TAG_TEXT_BYTES_MAX {
        return Err(Reject::new(Code::InvalidTag, "the tags have more than 4,096 B").on("tags"));
    }
    Ok((!text.is_empty()).then(|| Arc::from(text)))
}

/// The same, but what breaks the grammar is left out instead of refused: a foreign producer has
/// nobody to tell, and a task is worth more than its tags. As sent if nothing is left out.
///
/// # Errors
/// `invalid_field`.
pub fn good_tags(tag: Option<Raw<'_>>, tags: Option<Raw<'_>>) -> Result<Option<Name>, Reject> {
    match tag_text(tag, tags) {
        Err(reject) if reject.code == Code::InvalidTag => {}
        read => return read,
    }
    let mut set = TagSet::default();
    if let Some(tag) = tag.filter(|r| !r.is_null()) {
        set.add_good(&string("tag", tag)?);
    }
    if let Some(tags) = tags.filter(|r| !r.is_null()) {
        let items = if tags.is_object() { tag_pairs(tags, true)? } else { tag_items(tags)? };
        // A bad item, or one too many.
        items.iter().for_each(|item| set.add_item(item).unwrap_or_default());
    }
    set.fit();
    let text = set.stored();
    Ok((!text.is_empty()).then(|| Arc::from(text)))
}

/// True for texts that cannot break the grammar, without building the set: few, short, printable
/// items. Anything else is judged by the grammar itself.
fn plain_tags(text: &str) -> bool {
    const ITEMS_MAX: usize = limits::TAGS_MAX / 2;
    let printable = text.bytes().all(|b| (b' '..=b'~').contains(&b));
    // A bare item gives at most two tags; an item within the length of a key is within that of a
    // value too.
    printable
        && text.split(',').count() <= ITEMS_MAX
        && text.split(',').all(|item| {
            // A colon in front is nearly always meant otherwise; the grammar decides.
            item.len() <= limits::TAG_KEY_BYTES_MAX && !item.trim_start().starts_with(':')
        })
}

fn tag_items(raw: Raw<'_>) -> Result<Vec<Cow<'_, str>>, Reject> {
    list("tags", raw, limits::BATCH_ITEMS, |element| string("tags", scalar("tags", element)?))
}

fn tag_pairs(raw: Raw<'_>, lenient: bool) -> Result<Vec<Cow<'_, str>>, Reject> {
    let mut items = Vec::new();
    for (key, value) in nested("tags", raw)?.iter() {
        if key.contains([':', ',']) || key.trim().is_empty() {
            if lenient {
                continue;
            }
            let detail = format!("`{}` is no tag key", shown(key));
            return Err(Reject::new(Code::InvalidTag, detail).on("tags"));
        }
        let values =
            if value.is_array() { tag_items(value)? } else { vec![string("tags", value)?] };
        items.extend(values.iter().map(|value| Cow::Owned(format!("{key}:{value}"))));
    }
    Ok(items)
}

/// Payload or result with its `encoding`.
///
/// # Errors
/// `invalid_field`; `too_large` when the decoded bytes pass `bytes_max`.
pub fn blob(
    field: &'static str,
    value: Option<Raw<'_>>,
    encoding: Option<Raw<'_>>,
    bytes_max: usize,
    too_large: Code,
) -> Result<Option<Blob>, Reject> {
    let encoding = encoding.filter(|r| !r.is_null()).map(read_encoding).transpose()?;
    let Some(value) = value else { return Ok(None) };
    let natural = if value.is_string() { Encoding::Text } else { Encoding::Json };
    let encoding = encoding.unwrap_or(natural);
    let bytes = match encoding {
        Encoding::Json => value.text().as_bytes().to_vec(),
        Encoding::Text => string(field, value)?.into_owned().into_bytes(),
        Encoding::Base64 => super::base64::decode(&string(field, value)?).ok_or_else(|| {
            Reject::field(field, format!("{field} is not base64 with padding (RFC 4648, 4)"))
        })?,
    };
    if bytes.len() > bytes_max {
        let detail = format!("{field} has {} B; at most {bytes_max}", bytes.len());
        return Err(Reject::new(too_large, detail).on(field));
    }
    Ok(Some(Blob { encoding, bytes }))
}

fn read_encoding(raw: Raw<'_>) -> Result<Encoding, Reject> {
    match string("encoding", raw)?.as_ref() {
        "text" => Ok(Encoding::Text),
        "json" => Ok(Encoding::Json),
        "base64" => Ok(Encoding::Base64),
        _ => Err(Reject::field("encoding", "encoding must be text, json or base64")),
    }
}

/// A lease token as text: a string of 1…64 characters. Whether it acts is for the engine to say.
///
/// # Errors
/// `invalid_field`.
pub fn token<'a>(field: &'static str, raw: Raw<'a>) -> Result<Cow<'a, str>, Reject> {
    let text = string(field, raw)?;
    if text.is_empty() || text.chars().take(limits::TOKEN_CHARS_MAX + 1).count() > 64 {
        return Err(Reject::field(field, "a lease token has 1..64 characters"));
    }
    Ok(text)
}

/// A field that is designed but not built.
#[must_use]
pub fn later(field: &str) -> Reject {
    Reject::new(Code::NotSupported, format!("`{field}` is not in this build yet"))
        .on(field.to_owned())
}

/// A field nobody knows.
#[must_use]
pub fn unknown(field: &str, known: &[&'static str]) -> Reject {
    let reject = Reject::new(Code::UnknownField, format!("unknown field `{}`", shown(field)))
        .on(shown(field));
    match nearest(field, known) {
        Some(near) => reject.hint(format!("did you mean `{near}`?")),
        None => reject,
    }
}

/// The known word with the fewest edits, if it is near enough to be meant.
#[must_use]
pub fn nearest(word: &str, known: &[&'static str]) -> Option<&'static str> {
    let letters: Vec<char> = word.chars().take(64).collect();
    let others = known.iter().filter(|other| **other != word);
    others
        .map(|k| (distance(&letters, &k.chars().collect::<Vec<_>>()), *k))
        .min_by_key(|(edits, _)| *edits)
        .filter(|(edits, k)| *edits <= 1 + k.len() / 3)
        .map(|(_, k)| k)
}

/// Edits (insert, delete, replace; a change of case is none) between two words.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replace = diagonal + usize::from(!x.eq_ignore_ascii_case(y));
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

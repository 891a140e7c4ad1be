//! The one pass over the text: grammar, depth, cuts.

use super::{Element, FIELDS_MAX, Fields, Raw, shown};
use crate::model::limits;
use crate::model::reject::{Code, Reject};
use std::borrow::Cow;

/// Reads forward over text that is valid UTF-8.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
    /// Keys of the open objects inside the value that is checked, outermost first.
    keys: Vec<Cow<'a, str>>,
    /// Where the keys of each of these objects begin.
    marks: Vec<usize>,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, keys: Vec::new(), marks: Vec::new() }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(super) fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn fault(&self, what: &str) -> Reject {
        Reject::new(Code::BadJson, format!("{what} at byte {}", self.at))
    }

    pub(super) fn eat(&mut self, byte: u8, what: &str) -> Result<(), Reject> {
        if self.peek() != Some(byte) {
            return Err(self.fault(what));
        }
        self.at += 1;
        Ok(())
    }

    pub(super) fn end(&mut self) -> Result<(), Reject> {
        self.blanks();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.fault("text after the JSON value")),
        }
    }

    fn slice(&self, from: usize) -> Result<&'a str, Reject> {
        // Both ends lie beside ASCII bytes of valid UTF-8, so the cut is always at a character
        // boundary.
        self.text.get(from..self.at).ok_or_else(|| self.fault("broken text"))
    }

    pub(super) fn element(&mut self, depth: usize) -> Result<Element<'a>, Reject> {
        if self.peek() == Some(b'{') {
            return self.fields(depth).map(Element::Object);
        }
        self.value(depth).map(Element::Other)
    }

    /// Cuts the object that begins here; `depth` containers are open around it.
    pub(super) fn fields(&mut self, depth: usize) -> Result<Fields<'a>, Reject> {
        self.eat(b'{', "a JSON object is expected")?;
        let mut list: Vec<(Cow<'a, str>, Raw<'a>)> = Vec::with_capacity(12);
        self.blanks();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Fields(list));
        }
        loop {
            let key = self.key()?;
            if list.iter().any(|(other, _)| *other == key) {
                return Err(self.fault(&format!("the key `{}` comes twice", shown(&key))));
            }
            if list.len() == FIELDS_MAX {
                return Err(self.fault("an object has more than 256 fields"));
            }
            let value = self.value(depth + 1)?;
            list.push((key, value));
            self.blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Fields(list));
                }
                _ => return Err(self.fault("`,` or `}` is expected")),
            }
            self.blanks();
        }
    }

    /// A key with its colon; stops at the value.
    fn key(&mut self) -> Result<Cow<'a, str>, Reject> {
        let from = self.at;
        self.quoted()?;
        let key = Raw(self.slice(from)?).string()?.unwrap_or_default();
        self.colon()?;
        Ok(key)
    }

    /// A key inside a value; it is only remembered.
    fn inner_key(&mut self) -> Result<(), Reject> {
        let key = self.key()?;
        self.keys.push(key);
        Ok(())
    }

    /// The innermost object ends here: no key of it may come twice. Sorted, because a hostile
    /// payload has tens of thousands of keys.
    fn distinct_keys(&mut self) -> Result<(), Reject> {
        let from = self.marks.pop().unwrap_or(0);
        let keys = self.keys.get_mut(from..).unwrap_or_default();
        keys.sort_unstable();
        let twice = keys.windows(2).find(|pair| pair[0] == pair[1]);
        if let Some(pair) = twice {
            let what = format!("the key `{}` comes twice", shown(&pair[0]));
            return Err(self.fault(&what));
        }
        self.keys.truncate(from);
        Ok(())
    }

    fn colon(&mut self) -> Result<(), Reject> {
        self.blanks();
        self.eat(b':', "`:` is expected")?;
        self.blanks();
        Ok(())
    }

    /// Checks the value that begins here. Containers are kept as bits, so deep input costs no
    /// stack.
    fn value(&mut self, depth: usize) -> Result<Raw<'a>, Reject> {
        let from = self.at;
        let mut open = Containers { bits: 0, count: depth };
        self.keys.clear();
        self.marks.clear();
        loop {
            let entered = match self.peek() {
                Some(b'{') => self.enter(&mut open, true)?,
                Some(b'[') => self.enter(&mut open, false)?,
                _ => {
                    self.scalar()?;
                    false
                }
            };
            if !entered && !self.leave(&mut open, depth)? {
                return self.slice(from).map(Raw);
            }
        }
    }

    /// Opens a container; true when a value follows, false when it was empty and is closed again.
    fn enter(&mut self, open: &mut Containers, object: bool) -> Result<bool, Reject> {
        if open.count >= limits::JSON_DEPTH_MAX {
            return Err(self.fault("JSON is nested deeper than 32 levels"));
        }
        self.at += 1;
        self.blanks();
        if self.peek() == Some(if object { b'}' } else { b']' }) {
            self.at += 1;
            return Ok(false);
        }
        open.push(object);
        if object {
            self.marks.push(self.keys.len());
            self.inner_key()?;
        }
        Ok(true)
    }

    /// After a value: closes what ends here; true when another value follows inside.
    fn leave(&mut self, open: &mut Containers, depth: usize) -> Result<bool, Reject> {
        while open.count > depth {
            self.blanks();
            match (self.peek(), open.object()) {
                (Some(b','), object) => {
                    self.at += 1;
                    self.blanks();
                    if object {
                        self.inner_key()?;
                    }
                    return Ok(true);
                }
                (Some(b'}'), true) => {
                    self.distinct_keys()?;
                    self.at += 1;
                    open.pop();
                }
                (Some(b']'), false) => {
                    self.at += 1;
                    open.pop();
                }
                (_, true) => return Err(self.fault("`,` or `}` is expected")),
                (_, false) => return Err(self.fault("`,` or `]` is expected")),
            }
        }
        Ok(false)
    }

    fn scalar(&mut self) -> Result<(), Reject> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            _ => Err(self.fault("a JSON value is expected")),
        }
    }

    fn word(&mut self, word: &str) -> Result<(), Reject> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return Err(self.fault("a JSON value is expected"));
        }
        self.at += word.len();
        Ok(())
    }

    fn quoted(&mut self) -> Result<(), Reject> {
        self.eat(b'"', "a string is expected")?;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(0..=0x1f) => return Err(self.fault("a bare control character in a string")),
                Some(_) => self.at += 1,
                None => return Err(self.fault("a string does not end")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Reject> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                let four = self.text.as_bytes().get(self.at + 1..self.at + 5);
                if !four.is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) {
                    return Err(self.fault("a broken \\u escape"));
                }
                self.at += 5;
            }
            _ => return Err(self.fault("an unknown escape")),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Reject> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            _ => return Err(self.fault("a digit is expected")),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Reject> {
        if !self.peek().is_some_and(|b| b.is_ascii_digit()) {
            return Err(self.fault("a digit is expected"));
        }
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }
}

/// Which containers are open, one bit each (1 = object), at most 32.
struct Containers {
    bits: u32,
    count: usize,
}

impl Containers {
    fn push(&mut self, object: bool) {
        self.bits = self.bits << 1 | u32::from(object);
        self.count += 1;
    }
    fn pop(&mut self) {
        self.bits >>= 1;
        self.count -= 1;
    }
    fn object(&self) -> bool {
        self.bits & 1 == 1
    }
}

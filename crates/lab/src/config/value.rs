//! A value of the lab file, and what a section may take it for. Each taker reports what doesn't fit, and gives `None`.

use std::ops::{Range, RangeInclusive};

use toml::de::{DeInteger, DeTable, DeValue};

use super::reader::Reader;
use super::suggest;
use super::table::Table;

/// A value, with the table and key that it belongs to. The items of an array count as values of the array's key.
#[derive(Clone)]
pub(super) struct Value<'a> {
    pub(super) reader: &'a Reader<'a>,
    pub(super) heading: &'static str,
    pub(super) key: &'static str,
    pub(super) span: Range<usize>,
    pub(super) tree: &'a DeValue<'a>,
}

impl<'a> Value<'a> {
    /// An integer in `range`, in whatever notation; `what` names it (`"a port"`).
    pub(super) fn integer(&self, what: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let number = match self.tree {
            DeValue::Integer(integer) => in_range(integer, &range),
            _ => None,
        };
        if number.is_none() {
            self.expected(format!("{what} from {} to {}", range.start(), range.end()));
        }
        number
    }

    /// A number of bytes in `range`: an integer, or a string with a unit (`"64KiB"`, `"0x1000"`).
    pub(super) fn size(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let size = match self.tree {
            DeValue::Integer(integer) => in_range(integer, &range),
            DeValue::String(text) => parse_size(text).filter(|size| range.contains(size)),
            _ => None,
        };
        if size.is_none() {
            let (least, most) = (show_size(*range.start()), show_size(*range.end()));
            self.expected(format!("a size from {least} to {most} (as 4096, 0x1000, \"4KiB\" or \"1MiB\")"));
        }
        size
    }

    /// The string it is; reports nothing.
    pub(super) fn text(&self) -> Option<&'a str> {
        match self.tree {
            DeValue::String(text) => Some(text),
            _ => None,
        }
    }

    /// The integer it is, from 0 to `u64::MAX`; reports nothing.
    pub(super) fn quiet_integer(&self) -> Option<u64> {
        match self.tree {
            DeValue::Integer(integer) => in_range(integer, &(0..=u64::MAX)),
            _ => None,
        }
    }

    /// A string that isn't empty and has no control characters.
    pub(super) fn name(&self) -> Option<&'a str> {
        match self.tree {
            DeValue::String(text) if !text.is_empty() && !text.chars().any(char::is_control) => Some(text),
            _ => {
                self.expected("a string of printable characters");
                None
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self) -> Option<bool> {
        match self.tree {
            DeValue::Boolean(truth) => Some(*truth),
            _ => {
                self.expected("true or false");
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        if let DeValue::String(text) = self.tree {
            if let Some((_, choice)) = words.iter().find(|(word, _)| *word == text.as_ref()) {
                return Some(*choice);
            }
            let near = suggest::nearest(text, &known);
            let near = near.map_or(String::new(), |near| format!("; did you mean \"{near}\"?"));
            self.reject(format!("expected {}, found {}{near}", quoted(&known), self.found()));
        } else {
            self.expected(quoted(&known));
        }
        None
    }

    /// An array; `what` says of what (`"VIRQ names"`).
    pub(super) fn list(&self, what: &str) -> Option<Vec<Self>> {
        let DeValue::Array(items) = self.tree else {
            self.expected(format!("an array of {what}"));
            return None;
        };
        Some(
            items
                .iter()
                .map(|item| Self { span: item.span(), tree: item.get_ref(), ..self.clone() })
                .collect(),
        )
    }

    /// A table that may have these `keys`, called `heading` from here on.
    pub(super) fn table(&self, heading: &'static str, keys: &[&str]) -> Option<Table<'a>> {
        let Some(entries) = self.entries() else {
            self.reject(format!("expected a table, {heading}, found {}", self.found()));
            return None;
        };
        Some(Table::new(self.reader, heading, self.span.clone(), entries, keys))
    }

    /// An array of tables that may have these `keys`, each called `heading` from here on.
    pub(super) fn tables(&self, heading: &'static str, keys: &[&str]) -> Option<Vec<Table<'a>>> {
        let items = match self.tree {
            DeValue::Array(_) => self.list("tables")?,
            _ => Vec::new(),
        };
        if items.is_empty() || items.iter().any(|item| item.entries().is_none()) {
            self.reject(format!("expected tables, each under its own {heading}, found {}", self.found()));
            return None;
        }
        Some(items.iter().filter_map(|item| item.table(heading, keys)).collect())
    }

    /// Reports that the value isn't what was expected.
    pub(super) fn expected(&self, expected: impl AsRef<str>) {
        self.reject(format!("expected {}, found {}", expected.as_ref(), self.found()));
    }

    /// Reports a problem with the value.
    pub(super) fn reject(&self, message: impl AsRef<str>) {
        let Self { heading, key, .. } = self;
        self.reader.report(self.span.clone(), format!("`{key}` in {heading}: {}", message.as_ref()));
    }

    fn entries(&self) -> Option<&'a DeTable<'a>> {
        match self.tree {
            DeValue::Table(entries) => Some(entries),
            _ => None,
        }
    }

    /// What the value is, for "found ...".
    pub(super) fn found(&self) -> String {
        match self.tree {
            DeValue::String(text) => format!("the string \"{}\"", suggest::clip(text)),
            DeValue::Integer(integer) => suggest::clip(&integer.to_string()),
            DeValue::Float(number) => format!("the fraction {}", suggest::clip(number.as_str())),
            DeValue::Boolean(boolean) => format!("the boolean {boolean}"),
            DeValue::Datetime(_) => "a date or time".into(),
            DeValue::Array(items) if items.is_empty() => "an empty array".into(),
            DeValue::Array(_) => "an array".into(),
            DeValue::Table(_) => "a table".into(),
        }
    }
}

fn in_range(integer: &DeInteger<'_>, range: &RangeInclusive<u64>) -> Option<u64> {
    let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok()?;
    range.contains(&number).then_some(number)
}

fn quoted(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    words.join(" or ")
}

/// The units of sizes, smallest first. Powers of two only: no memory is sold by the thousand.
const UNITS: &[(&str, u32)] = &[("B", 0), ("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];

/// `"1MiB"`, `"64 KiB"`, `"0x1000"`, `"1_024"`; `None` if it is no size, or 2^64 bytes or more.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let unit = UNITS.iter().rev().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)));
    let (number, shift) = match unit {
        // The last digit of a hexadecimal number, not bytes.
        Some((number, 0)) if number.starts_with("0x") => (text, 0),
        Some((number, shift)) => (number.trim_end(), shift),
        None => (text, 0),
    };
    let number = match number.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(&digits_of(digits)?, 16).ok()?,
        None => digits_of(number)?.parse().ok()?,
    };
    number.checked_mul(1 << shift)
}

/// `digits` without its underscores, each of which must stand between two digits; `None` for a sign.
fn digits_of(digits: &str) -> Option<String> {
    let well_placed = digits.split('_').all(|group| !group.is_empty());
    (well_placed && !digits.starts_with('+')).then(|| digits.replace('_', ""))
}

/// A size in the largest unit that makes it a whole number.
pub(super) fn show_size(size: u64) -> String {
    let whole = |shift: u32| size >> shift > 0 && size.trailing_zeros() >= shift;
    match UNITS.iter().rev().find(|(_, shift)| *shift > 0 && whole(*shift)) {
        Some((unit, shift)) => format!("{}{unit}", size >> shift),
        None => format!("{size} bytes"),
    }
}

//! Reading one TOML value as a Rust type, and the macro that defines enumerations of words.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use toml::de::DeValue;

/// Why a value cannot be taken: `problem` continues `key = value `, `remedy` says what to write.
#[derive(Debug)]
pub(crate) struct Mistake {
    pub problem: String,
    pub remedy: String,
}

impl Mistake {
    pub fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { problem: problem.into(), remedy: remedy.into() }
    }

    pub fn wrong_type(value: &DeValue<'_>, wanted: &str) -> Self {
        let article = if matches!(value, DeValue::Integer(_) | DeValue::Array(_)) { "an" } else { "a" };
        Self::new(format!("is {article} {}", value.type_str()), format!("write {wanted}"))
    }
}

/// A type that can be read from one TOML value.
pub(crate) trait Value: Sized {
    /// What to write, as a noun with its article: `a whole number`.
    fn wanted() -> String;
    /// Reads the value; says what is wrong with it otherwise.
    fn read(value: &DeValue<'_>) -> Result<Self, Mistake>;
}

macro_rules! whole_number {
    ($($number:ty),+) => { $(
        impl Value for $number {
            fn wanted() -> String {
                "a whole number".to_owned()
            }

            fn read(value: &DeValue<'_>) -> Result<Self, Mistake> {
                let Some(digits) = value.as_integer() else {
                    return Err(Mistake::wrong_type(value, &Self::wanted()));
                };
                <$number>::from_str_radix(digits.as_str(), digits.radix()).map_err(|_| {
                    Mistake::new("is out of range", format!("write a whole number from 0 to {}", Self::MAX))
                })
            }
        }
    )+ };
}
whole_number!(u32, u64, usize);

impl Value for f32 {
    fn wanted() -> String {
        "a number".to_owned()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Mistake> {
        let digits = match value {
            DeValue::Float(float) => float.as_str(),
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
            _ => return Err(Mistake::wrong_type(value, &Self::wanted())),
        };
        match digits.parse::<f32>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err(Mistake::new("is not a finite number", "write a number such as 0.5")),
        }
    }
}

impl Value for bool {
    fn wanted() -> String {
        "true or false".to_owned()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Mistake> {
        value.as_bool().ok_or_else(|| Mistake::wrong_type(value, &Self::wanted()))
    }
}

impl Value for String {
    fn wanted() -> String {
        "a text in quotes".to_owned()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Mistake> {
        value.as_str().map(str::to_owned).ok_or_else(|| Mistake::wrong_type(value, &Self::wanted()))
    }
}

impl Value for PathBuf {
    fn wanted() -> String {
        "a path in quotes".to_owned()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Mistake> {
        match value.as_str() {
            Some("") => Err(Mistake::new("is empty", "write a path, or leave the key out")),
            Some(path) => Ok(Self::from(path)),
            None => Err(Mistake::wrong_type(value, &Self::wanted())),
        }
    }
}

/// An optional path; the empty text says "none".
impl Value for Option<PathBuf> {
    fn wanted() -> String {
        "a path in quotes, or \"\" for none".to_owned()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Mistake> {
        match value.as_str() {
            Some("") => Ok(None),
            Some(path) => Ok(Some(PathBuf::from(path))),
            None => Err(Mistake::wrong_type(value, &Self::wanted())),
        }
    }
}

/// An optional number; the word `none` says that there is none.
impl Value for Option<u32> {
    fn wanted() -> String {
        "a whole number, or \"none\"".to_owned()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Mistake> {
        match value.as_str() {
            Some("none") => Ok(None),
            Some(_) => Err(Mistake::new("is not understood", format!("write {}", Self::wanted()))),
            None => u32::read(value).map(Some),
        }
    }
}

impl Value for SocketAddr {
    fn wanted() -> String {
        "an address with a port, such as \"0.0.0.0:9000\" or \"[::]:9000\"".to_owned()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Mistake> {
        let text = value.as_str().ok_or_else(|| Mistake::wrong_type(value, &Self::wanted()))?;
        text.parse().map_err(|_| Mistake::new("is not an address with a port", format!("write {}", Self::wanted())))
    }
}

impl<T: Value> Value for Vec<T> {
    fn wanted() -> String {
        format!("a list in brackets, each entry {}", T::wanted())
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Mistake> {
        let array = value.as_array().ok_or_else(|| Mistake::wrong_type(value, &Self::wanted()))?;
        let entry = |(position, entry): (usize, &toml::Spanned<DeValue<'_>>)| {
            T::read(entry.get_ref()).map_err(|mistake| Mistake {
                problem: format!("has an entry {} that {}", position + 1, mistake.problem),
                remedy: mistake.remedy,
            })
        };
        array.iter().enumerate().map(entry).collect()
    }
}

impl Value for [f32; 3] {
    fn wanted() -> String {
        "three numbers, one per channel, such as [0.5, 0.5, 0.5]".to_owned()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Mistake> {
        if !value.is_array() {
            return Err(Mistake::wrong_type(value, &Self::wanted()));
        }
        <Self>::try_from(Vec::<f32>::read(value)?).map_err(|numbers| {
            Mistake::new(
                format!("has {}", crate::general::count(numbers.len(), "number")),
                format!("write {}", Self::wanted()),
            )
        })
    }
}

/// A value the user fixes, or leaves to Flumeway. Written `"auto"` or the value itself, in TOML and JSON alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Auto<T> {
    /// To be chosen from the machine and the model, once these are known.
    Auto(AutoWord),
    /// As the user wrote it.
    Fixed(T),
}

/// The word `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AutoWord {
    /// `auto`
    #[serde(rename = "auto")]
    Auto,
}

impl<T> Auto<T> {
    /// `"auto"`.
    pub const AUTO: Self = Self::Auto(AutoWord::Auto);

    /// The user's value, if there is one.
    pub fn fixed(self) -> Option<T> {
        match self {
            Self::Auto(_) => None,
            Self::Fixed(value) => Some(value),
        }
    }

    /// The user's value, or `chosen`.
    pub fn unwrap_or(self, chosen: T) -> T {
        self.fixed().unwrap_or(chosen)
    }
}

impl<T: Value> Value for Auto<T> {
    fn wanted() -> String {
        format!("\"auto\" or {}", T::wanted())
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Mistake> {
        if value.as_str() == Some("auto") {
            return Ok(Self::AUTO);
        }
        match T::read(value) {
            Ok(value) => Ok(Self::Fixed(value)),
            Err(mistake) => Err(Mistake { remedy: format!("write {}", Self::wanted()), ..mistake }),
        }
    }
}

/// Defines an enumeration whose values are words in the configuration, the same in TOML, JSON and print.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $( $(#[$about_word:meta])* $variant:ident = $word:literal ),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $( $(#[$about_word])* #[serde(rename = $word)] $variant, )+
        }

        impl $name {
            /// Every value, in the order of the reference.
            pub const ALL: &'static [Self] = &[$( Self::$variant ),+];

            /// The word that stands for this value in configuration, JSON and print.
            pub const fn word(self) -> &'static str {
                match self { $( Self::$variant => $word ),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.word())
            }
        }

        impl crate::value::Value for $name {
            fn wanted() -> String {
                crate::suggest::one_of(&[$( $word ),+])
            }

            fn read(value: &toml::de::DeValue<'_>) -> Result<Self, crate::value::Mistake> {
                crate::value::read_word(value, Self::ALL, &[$( $word ),+])
            }
        }
    };
}
pub(crate) use words;

/// Finds the value whose word `value` is. `all` and `words` run in parallel.
pub(crate) fn read_word<T: Copy>(value: &DeValue<'_>, all: &[T], words: &[&str]) -> Result<T, Mistake> {
    let wanted = crate::suggest::one_of(words);
    let Some(text) = value.as_str() else {
        return Err(Mistake::wrong_type(value, &wanted));
    };
    if let Some(position) = words.iter().position(|word| *word == text) {
        return Ok(all[position]);
    }
    let remedy = match crate::suggest::nearest(text, words) {
        Some(word) => format!("write \"{word}\" ({wanted})"),
        None => format!("write {wanted}"),
    };
    Err(Mistake::new("is not known", remedy))
}

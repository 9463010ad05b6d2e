//! One macro for the protocol's code tables, so that number, name and variant cannot drift apart.

/// A name that stands in none of the protocol's tables.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{given}\" is no {what}; write one of {known}")]
pub struct UnknownName {
    /// What was written.
    pub given: String,
    /// The table that was searched, in words.
    pub what: &'static str,
    /// The names that it holds, separated by commas.
    pub known: &'static str,
}

/// Defines an enum whose variants have a code on the wire and a stable lower-case name (also used by serde).
macro_rules! named_codes {
    (
        $(#[$meta:meta])*
        pub enum $name:ident: $what:literal {
            $( $(#[$variant_meta:meta])* $variant:ident = $code:literal => $text:literal, )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[repr(u8)]
        pub enum $name {
            $( $(#[$variant_meta])* #[serde(rename = $text)] $variant = $code, )+
        }

        impl $name {
            /// Every value, in the order of the codes.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )+ ];

            /// The code on the wire.
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// The value of a code, if this release knows it.
            pub const fn from_u8(code: u8) -> Option<Self> {
                match code {
                    $( $code => Some(Self::$variant), )+
                    _ => None,
                }
            }

            /// The stable name, as written in configurations, counters and reports.
            pub const fn name(self) -> &'static str {
                match self {
                    $( Self::$variant => $text, )+
                }
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl core::str::FromStr for $name {
            type Err = $crate::UnknownName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $( $text => Ok(Self::$variant), )+
                    _ => Err($crate::UnknownName {
                        given: text.to_owned(),
                        what: $what,
                        known: named_codes!(@list $($text),+),
                    }),
                }
            }
        }
    };
    (@list $first:literal $(, $rest:literal)*) => { concat!($first $(, ", ", $rest)*) };
}

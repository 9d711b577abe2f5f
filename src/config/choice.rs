//! Settings that are one word of a closed list.

/// Declares an enum whose values are words in the configuration.
macro_rules! choice {
    (
        $(#[doc = $doc:literal])+
        pub enum $name:ident { $( $(#[doc = $vdoc:literal])+ $variant:ident = $word:literal ),+ $(,)? }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $( $(#[doc = $vdoc])+ $variant ),+ }

        impl $name {
            /// Returns the word that stands for it in the configuration.
            pub const fn word(self) -> &'static str {
                match self { $( Self::$variant => $word ),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }

        impl crate::config::part::Leaf for $name {
            const KIND: &'static str = concat!("one of" $(, " `", $word, "`")+);

            fn parse(value: &figment::value::Value) -> Result<Self, crate::config::part::Refusal> {
                let words: &[&'static str] = &[$($word),+];
                match crate::config::part::word(value, words)? {
                    $( $word => Ok(Self::$variant), )+
                    _ => Err(crate::config::part::Refusal::new("is not in the list", "see the reference")),
                }
            }

            fn text(&self) -> String {
                format!("{:?}", self.word())
            }
        }
    };
}

pub(crate) use choice;

//! One table of the configuration: its keys, their defaults and their limits,
//! declared once. Plain data; no thread, no descriptor.
//!
//! [`table!`] turns a declaration that reads like a struct into that struct,
//! its `Default`, and a [`Table`], through which the loader sets a key by its
//! name and `-T` shows it. A new key is one line in `mod.rs`.

use super::value::{Given, Refusal};

/// A struct whose public fields are the keys of one table of the file.
pub(super) trait Table {
    /// The keys, in the order of the declaration.
    fn keys(&self) -> &'static [&'static str];

    /// Gives `key` a value.
    ///
    /// # Errors
    ///
    /// The value is of the wrong kind or outside its limits. `None` stands for
    /// a key that this table does not have.
    fn set(&mut self, key: &str, given: &Given<'_>) -> Option<Result<(), Refusal>>;

    /// The value of `key`, written as in the file.
    fn show(&self, key: &str) -> Option<String>;

    /// What values `key` may have, for comparison with the shipped file.
    #[cfg(test)]
    fn limits(&self, key: &str) -> Option<String>;
}

/// Declares a table: `pub KEY: TYPE = DEFAULT, in LIMITS;`. What stands in
/// `beside` become fields of the struct that are no keys of this table.
macro_rules! table {
    (
        $(#[$about:meta])*
        pub struct $name:ident {
            $(
                $(#[$doc:meta])*
                pub $key:ident: $type:ty = $default:expr $(, in $limits:expr)?;
            )*
        }
        $(beside {
            $( $(#[$field_doc:meta])* $vis:vis $field:ident: $field_type:ty = $initial:expr; )*
        })?
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( $(#[$doc])* pub $key: $type, )*
            $( $( $(#[$field_doc])* $vis $field: $field_type, )* )?
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $( $key: $default, )*
                    $( $( $field: $initial, )* )?
                }
            }
        }

        impl $crate::config::table::Table for $name {
            fn keys(&self) -> &'static [&'static str] {
                &[$( stringify!($key) ),*]
            }

            fn set(
                &mut self,
                key: &str,
                given: &$crate::config::value::Given<'_>,
            ) -> Option<Result<(), $crate::config::value::Refusal>> {
                Some(match key {
                    $( stringify!($key) => {
                        <$type as $crate::config::value::Value>::read(given, &table!(@limits $($limits)?))
                            .map(|value| self.$key = value)
                    } )*
                    _ => return None,
                })
            }

            fn show(&self, key: &str) -> Option<String> {
                Some(match key {
                    $( stringify!($key) => $crate::config::value::Value::write(&self.$key), )*
                    _ => return None,
                })
            }

            #[cfg(test)]
            fn limits(&self, key: &str) -> Option<String> {
                Some(match key {
                    $( stringify!($key) => {
                        <$type as $crate::config::value::Value>::limits(&table!(@limits $($limits)?))
                    } )*
                    _ => return None,
                })
            }
        }
    };
    (@limits) => { () };
    (@limits $limits:expr) => { $limits };
}

pub(super) use table;

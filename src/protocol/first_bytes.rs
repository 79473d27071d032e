//! First bytes.

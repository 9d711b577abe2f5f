//! One file per side effect.

//! Traffic interception rules: the sampan-init binary and its library.

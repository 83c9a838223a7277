//! The data plane: the sampan binary and its library.

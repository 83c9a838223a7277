//! Every built-in filter, one folder each, and the registry that lists them.

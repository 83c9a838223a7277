//! What a filter is: traits, headers, stream facts, local replies.

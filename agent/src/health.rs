//! Whether the node is healthy, and why not.

//! Backups of the node's data: made, listed, verified, pruned, restored.

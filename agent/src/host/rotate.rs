//! Rotation of the node's output without losing a byte.

//! The host: files, processes, disk.
pub mod disk;
pub mod download;
pub mod files;
pub mod found;
pub mod launch;
pub mod lock;
pub mod preflight;
pub mod proc;
pub mod process;
pub mod switch;
pub mod verify;

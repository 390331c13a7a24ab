//! The host: files, processes, disk.
pub mod backup;
pub mod cgroup;
pub mod disk;
pub mod download;
pub mod fetch;
pub mod files;
pub mod found;
pub mod hooks;
pub mod launch;
pub mod lock;
pub mod preflight;
pub mod proc;
pub mod process;
pub mod rotate;
pub mod switch;
pub mod verify;

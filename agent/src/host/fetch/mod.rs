//! Fetches what a plan names by URL: size cap, resume, retries, checksums, archives.

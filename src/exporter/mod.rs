//! The exporter: looks at the folders when asked, and says what it saw. It changes
//! nothing below a sessions path.

pub mod advice;
pub mod folder_cache;
mod folder_error;
pub mod latest;
mod measured;
pub mod metrics;
mod page;
mod restarts;
pub mod server;
pub mod sightings_file;
pub mod snapshot;
pub mod status;

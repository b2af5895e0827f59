//! The exporter: looks at the folders when asked, and says what it saw. It changes
//! nothing below a sessions path.

pub mod advice;
mod folder_error;
pub mod folder_memory;
pub mod latest;
mod measured;
pub mod metrics;
mod page;
pub mod server;
pub mod sightings_file;
pub mod snapshot;
pub mod status;

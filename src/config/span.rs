//! Time spans in the configuration file, such as `10m` or `14d`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// Errors: a sentence without the value, which may be a secret in the wrong place.
pub(super) fn span<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text)
        .map(Some)
        .map_err(|_| de::Error::custom("not a time span such as 10m or 14d"))
}

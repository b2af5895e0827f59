//! Time spans, such as `10m` or `14d`, in the configuration file and in flags.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// No span is longer: ten years.
const MAX_SPAN: Duration = Duration::from_secs(3650 * 86_400);
const TOO_LONG: &str = "a time span must not be longer than 3650d";

/// Parses the value of a flag.
///
/// Errors: it is no span, or longer than 3650 days.
pub fn parse_span(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(span) if span > MAX_SPAN => Err(TOO_LONG.into()),
        Ok(span) => Ok(span),
        Err(error) => Err(error.to_string()),
    }
}

/// Errors: a sentence without the value, which may be a secret in the wrong place.
pub(super) fn span<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_span(&text).map(Some).map_err(|error| {
        de::Error::custom(match error == TOO_LONG {
            true => TOO_LONG,
            false => "not a time span such as 10m or 14d",
        })
    })
}

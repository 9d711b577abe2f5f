//! Times as events write them, in milliseconds since the Unix epoch.

/// The first moment of the year 1.
pub(crate) const EARLIEST: i64 = -62_135_596_800_000;
/// The last moment of the year 9999.
pub(crate) const LATEST: i64 = 253_402_300_799_999;

/// Reads a time as RFC 3339 writes it.
///
/// # Errors
/// Says what is wrong with it.
pub(crate) fn parse(text: &str) -> Result<i64, String> {
    let time: jiff::Timestamp = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    match time.as_millisecond() {
        millis @ EARLIEST..=LATEST => Ok(millis),
        _ => Err("it is outside the years 1 to 9999".to_owned()),
    }
}

/// Writes a time as RFC 3339 wants it, clamped to the years 1 to 9999.
pub(crate) fn write(millis: i64) -> String {
    let millis = millis.clamp(EARLIEST, LATEST);
    jiff::Timestamp::from_millisecond(millis).map(|time| time.to_string()).unwrap_or_default()
}

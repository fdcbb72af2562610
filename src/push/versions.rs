//! Which versions of `linnetd` a generation is for.

use linnet_proto::fleet::Generation;
use semver::Version;

/// Whether this `linnetd` can run `generation`; the error is one sentence.
pub fn fit(generation: &Generation) -> Result<(), String> {
    let own = env!("CARGO_PKG_VERSION");
    version_fits(own, generation.min_linnetd.as_deref(), generation.max_linnetd.as_deref())
}

/// Whether `own` lies between two versions, each inclusive and optional.
fn version_fits(own: &str, least: Option<&str>, most: Option<&str>) -> Result<(), String> {
    let read = |text: &str| Version::parse(text).map_err(|e| format!("`{text}` is no version: {e}"));
    let own = read(own)?;
    if let Some(least) = least.map(read).transpose()?
        && own < least
    {
        return Err(format!("it needs linnetd {least} or newer, this is {own}; update linnetd first"));
    }
    if let Some(most) = most.map(read).transpose()?
        && own > most
    {
        return Err(format!("it is for linnetd {most} or older, this is {own}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers_and_both_ends_fit() {
        for (own, least, most, fits) in [
            ("0.1.0", None, None, true),
            ("0.1.0", Some("0.1.0"), Some("0.1.0"), true),
            ("0.10.0", Some("0.9.0"), None, true),
            ("0.1.0", Some("0.1.1"), None, false),
            ("0.2.0", None, Some("0.1.9"), false),
            ("0.1.0", Some("soon"), None, false),
        ] {
            assert_eq!(version_fits(own, least, most).is_ok(), fits, "{own} {least:?} {most:?}");
        }
    }
}

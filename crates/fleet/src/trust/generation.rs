//! From signed metadata to the generation that they name.

use linnet_proto::fleet::Generation;

use super::contents::Contents;
use super::error::TrustError;
use super::limits::Limits;
use crate::source::{Progress, Source, Wanted, download};

/// Where the generation's target lies, as [`Source::piece`] takes it: consistent snapshots put the digest before the name.
pub(crate) fn target_path(number: u64, sha256: &str) -> String {
    format!("generations/{sha256}.{number}.json")
}

/// Fetches the document of generation `number`, which the trusted `contents` must name: bytes of the digest that was signed.
pub async fn fetch_document(
    contents: &Contents,
    source: &dyn Source,
    number: u64,
    limits: &Limits,
) -> Result<Vec<u8>, TrustError> {
    let entry = contents.generation(number).ok_or_else(|| {
        TrustError::OtherGeneration(format!("no release signs for generation {number}; nothing else is installed"))
    })?;
    let wanted = Wanted { path: target_path(number, &entry.sha256), bytes: entry.bytes, sha256: entry.sha256.clone() };
    if entry.bytes > limits.generation_bytes {
        return Err(TrustError::TooLarge { what: wanted.path, cap: limits.generation_bytes });
    }
    let mut bytes = Vec::new();
    download(source, &wanted, &mut Progress::new(), &mut bytes, &limits.pace)
        .await
        .map_err(|e| TrustError::of_download(number, e))?;
    Ok(bytes)
}

/// Fetches and reads generation `number`, for the fleet that the device belongs to.
pub async fn fetch_generation(
    contents: &Contents,
    source: &dyn Source,
    fleet: &str,
    number: u64,
    limits: &Limits,
) -> Result<Generation, TrustError> {
    let bytes = fetch_document(contents, source, number, limits).await?;
    let generation = Generation::parse(&bytes).map_err(|e| TrustError::garbage(&format!("generation {number}"), e))?;
    if generation.number != number {
        return Err(TrustError::OtherGeneration(format!(
            "the target of generation {number} holds generation {}",
            generation.number
        )));
    }
    if generation.fleet != fleet {
        return Err(TrustError::OtherGeneration(format!(
            "generation {number} is for fleet `{}`, and this device belongs to `{fleet}`",
            generation.fleet.escape_debug()
        )));
    }
    Ok(generation)
}

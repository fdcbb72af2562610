//! Where a device falls in a push's waves.

use linnet_proto::fleet::Rollout;
use sha2::{Digest, Sha256};

/// The bucket of `device`: the first 8 bytes (big endian) of SHA-256 over `salt`, a zero byte and its name, modulo
/// [`Rollout::BUCKETS`]. Operator and device come to the same number without asking each other.
pub fn bucket(salt: &str, device: &str) -> u32 {
    let digest = Sha256::new().chain_update(salt).chain_update([0]).chain_update(device).finalize();
    let head = digest.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    u32::try_from(head % u64::from(Rollout::BUCKETS)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_stable_and_spread() {
        // `printf 'salt\0kitchen' | sha256sum` begins with a8bf7c33596e57fc.
        assert_eq!(u64::from(bucket("salt", "kitchen")), 0xa8bf_7c33_596e_57fc % 1_000_000);
        assert_ne!(bucket("salt", "kitchen"), bucket("other", "kitchen"));
        assert_ne!(bucket("a", "bc"), bucket("ab", "c"), "salt and name are kept apart");

        let below = (0..10_000).filter(|n| bucket("s", &format!("device-{n}")) < 100_000).count();
        assert!(
            (850..1150).contains(&below),
            "a tenth of the buckets holds a tenth of the devices, not {below} of 10000"
        );
    }
}

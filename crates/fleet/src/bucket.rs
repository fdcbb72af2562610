//! Where a device falls in a push's waves, and in a share of the fleet.

use linnet_proto::fleet::{DeviceFacts, Rollout, Selector};
use sha2::{Digest, Sha256};

/// The bucket of `device`: the first 8 bytes (big endian) of SHA-256 over `salt`, a zero byte and its name, modulo
/// [`Rollout::BUCKETS`]. Operator and device come to the same number without asking each other.
pub fn bucket(salt: &str, device: &str) -> u32 {
    let digest = Sha256::new().chain_update(salt).chain_update([0]).chain_update(device).finalize();
    let head = digest.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    u32::try_from(head % u64::from(Rollout::BUCKETS)).unwrap_or_default()
}

/// What the share of a selector is salted with: always this, so that the same devices are always the first tenth. Then a generation for a
/// tenth and a push to a tenth are for the same tenth, a push that goes from a tenth to a half keeps those that have it, and a device can say
/// by itself, today and tomorrow, whether it is among them. It is no push's own salt, which is random: else a tenth of the fleet would be the
/// first buckets of its own waves, and a first wave of a tenth would open for all of it.
const SHARE_SALT: &str = "share";

/// Whether `selector` means the device. Operator and device come to the same answer without asking each other.
pub fn means(selector: &Selector, device: &DeviceFacts) -> bool {
    selector.means(device, || bucket(SHARE_SALT, &device.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_always_the_same_devices_and_a_larger_one_holds_it() {
        let percent = |percent: u32| Selector::parse(&format!("percent={percent}")).expect("a selector");
        let device = |n: u32| DeviceFacts { name: format!("device-{n}"), ..DeviceFacts::default() };
        let meant = |selector: &Selector| (0..10_000).filter(|n| means(selector, &device(*n))).collect::<Vec<_>>();
        let (tenth, half) = (meant(&percent(10)), meant(&percent(50)));
        assert!(
            (850..1150).contains(&tenth.len()) && (4700..5300).contains(&half.len()),
            "{} {}",
            tenth.len(),
            half.len()
        );
        assert!(tenth.iter().all(|n| half.contains(n)), "who has it keeps it");
        assert_eq!(meant(&Selector::default()).len(), 10_000);
        // `printf 'share\0kitchen' | sha256sum` begins with 815b02cab59354f2.
        assert_eq!(u64::from(bucket(SHARE_SALT, "kitchen")), 0x815b_02ca_b593_54f2 % 1_000_000);
    }

    #[test]
    fn a_first_wave_of_a_share_is_a_part_of_it() {
        let tenth = Selector::parse("percent=10").expect("a selector");
        let names = (0..10_000).map(|n| DeviceFacts { name: format!("device-{n}"), ..DeviceFacts::default() });
        let meant: Vec<_> = names.filter(|device| means(&tenth, device)).collect();
        let first = meant.iter().filter(|device| bucket("5f0c", &device.name) < 100_000).count();
        assert!((60..140).contains(&first), "a tenth of {}, not {first}", meant.len());
    }

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

//! Room for as many open files as the configured connections need.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors beside the connections: models, state, sockets, the broker, the runtime.
const SPARE: u64 = 256;

/// Raises this process's own limit so that `connections` fit, as far as the system allows; 1024 is the usual limit, and
/// HTTP alone may want as many. What is missing is told: connections beyond it wait in the kernel.
pub fn make_room_for(connections: usize) {
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(SPARE);
    let now = getrlimit(Resource::Nofile);
    let Some(next) = raised(now, wanted) else {
        if now.current.is_some_and(|current| current < wanted) {
            warn(wanted, now.current);
        }
        return;
    };
    let allowed = next.current;
    match setrlimit(Resource::Nofile, next) {
        Ok(()) if allowed.is_none_or(|allowed| allowed >= wanted) => {}
        Ok(()) => warn(wanted, allowed),
        Err(_) => warn(wanted, now.current),
    }
}

/// The limit to set; `None` when the present one is enough.
fn raised(now: Rlimit, wanted: u64) -> Option<Rlimit> {
    let enough = now.current.is_none_or(|current| current >= wanted);
    let most = now.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    (!enough && Some(most) > now.current).then_some(Rlimit { current: Some(most), maximum: now.maximum })
}

fn warn(wanted: u64, allowed: Option<u64>) {
    log::warn!(
        "http.max_connections wants {wanted} open files, the system allows {}: raise LimitNOFILE=, or lower it",
        allowed.map_or("fewer".to_owned(), |n| n.to_string())
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_as_far_as_it_is_needed_and_allowed() {
        let limit = |current, maximum| Rlimit { current, maximum };
        assert_eq!(raised(limit(Some(1024), Some(4096)), 1280), Some(limit(Some(1280), Some(4096))));
        assert_eq!(raised(limit(Some(1024), None), 1280), Some(limit(Some(1280), None)));
        assert_eq!(raised(limit(Some(1024), Some(1100)), 1280), Some(limit(Some(1100), Some(1100))));
        assert_eq!(raised(limit(Some(2048), Some(4096)), 1280), None);
        assert_eq!(raised(limit(None, None), 1280), None);
        assert_eq!(raised(limit(Some(1024), Some(1024)), 1280), None);
    }

    #[test]
    fn this_process_has_room_afterwards() {
        let before = getrlimit(Resource::Nofile);
        make_room_for(1);
        let after = getrlimit(Resource::Nofile);
        assert!(after.current.is_none_or(|n| before.current.is_some_and(|b| n >= b)));
    }
}

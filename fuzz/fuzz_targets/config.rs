//! Any text as a configuration: it is refused with faults that have a line, or it passes and passes again.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use linnet::config::{ConfigError, Place, Surroundings, check_text};

fuzz_target!(|text: &str| {
    let around = Surroundings {
        device: "host".into(),
        socket: "/run/linnet/linnet.sock".into(),
        state: "/var/lib/linnet".into(),
        models: None,
        processors: 2,
    };
    let check = || check_text(text, Path::new("/etc/linnet/linnet.toml"), &around);
    match check() {
        Ok(config) => assert_eq!(check(), Ok(config)),
        Err(ConfigError::Faults(faults)) => {
            let lines = text.bytes().filter(|b| *b == b'\n').count() + 1;
            assert!(!faults.is_empty());
            for fault in faults {
                match fault.place {
                    Place::File(_, line) => assert!((1..=lines).contains(&line)),
                    // A rule between keys may be broken by a default.
                    Place::Default => {}
                    other => panic!("{other}"),
                }
            }
        }
        Err(other) => panic!("a text was read as a file: {other}"),
    }
});

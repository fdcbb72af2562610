//! The start: what a power cut left half done goes, and damage leads back to what was good.

use super::collect::generation_number;
use super::fs::Disk;
use super::refused::Refused;
use super::{
    CONFIRMED, FILES, GENERATIONS, GenerationStore, INSTANCE, Options, PARTIAL, POINTERS, Pointer, Pointers, REFUSED,
    StoreError, UPDATE,
};

/// A store that was opened.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: GenerationStore,
    /// What was found damaged, and what was done about it; one sentence each, for the log. A power cut alone leaves nothing to say.
    pub said: Vec<String>,
}

impl GenerationStore {
    /// Opens the store on `disk`. Only a directory that cannot be read is an error: on one that cannot be written, what serves goes on.
    pub fn open(disk: Box<dyn Disk>, options: Options) -> Result<Opened, StoreError> {
        let mut store = Self {
            disk,
            options: Options { sync_every_bytes: options.sync_every_bytes.max(1), ..options },
            pointers: Pointers::default(),
            refused: Refused::default(),
            instance: String::new(),
            update: None,
            partial: std::collections::BTreeMap::new(),
            named: std::collections::BTreeSet::new(),
            bytes_written: 0,
        };
        let mut said = Vec::new();
        store.list("")?;
        if let Err(e) = store.clear() {
            said.push(format!("{e}; the store is used as it is"));
        }
        store.read_pointers(&mut said);
        match store
            .read_small(REFUSED)
            .map_err(|e| e.to_string())
            .and_then(|bytes| bytes.map_or_else(|| Ok(Refused::default()), |bytes| Refused::parse(&bytes)))
        {
            Ok(refused) => store.refused = refused,
            Err(e) => said
                .push(format!("{}: {e}; which generations were refused is forgotten", store.path(REFUSED).display())),
        }
        match store.read_small(UPDATE) {
            Ok(update) => store.update = update,
            Err(e) => {
                said.push(format!("{e}; how far the update had come is forgotten"));
                // Not what anybody saved, so that it is told and replaced.
                store.update = Some(Vec::new());
            }
        }
        store.read_instance(&mut said);
        Ok(Opened { store, said })
    }

    /// Makes the directories, and removes whatever was being made or removed when the power went.
    fn clear(&mut self) -> Result<(), StoreError> {
        let entries = self.list("")?;
        for directory in [FILES, PARTIAL, GENERATIONS] {
            if !entries.iter().any(|entry| entry.name == directory) {
                // Durable with the first file that is saved beside them, which is before anything is put into them.
                self.disk.make_dir(directory).map_err(|e| self.write_error(directory, e))?;
            }
        }
        for directory in ["", FILES, PARTIAL, GENERATIONS] {
            let within = if directory.is_empty() { String::new() } else { format!("{directory}/") };
            for entry in self.list(directory)?.into_iter().filter(|entry| entry.name.starts_with('.')) {
                let path = format!("{within}{}", entry.name);
                if entry.is_dir { self.remove_tree(&path)? } else { self.remove_file(&path)? }
            }
        }
        Ok(())
    }

    /// Reads the pointers, and sees to it that both lead to something whole.
    fn read_pointers(&mut self, said: &mut Vec<String>) {
        let path = self.path(POINTERS);
        let read = match self.read_small(POINTERS) {
            Ok(None) => None,
            Ok(Some(bytes)) => Some(Pointers::parse(&bytes).map_err(|e| format!("{} {e}", path.display()))),
            Err(e) => Some(Err(e.to_string())),
        };
        let found = match read {
            Some(Ok(pointers)) => pointers,
            // A device that was never given anything has none; nor has one whose card lost them.
            lost => {
                let good = self.last_confirmed(&[]);
                let what = match lost {
                    Some(Err(e)) => e,
                    _ if good.generation == 0 => return,
                    _ => format!("{} is missing", path.display()),
                };
                said.push(format!("{what}; {} serves", named(good.generation)));
                self.take(Pointers::of(good.clone(), good), said);
                return;
            }
        };
        let mut healed = found.clone();
        if let Err(e) = self.check_pointer(&found.good) {
            healed.good = self.last_confirmed(&[found.good.generation]);
            said.push(format!("{e}; {} is the last good one now", named(healed.good.generation)));
        }
        if found.live == found.good {
            healed.live = healed.good.clone();
        } else if let Err(e) = self.check_pointer(&found.live) {
            healed.live = healed.good.clone();
            said.push(format!("{e}; {} serves", named(healed.live.generation)));
        }
        if healed == found { self.pointers = healed } else { self.take(healed, said) }
    }

    /// Takes what was healed, whether it can be written or not.
    fn take(&mut self, pointers: Pointers, said: &mut Vec<String>) {
        if let Err(e) = self.point(pointers.clone()) {
            said.push(e.to_string());
            self.pointers = pointers;
        }
    }

    fn check_pointer(&self, pointer: &Pointer) -> Result<(), StoreError> {
        if pointer.generation > 0 {
            self.check_whole(pointer.generation, Some(&pointer.sha256))?;
        }
        Ok(())
    }

    /// The newest generation that is whole and bears the mark; what was shipped where there is none.
    fn last_confirmed(&self, except: &[u64]) -> Pointer {
        let mut numbers: Vec<u64> = self
            .list(GENERATIONS)
            .unwrap_or_default()
            .iter()
            .filter_map(|entry| generation_number(&entry.name))
            .filter(|number| !except.contains(number))
            .collect();
        numbers.sort_unstable();
        let whole = numbers.into_iter().rev().find_map(|generation| {
            let marked = self.file_bytes(&format!("{GENERATIONS}/{generation}/{CONFIRMED}")).ok()?.is_some();
            let sha256 = self.check_whole(generation, None).ok()?;
            marked.then_some(Pointer { generation, sha256 })
        });
        whole.unwrap_or_default()
    }

    fn read_instance(&mut self, said: &mut Vec<String>) {
        let read = self.read_small(INSTANCE).ok().flatten().and_then(|bytes| String::from_utf8(bytes).ok());
        match read.filter(|name| name.len() == 32 && name.bytes().all(|c| c.is_ascii_hexdigit())) {
            Some(name) => self.instance = name,
            None => {
                self.instance = format!("{:032x}", rand::random::<u128>());
                if let Err(e) = self.replace(INSTANCE, self.instance.clone().as_bytes()) {
                    said.push(format!("{e}; the device has another instance until its next start"));
                }
            }
        }
    }
}

/// For messages.
fn named(generation: u64) -> String {
    if generation == 0 { "what was shipped".to_owned() } else { format!("generation {generation}") }
}

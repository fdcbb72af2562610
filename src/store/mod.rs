//! Model packages on disk: manifests, digests, memory, crash-safe writes.
//!
//! A package is a directory with a `manifest.toml` that lists every other file with its size and SHA-256. Nothing
//! of it is used before it is verified: [`Package::open`] checks the manifest, each path, size and digest, then the
//! configuration against the tokenizer; [`Package::load_ctc`] checks the memory, loads the graph and checks its outputs
//! against the configuration. Each refusal is one sentence that names the package's file.

mod ctc;
mod error;
pub mod generations;
pub(crate) mod languages;
pub mod layout;
pub mod memory;
mod paths;
mod rules;
mod stamp;
pub mod transducer;
pub mod write;

#[cfg(test)]
mod tests;

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use linnet_proto::manifest::{FileEntry, Manifest};
use linnet_proto::model_config::CtcConfig;
use sha2::{Digest, Sha256};

use crate::engine::{Engine, LoadOptions, Model};
pub(crate) use ctc::{FEATURES, LOG_PROBS};
pub use error::PackageError;
pub use rules::check_names;
pub use stamp::Stamps;

/// Name of the manifest in a package.
pub const MANIFEST: &str = "manifest.toml";
/// Name of the configuration in a package.
pub const CONFIG: &str = "config.json";
/// Name of the tokenizer in a package.
pub const TOKENIZER: &str = "tokenizer.json";
/// `model_type` of Linnet's own CTC family.
pub const CTC_FAMILY: &str = "linnet-ctc";

/// Largest manifest that is read, bytes.
pub const MAX_MANIFEST_BYTES: u64 = 1 << 20;
/// Largest configuration or tokenizer that is read, bytes.
pub const MAX_CONFIG_BYTES: u64 = 32 << 20;
/// Most files that a package may list.
pub const MAX_FILES: usize = 1024;

/// A package whose files are all there, unchanged, and agree with each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Package {
    /// Where it lies.
    pub dir: PathBuf,
    /// What it says of itself.
    pub manifest: Manifest,
    /// Files that the manifest does not list: never read, worth a warning.
    pub unlisted: Vec<String>,
}

impl Package {
    /// Reads what the package in `dir` says of itself. A directory without a manifest, in the layout of an export, is taken as it
    /// is: there is nothing to verify it by.
    pub fn read(dir: &Path) -> Result<Self, PackageError> {
        if !dir.join(MANIFEST).exists() && layout::is_foreign(dir) && !layout::is_own(dir) {
            return Ok(Self { dir: dir.to_owned(), manifest: layout::describe(dir)?, unlisted: Vec::new() });
        }
        let manifest = read_manifest(dir)?;
        let root = dir.canonicalize().map_err(|e| PackageError::read(dir, e))?;
        let unlisted = paths::unlisted(&root, &manifest).map_err(|e| PackageError::read(dir, e))?;
        Ok(Self { dir: dir.to_owned(), manifest, unlisted })
    }

    /// Reads and verifies the package in `dir`.
    pub fn open(dir: &Path) -> Result<Self, PackageError> {
        let package = Self::read(dir)?;
        package.verify()?;
        Ok(package)
    }

    /// Checks each file that the manifest lists by size and digest, then that the files agree. The marks of the files as they were read.
    pub fn verify(&self) -> Result<Stamps, PackageError> {
        let root = self.dir.canonicalize().map_err(|e| PackageError::read(&self.dir, e))?;
        let mut stamps = Stamps::default();
        for (name, entry) in &self.manifest.files {
            stamps.add(name, &verify_file(&root, &self.dir, name, entry)?);
        }
        if self.manifest.family == CTC_FAMILY {
            self.ctc()?;
        }
        Ok(stamps)
    }

    /// The marks of the files that the manifest lists, as they lie there now; nothing of them is read.
    pub fn stamps(&self) -> Result<Stamps, PackageError> {
        let root = self.dir.canonicalize().map_err(|e| PackageError::read(&self.dir, e))?;
        let mut stamps = Stamps::default();
        for name in self.manifest.files.keys() {
            let real = inside(&root, &self.dir, name)?;
            stamps.add(name, &real.metadata().map_err(|e| PackageError::read(&self.dir.join(name), e))?);
        }
        Ok(stamps)
    }

    /// Memory that the model takes once loaded, bytes, as its manifest says.
    pub fn memory_bytes(&self) -> u64 {
        self.manifest.memory_mib << 20
    }

    /// The path of one of its files.
    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// As [`Package::path`], for a path relative to the package.
    pub fn path_of(&self, file: &Path) -> PathBuf {
        self.dir.join(file)
    }

    /// Configuration and units of a `linnet-ctc` package, checked against each other.
    pub fn ctc(&self) -> Result<CtcParts, PackageError> {
        let config = ctc::read_config(&self.dir, &self.manifest)?;
        let units = ctc::read_units(&self.dir, &config)?;
        Ok(CtcParts { config, units })
    }

    /// Loads the graph of a `linnet-ctc` package, after a look at the memory that is free, and checks it with one short run: the
    /// outputs must be what the configuration says.
    pub fn load_ctc(&self, config: &CtcConfig, engine: &dyn Engine) -> Result<Arc<dyn Model>, PackageError> {
        self.check_memory(memory::memory())?;
        // Its canary runs it before it serves.
        let options = LoadOptions { name_sizes: self.manifest.canary.is_some(), ..LoadOptions::default() };
        let model = engine.load_with(&self.dir, Path::new(&config.onnx), &options)?;
        ctc::check_outputs(&self.path(&config.onnx), config, &*model)?;
        Ok(model)
    }

    /// Refuses a package that needs more memory than is available. `None` (a system that does not tell) passes.
    pub fn check_memory(&self, memory: Option<memory::Memory>) -> Result<(), PackageError> {
        match memory {
            Some(memory) if self.manifest.memory_mib > memory.available_mib => Err(PackageError::Memory {
                name: self.manifest.name.clone(),
                needed_mib: self.manifest.memory_mib,
                available_mib: memory.available_mib,
            }),
            _ => Ok(()),
        }
    }
}

/// What a `linnet-ctc` package's files say together.
#[derive(Debug, Clone, PartialEq)]
pub struct CtcParts {
    /// Its `config.json`.
    pub config: CtcConfig,
    /// Text of each unit by id, from `tokenizer.json`; as many as `config.units`.
    pub units: Vec<String>,
}

/// What [`verify`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Name of the package.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Files that were read and agree with the manifest.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Files that the manifest does not list.
    pub unlisted: Vec<String>,
}

/// Verifies the package in `dir` without loading its graph.
pub fn verify(dir: &Path) -> Result<Verified, PackageError> {
    let package = Package::open(dir)?;
    Ok(Verified {
        name: package.manifest.name,
        version: package.manifest.version,
        files: package.manifest.files.len(),
        bytes: package.manifest.files.values().map(|f| f.bytes).sum(),
        unlisted: package.unlisted,
    })
}

/// The directories in `dir`, in the order of their names: each is a package or wants to be one. Entries that begin with a dot and
/// plain files are passed over.
pub fn package_directories(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut directories =
        std::fs::read_dir(dir)?.map(|entry| entry.map(|e| e.path())).collect::<Result<Vec<_>, _>>()?;
    directories
        .retain(|path| path.is_dir() && !path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b".")));
    directories.sort();
    Ok(directories)
}

/// Reads every package in `dir`, in the order of [`package_directories`], each with its directory; nothing is verified yet. A name or alias that an
/// earlier package has already taken is refused.
pub fn scan(dir: &Path) -> Vec<(PathBuf, Result<Package, PackageError>)> {
    let directories = match package_directories(dir) {
        Ok(directories) => directories,
        Err(e) => return vec![(dir.to_owned(), Err(PackageError::read(dir, e)))],
    };
    let mut taken = std::collections::BTreeMap::<String, PathBuf>::new();
    let mut packages = Vec::with_capacity(directories.len());
    for directory in directories {
        let package = Package::read(&directory).and_then(|package| {
            let names = || std::iter::once(&package.manifest.name).chain(&package.manifest.aliases);
            if let Some((name, first)) = names().find_map(|n| taken.get_key_value(n)) {
                return Err(PackageError::Duplicate {
                    dir: directory.clone(),
                    name: name.clone(),
                    first: first.clone(),
                });
            }
            taken.extend(names().map(|n| (n.clone(), directory.clone())));
            Ok(package)
        });
        packages.push((directory, package));
    }
    packages
}

/// Reads and checks `manifest.toml` alone.
pub fn read_manifest(dir: &Path) -> Result<Manifest, PackageError> {
    let path = dir.join(MANIFEST);
    let text = read_text(&path, MAX_MANIFEST_BYTES)?;
    parse_manifest(&text, &path)
}

/// Checks the text of the manifest that lies at `path`. Pure, so that it can be fuzzed.
pub fn parse_manifest(text: &str, path: &Path) -> Result<Manifest, PackageError> {
    let refuse = |reason| PackageError::Manifest { path: path.to_owned(), reason };
    let manifest: Manifest = toml::from_str(text).map_err(|e| {
        refuse(match e.span() {
            Some(span) => {
                let line = text.as_bytes().iter().take(span.start).filter(|b| **b == b'\n').count() + 1;
                format!("line {line}: {}", e.message())
            }
            None => e.message().to_owned(),
        })
    })?;
    rules::check(&manifest).map_err(refuse)?;
    Ok(manifest)
}

/// Opens the regular file at `path`, which refusals call `named`, and says what it is. It never waits: a pipe that nobody writes to is refused as what it
/// is, where a plain open would hold up the start, a reload or `verify` for ever.
fn open_regular(path: &Path, named: &Path) -> Result<(File, Metadata), PackageError> {
    let read = |e| PackageError::read(named, e);
    let at_once = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(at_once).open(path).map_err(read)?;
    let metadata = file.metadata().map_err(read)?;
    if !metadata.is_file() {
        return Err(PackageError::Invalid { path: named.to_owned(), reason: "not a regular file".into() });
    }
    Ok((file, metadata))
}

/// Reads a text file of at most `most` bytes.
pub(crate) fn read_text(path: &Path, most: u64) -> Result<String, PackageError> {
    let read = |e| PackageError::read(path, e);
    let (file, _) = open_regular(path, path)?;
    let mut text = String::new();
    let bytes = file.take(most + 1).read_to_string(&mut text).map_err(read)?;
    if bytes as u64 > most {
        return Err(PackageError::Invalid {
            path: path.to_owned(),
            reason: format!("the file has more than {} KiB", most >> 10),
        });
    }
    Ok(text)
}

/// The real path of a listed file, which must lie in its package.
fn inside(root: &Path, dir: &Path, name: &str) -> Result<PathBuf, PackageError> {
    let path = dir.join(name);
    let real = path.canonicalize().map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => PackageError::Missing { path: path.clone() },
        _ => PackageError::read(&path, e),
    })?;
    if real.starts_with(root) { Ok(real) } else { Err(PackageError::Outside { path }) }
}

/// Checks path, size and digest of one listed file, reading it once in small pieces. What it was when it was opened.
fn verify_file(root: &Path, dir: &Path, name: &str, entry: &FileEntry) -> Result<Metadata, PackageError> {
    let path = dir.join(name);
    let read = |e| PackageError::read(&path, e);
    let real = inside(root, dir, name)?;
    let (mut file, metadata) = open_regular(&real, &path)?;
    let bytes = metadata.len();
    if bytes != entry.bytes {
        return Err(PackageError::Size { path, bytes, listed: entry.bytes });
    }
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    let mut left = entry.bytes;
    loop {
        let n = file.read(&mut buffer).map_err(read)?;
        if n == 0 {
            break;
        }
        left = left.checked_sub(n as u64).ok_or_else(|| PackageError::Size {
            path: path.clone(),
            bytes: entry.bytes.saturating_add(1),
            listed: entry.bytes,
        })?;
        digest.update(&buffer[..n]);
    }
    let found = hex::encode(digest.finalize());
    if found != entry.sha256 {
        return Err(PackageError::Digest { path, found, listed: entry.sha256.clone() });
    }
    Ok(metadata)
}

/// Size and digest of a file, as the manifest lists them.
pub fn file_entry(path: &Path) -> Result<FileEntry, PackageError> {
    let read = |e| PackageError::read(path, e);
    let mut file = File::open(path).map_err(read)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    let mut bytes = 0;
    loop {
        let n = file.read(&mut buffer).map_err(read)?;
        if n == 0 {
            break;
        }
        bytes += n as u64;
        digest.update(&buffer[..n]);
    }
    Ok(FileEntry { bytes, sha256: hex::encode(digest.finalize()) })
}

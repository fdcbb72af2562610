//! `linnetd import`: takes a model in the layout of its export, or a package, into a directory of models. `linnet models add` runs it.
//!
//! The files of one variant are linked (copied where that cannot be), digests and a manifest are written beside them, and the model
//! records a canary: the optimised plan answers, and the plain plan must agree. Only then the whole takes its place in one step.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use linnet_proto::manifest::{Canary, Manifest};
use linnet_proto::models::{AddedModel, ModelFiles};

use crate::engine::tract::TractEngine;
use crate::push::held;
use crate::status::Events;
use crate::store::layout::{self, Graphs};
use crate::store::transducer::{self, TransducerFiles};
use crate::store::write::{HiddenDirectory, StagedDirectory, settle_abandoned, write_file};
use crate::store::{self, MANIFEST, Package, PackageError, memory};
use crate::task::Pipeline;
use crate::task::catalog::{Budget, Families, Loader};

/// Largest file beside the graphs that is taken along, bytes.
const MAX_SIDE_FILE_BYTES: u64 = 256 << 20;
/// Endings of files beside the graphs that a model may need, or that say whose it is.
const SIDE_FILES: [&str; 9] = ["json", "txt", "model", "spm", "jinja", "md", "toml", "vec", "bin"];
/// Names that are taken whatever their ending.
const SIDE_NAMES: [&str; 4] = ["LICENSE", "NOTICE", "LICENCE", "COPYING"];

/// What to import, and how.
#[derive(Debug, Clone, Default)]
pub struct Import {
    /// The model's directory.
    pub from: PathBuf,
    /// The directory of models that it goes into.
    pub into: PathBuf,
    /// Its name; that of its directory or manifest when absent.
    pub name: Option<String>,
    /// Other names that it answers to.
    pub aliases: Vec<String>,
    /// Type of weights to take; the most precise that fits when absent.
    pub dtype: Option<String>,
    /// Copy files instead of linking them.
    pub copy: bool,
    /// Put it in the place of a model of the same name.
    pub replace: bool,
    /// The directory of the device's generations, whose names are taken; none where the device belongs to no fleet.
    pub fleet: Option<PathBuf>,
}

/// Why a model was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The model's files.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// What it was asked to be.
    #[error("{0}")]
    Refused(String),
    /// It does not load, or does not answer twice the same.
    #[error("{name}: {reason}")]
    Model {
        /// The model.
        name: String,
        /// One sentence.
        reason: String,
    },
}

impl ImportError {
    /// The exit code that it ends with.
    pub fn exit(&self) -> crate::exit::Exit {
        use crate::exit::Exit;
        match self {
            Self::Package(PackageError::Write { .. }) => Exit::CannotCreate,
            Self::Package(PackageError::Read { .. } | PackageError::Missing { .. }) => Exit::NoInput,
            Self::Package(_) | Self::Model { .. } => Exit::Data,
            Self::Refused(_) => Exit::Usage,
        }
    }
}

/// Imports a model. `progress` is told what is being done, in a few words.
pub fn import(asked: &Import, progress: &mut dyn FnMut(&str)) -> Result<AddedModel, ImportError> {
    let source = Package::read(&asked.from)?;
    let foreign = !asked.from.join(MANIFEST).exists();
    let mut manifest = source.manifest.clone();
    if let Some(name) = &asked.name {
        manifest.name.clone_from(name);
    }
    for alias in &asked.aliases {
        if !manifest.aliases.contains(alias) {
            manifest.aliases.push(alias.clone());
        }
    }
    store::check_names(&manifest).map_err(ImportError::Refused)?;
    if let Some(root) = &asked.fleet {
        let names = std::iter::once(&manifest.name).chain(&manifest.aliases).map(String::as_str);
        if let Some(refusal) = held::refusal(root, names) {
            return Err(ImportError::Refused(refusal));
        }
    }
    keep_names_apart(&mut manifest, asked)?;
    let target = asked.into.join(&manifest.name);
    if same_place(&asked.from, &target) {
        let message = format!("{} is already in its place; it needs no import", target.display());
        return Err(ImportError::Refused(message));
    }
    if !asked.replace && target.symlink_metadata().is_ok() {
        let message = format!(
            "there is a model {} in {} already; give another --name, or --replace to put this one in its place",
            manifest.name,
            asked.into.display()
        );
        return Err(ImportError::Refused(message));
    }
    let files = if foreign {
        let (files, dtype) = files_of_export(&asked.from, &manifest, asked.dtype.as_deref())?;
        manifest.dtype = dtype;
        files
    } else {
        if asked.dtype.is_some() {
            return Err(ImportError::Refused(
                "--dtype is for exports without a manifest; a package has one type".into(),
            ));
        }
        progress("verifying");
        source.verify()?;
        manifest.files.keys().map(PathBuf::from).collect()
    };
    progress("taking its files");
    settle_abandoned(&asked.into);
    let staged = StagedDirectory::beside(&target)?;
    for file in &files {
        take(&asked.from.join(file), &staged.path().join(file), asked.copy)?;
    }
    progress("reading its digests");
    manifest.files = digests(staged.path(), &files)?;
    let bytes = manifest.files.values().map(|file| file.bytes).sum();
    let package = Package { dir: staged.path().to_owned(), manifest: manifest.clone(), unlisted: Vec::new() };
    progress("loading it");
    let began = Instant::now();
    let fast = load(&package, false)?;
    let load_time = began.elapsed();
    manifest.memory_mib = fast.memory_bytes().div_ceil(1 << 20).max(1);
    if foreign {
        manifest.canary = Some(record(&package, &fast, progress)?);
    }
    let canary = manifest.canary.clone();
    let began = Instant::now();
    if let Some(canary) = &canary {
        fast.prove(canary).map_err(|reason| of_model(&manifest, reason))?;
    }
    let canary_time = began.elapsed();
    drop(fast);
    let text =
        toml::to_string(&manifest).map_err(|e| of_model(&manifest, format!("its manifest cannot be written: {e}")))?;
    write_file(&staged.path().join(MANIFEST), text.as_bytes())?;
    // What was written must be what the daemon takes.
    Package::open(staged.path())?;
    staged.install()?;
    Ok(AddedModel {
        name: manifest.name,
        dir: target.display().to_string(),
        family: manifest.family,
        tasks: manifest.tasks,
        dtype: manifest.dtype,
        bytes,
        memory_mib: manifest.memory_mib,
        load_ms: ms(load_time),
        canary_ms: ms(canary_time),
        tokens_per_sec: written(canary.as_ref()).map(|tokens| tokens as f64 / canary_time.as_secs_f64().max(1e-6)),
    })
}

/// The files of the model in `from` that an import would take, where they have to be sent.
pub fn files(from: &Path, dtype: Option<&str>) -> Result<ModelFiles, ImportError> {
    let package = Package::read(from)?;
    let files = if from.join(MANIFEST).exists() {
        let listed = package.manifest.files.keys().map(String::as_str);
        std::iter::once(MANIFEST).chain(listed).map(PathBuf::from).collect()
    } else {
        files_of_export(from, &package.manifest, dtype)?.0
    };
    let files = files.iter().map(|file| utf8(file).map(str::to_owned)).collect::<Result<_, _>>()?;
    Ok(ModelFiles { files })
}

/// Removes the model `name` from the first of `directories` that has it. Gives where it lay. `fleet` is as in [`Import::fleet`].
pub fn remove(name: &str, directories: &[PathBuf], fleet: Option<&Path>) -> Result<PathBuf, ImportError> {
    let dir = find(name, directories, fleet)?;
    dir.parent().map(settle_abandoned);
    let mut hidden = HiddenDirectory::of(&dir)?;
    hidden.give_up()?;
    hidden.remove()?;
    Ok(dir)
}

/// The directory of the model `name` in the first of `directories` that has it.
pub fn find(name: &str, directories: &[PathBuf], fleet: Option<&Path>) -> Result<PathBuf, ImportError> {
    let named = |dir: &PathBuf| Package::read(dir).is_ok_and(|package| package.manifest.name == name);
    let packages = directories.iter().flat_map(|models| store::package_directories(models).into_iter().flatten());
    if let Some(dir) = packages.into_iter().find(named) {
        return Ok(dir);
    }
    if let Some(number) = fleet.and_then(|root| held::held_names(root).get(name).copied()) {
        return Err(ImportError::Refused(format!(
            "the model {name} belongs to generation {number} of this device's fleet and is not removed by hand; the fleet's operator \
             publishes without it (linnet fleet publish --without {name})"
        )));
    }
    let places: Vec<_> = directories.iter().map(|dir| dir.display().to_string()).collect();
    Err(ImportError::Refused(format!("there is no model {name} in {}", places.join(", "))))
}

/// Two packages of one directory that share a name or alias take each other out. What was asked for is refused then; an alias that the package
/// itself brings is left to who has it.
fn keep_names_apart(manifest: &mut Manifest, asked: &Import) -> Result<(), ImportError> {
    let others = store::package_directories(&asked.into).unwrap_or_default();
    for other in others.iter().filter_map(|dir| Package::read(dir).ok()).map(|package| package.manifest) {
        if other.name == manifest.name {
            continue;
        }
        let is_taken = |name: &String| *name == other.name || other.aliases.contains(name);
        if let Some(name) = std::iter::once(&manifest.name).chain(&asked.aliases).find(|name| is_taken(name)) {
            let message = format!(
                "the name {name} belongs to the model {} in {}; choose another",
                other.name,
                asked.into.display()
            );
            return Err(ImportError::Refused(message));
        }
        manifest.aliases.retain(|alias| !is_taken(alias));
    }
    Ok(())
}

fn of_model(manifest: &Manifest, reason: String) -> ImportError {
    ImportError::Model { name: manifest.name.clone(), reason }
}

fn same_place(from: &Path, target: &Path) -> bool {
    matches!((from.canonicalize(), target.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// The files of an export that are needed, relative to it, and the type of weights that was chosen.
fn files_of_export(
    dir: &Path,
    manifest: &Manifest,
    dtype: Option<&str>,
) -> Result<(Vec<PathBuf>, Option<String>), ImportError> {
    let mut files = side_files(dir)?;
    if manifest.family == layout::TRANSDUCER_FAMILY {
        let TransducerFiles { encoder, decoder, joiner } = transducer::choose(dir, dtype)?;
        files.extend([encoder, decoder, joiner]);
        return Ok((files, dtype.map(str::to_owned)));
    }
    let variants = layout::variants(dir)?;
    if manifest.family == layout::RAW_FAMILY || variants.is_empty() {
        files.extend(layout::onnx_files(dir));
        return Ok((files, None));
    }
    let available = memory::memory().map(|memory| memory.available_mib << 20);
    let Graphs { dtype, files: graphs, .. } = layout::choose(dir, dtype, available)?;
    let mut data = Vec::new();
    for graph in graphs.values() {
        data.extend(external_data(dir, graph));
    }
    // A merged decoder makes the two that it holds needless.
    let merged = graphs.contains_key("decoder_model_merged");
    let needed = |part: &String| !(merged && matches!(part.as_str(), "decoder_model" | "decoder_with_past_model"));
    files.extend(graphs.into_iter().filter(|(part, _)| needed(part)).map(|(_, file)| file));
    files.extend(data);
    Ok((files, Some(dtype)))
}

/// Files that hold a graph's weights, by their names beside it.
fn external_data(dir: &Path, graph: &Path) -> Vec<PathBuf> {
    let (Some(name), parent) = (graph.file_name().map(|n| n.to_string_lossy().into_owned()), graph.parent()) else {
        return Vec::new();
    };
    let parent = parent.unwrap_or(Path::new(""));
    let entries = std::fs::read_dir(dir.join(parent)).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.file_name())
        .filter(|n| {
            let n = n.to_string_lossy();
            n.starts_with(&format!("{name}_data")) || *n == format!("{name}.data")
        })
        .map(|n| parent.join(n))
        .collect();
    found.sort();
    found
}

/// Configurations, tokenizers, vocabularies and licences at the top of `dir`.
fn side_files(dir: &Path) -> Result<Vec<PathBuf>, PackageError> {
    let read = |e| PackageError::read(dir, e);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(read)? {
        let entry = entry.map_err(read)?;
        let path = PathBuf::from(entry.file_name());
        let Ok(metadata) = std::fs::metadata(entry.path()) else { continue };
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let name = path.to_string_lossy();
        let known = SIDE_FILES.contains(&ending) || SIDE_NAMES.iter().any(|own| name.starts_with(own));
        // PyTorch's weights share an ending with word vectors.
        let weights = name.starts_with("pytorch_model") || name.starts_with("training_args");
        if metadata.is_file() && known && !weights && metadata.len() <= MAX_SIDE_FILE_BYTES && *name != *MANIFEST {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Links a file into its new place, or copies it.
fn take(from: &Path, to: &Path, copy: bool) -> Result<(), PackageError> {
    let real = from.canonicalize().map_err(|e| PackageError::read(from, e))?;
    let write = |source| PackageError::Write { path: to.to_owned(), source };
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent).map_err(write)?;
    }
    if !copy && std::fs::hard_link(&real, to).is_ok() {
        return Ok(());
    }
    std::fs::copy(&real, to).map(|_| ()).map_err(write)
}

fn digests(dir: &Path, files: &[PathBuf]) -> Result<BTreeMap<String, linnet_proto::manifest::FileEntry>, ImportError> {
    let mut entries = BTreeMap::new();
    for file in files {
        entries.insert(utf8(file)?.to_owned(), store::file_entry(&dir.join(file))?);
    }
    Ok(entries)
}

fn utf8(file: &Path) -> Result<&str, ImportError> {
    file.to_str().ok_or_else(|| ImportError::Refused(format!("the file name {} is not UTF-8", file.display())))
}

fn load(package: &Package, plain: bool) -> Result<Arc<dyn Pipeline>, ImportError> {
    let loader = Loader {
        engine: Arc::new(TractEngine { plain }),
        families: Families::built_in(),
        events: Events::default(),
        budget: Budget::default(),
    };
    let unproven = Package { manifest: Manifest { canary: None, ..package.manifest.clone() }, ..package.clone() };
    loader.prove(&unproven).map_err(|reason| of_model(&package.manifest, reason))
}

/// A canary that the optimised and the plain plan agree on.
fn record(package: &Package, fast: &Arc<dyn Pipeline>, progress: &mut dyn FnMut(&str)) -> Result<Canary, ImportError> {
    progress("recording its canary");
    let canary = fast.record().map_err(|reason| of_model(&package.manifest, reason))?;
    progress("checking the canary on the plain plan");
    let plain = load(package, true)?;
    plain.prove(&canary).map_err(|reason| {
        let reason =
            format!("its optimised plan answers otherwise than the plain one ({reason}); please report this model");
        of_model(&package.manifest, reason)
    })?;
    Ok(canary)
}

fn written(canary: Option<&Canary>) -> Option<usize> {
    match canary {
        Some(Canary::Tokens(canary)) if !canary.tokens.is_empty() => Some(canary.tokens.len()),
        _ => None,
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

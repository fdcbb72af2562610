//! `linnet models pull`: a model from a hub of models, into the hub's own cache, file by file, resumed where it broke off, each checked by the
//! digest that the hub tells; then it is added as any directory is.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Component, Path, PathBuf};

use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Repo, RepoType};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::ClientError;

/// The hub that is asked when nothing says.
const HUB: &str = "https://huggingface.co";
/// Largest answer about a repository, bytes.
const MAX_INFO_BYTES: u64 = 16 << 20;
/// Most files of one model.
const MAX_FILES: usize = 512;
/// How often a file that breaks off is resumed.
const RETRIES: usize = 5;
/// Types of weights by the suffix of their files, as they are preferred when nothing says: whoever pulls onto a small machine wants 8 bits.
const DTYPES: [(&str, &str); 7] = [
    ("int8", "_quantized"),
    ("int8", "_int8"),
    ("uint8", "_uint8"),
    ("f32", ""),
    ("f16", "_fp16"),
    ("q4f16", "_q4f16"),
    ("q4", "_q4"),
];
/// Parts of models by the names of their files.
const PARTS: [&str; 5] = ["model", "encoder_model", "decoder_model_merged", "decoder_model", "decoder_with_past_model"];

/// What to pull.
#[derive(Debug, Clone)]
pub(super) struct Pull {
    /// `ORG/NAME`.
    pub(super) repository: String,
    /// A branch, a tag or a commit.
    pub(super) revision: String,
    /// Type of weights.
    pub(super) dtype: Option<String>,
    /// The hub, or a mirror of it.
    pub(super) endpoint: Option<String>,
    /// Where files are kept.
    pub(super) cache: Option<PathBuf>,
}

/// What was pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pulled {
    /// The directory, as it lies in the cache.
    pub(super) dir: PathBuf,
    /// The commit that it is of.
    pub(super) commit: String,
    /// Type of its weights, where it was one of several.
    pub(super) dtype: Option<String>,
}

/// What the hub says of a repository.
#[derive(Debug, Deserialize)]
struct Info {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Debug, Deserialize)]
struct Sibling {
    rfilename: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    lfs: Option<Lfs>,
}

#[derive(Debug, Deserialize)]
struct Lfs {
    #[serde(default, alias = "oid")]
    sha256: Option<String>,
}

fn refused(message: impl Into<String>) -> ClientError {
    ClientError::Pull(message.into())
}

/// Pulls a model. It blocks.
pub(super) fn pull(asked: &Pull) -> Result<Pulled, ClientError> {
    check(asked)?;
    for name in ["LINNET_OFFLINE", "HF_HUB_OFFLINE"] {
        if std::env::var(name).is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false")) {
            return Err(refused(format!(
                "{name} is set: nothing is fetched; unset it, or add a directory with `linnet models add`"
            )));
        }
    }
    let endpoint =
        asked.endpoint.clone().or_else(|| std::env::var("HF_ENDPOINT").ok()).unwrap_or_else(|| HUB.to_owned());
    let mut builder = ApiBuilder::from_env().with_endpoint(endpoint.clone()).with_retries(RETRIES).with_progress(false);
    if let Some(cache) = &asked.cache {
        builder = builder.with_cache_dir(cache.clone());
    }
    if let Ok(token) = std::env::var("HF_TOKEN") {
        builder = builder.with_token(Some(token));
    }
    let api = builder.build().map_err(|e| refused(format!("{endpoint}: {e}")))?;
    let info = info(&api, asked, &endpoint)?;
    // From here on the commit is named, so that all files are of one state.
    let (names, dtype) = choose(&info, asked.dtype.as_deref())?;
    let repository = Repo::with_revision(asked.repository.clone(), RepoType::Model, info.sha.clone());
    let repository = api.repo(repository);
    let mut dir = None;
    for name in names {
        let sibling = info.siblings.iter().find(|sibling| sibling.rfilename == name);
        let path = fetch(&repository, &name, sibling)?;
        if !name.contains('/') {
            dir = path.parent().map(Path::to_path_buf);
        }
    }
    let dir = dir.ok_or_else(|| {
        refused(format!("{} has no config.json; it is no model that can be served", asked.repository))
    })?;
    Ok(Pulled { dir, commit: info.sha, dtype })
}

fn check(asked: &Pull) -> Result<(), ClientError> {
    let word = |text: &str| {
        !text.is_empty()
            && text.len() <= 96
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && !text.starts_with('.')
            && !text.contains("..")
    };
    match asked.repository.split_once('/') {
        Some((organisation, name)) if word(organisation) && word(name) => {}
        _ => return Err(refused(format!("{:?} is no ORG/NAME of a repository", asked.repository))),
    }
    if asked.revision.split('/').all(word) {
        Ok(())
    } else {
        Err(refused(format!("{:?} is no revision", asked.revision)))
    }
}

fn info(api: &Api, asked: &Pull, endpoint: &str) -> Result<Info, ClientError> {
    let repository = Repo::with_revision(asked.repository.clone(), RepoType::Model, asked.revision.clone());
    let request = api.repo(repository).info_request().query("blobs", "true");
    let mut answer = request.call().map_err(|e| {
        let hint = match &e {
            hf_hub_error if hf_hub_error.to_string().contains("404") => "; is it ORG/NAME, and the revision there?",
            hf_hub_error if hf_hub_error.to_string().contains("401") => "; set HF_TOKEN for what is not public",
            _ => "; is the machine online? HF_ENDPOINT or --endpoint names a mirror",
        };
        refused(format!("{endpoint}: {} at {}: {e}{hint}", asked.repository, asked.revision))
    })?;
    let mut text = String::new();
    let body = answer.body_mut().as_reader();
    body.take(MAX_INFO_BYTES).read_to_string(&mut text).map_err(|e| refused(format!("{endpoint}: {e}")))?;
    let info: Info = serde_json::from_str(&text)
        .map_err(|e| refused(format!("{endpoint}: what it says of the repository makes no sense: {e}")))?;
    let commit = (7..=64).contains(&info.sha.len()) && info.sha.bytes().all(|b| b.is_ascii_hexdigit());
    if !commit {
        return Err(refused(format!("{endpoint}: it names the commit {:?}, which is none", info.sha)));
    }
    Ok(info)
}

/// The files that are needed: configurations and tokenizers at the top, and the graphs of one type of weights.
fn choose(info: &Info, dtype: Option<&str>) -> Result<(Vec<String>, Option<String>), ClientError> {
    let names: Vec<&str> = info.siblings.iter().map(|sibling| sibling.rfilename.as_str()).collect();
    if let Some(name) = names.iter().find(|name| !is_inside(name)) {
        return Err(refused(format!("the repository names a file {name:?}, which lies outside of it")));
    }
    let mut variants: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for (rank, (_, suffix)) in DTYPES.iter().enumerate() {
        for dir in ["onnx/", ""] {
            let graphs: Vec<String> = PARTS
                .iter()
                .map(|part| format!("{dir}{part}{suffix}.onnx"))
                .filter(|file| names.contains(&file.as_str()))
                .collect();
            if !graphs.is_empty() {
                variants.entry(rank).or_insert(graphs);
            }
        }
    }
    let found = match dtype {
        Some(wanted) => variants.into_iter().find(|(rank, _)| DTYPES[*rank].0 == wanted),
        None => variants.into_iter().next(),
    };
    let Some((rank, mut graphs)) = found else {
        let what = dtype.map_or("no ONNX graphs".to_owned(), |dtype| format!("no ONNX graphs of dtype {dtype}"));
        return Err(refused(format!(
            "the repository has {what} (onnx/model.onnx, onnx/encoder_model.onnx, …); export it with Optimum first"
        )));
    };
    if graphs.iter().any(|graph| graph.contains("decoder_model_merged")) {
        graphs.retain(|graph| graph.contains("merged") || !graph.contains("decoder_"));
    }
    let data: Vec<String> = names
        .iter()
        .filter(|name| {
            graphs.iter().any(|graph| name.starts_with(&format!("{graph}_data")) || **name == format!("{graph}.data"))
        })
        .map(|name| (*name).to_owned())
        .collect();
    let beside = |name: &&&str| {
        let top = !name.contains('/') || name.ends_with("1_Pooling/config.json");
        let kind = Path::new(name).extension().and_then(|e| e.to_str()).unwrap_or_default();
        let wanted = ["json", "txt", "model", "spm", "jinja"].contains(&kind)
            || name.starts_with("LICENSE")
            || **name == "README.md";
        top && wanted && !name.ends_with(".index.json")
    };
    let mut files: Vec<String> = names.iter().filter(beside).map(|name| (*name).to_owned()).collect();
    files.extend(graphs);
    files.extend(data);
    if files.len() > MAX_FILES {
        return Err(refused(format!(
            "the repository has {} files of this model; at most {MAX_FILES} are fetched",
            files.len()
        )));
    }
    Ok((files, Some(DTYPES[rank].0.to_owned())))
}

fn is_inside(name: &str) -> bool {
    !name.is_empty() && Path::new(name).components().all(|c| matches!(c, Component::Normal(_)))
}

/// One file, from the cache or from the hub, checked by its digest.
fn fetch(repository: &hf_hub::api::sync::ApiRepo, name: &str, told: Option<&Sibling>) -> Result<PathBuf, ClientError> {
    let broken = |e: ApiError| refused(format!("{name}: {e}; run the same command again, it goes on where it stopped"));
    let digest = told.and_then(|told| told.lfs.as_ref()).and_then(|lfs| lfs.sha256.clone());
    for attempt in 0..2 {
        let path = repository.download_with_progress(name, Bar::default()).map_err(broken)?;
        match verify(&path, told.and_then(|told| told.size), digest.as_deref()) {
            Ok(()) => return Ok(path),
            // What lies in the cache may be of an interrupted run: once more from the beginning.
            Err(_) if attempt == 0 => {
                let blob = path.canonicalize().map_err(|e| refused(format!("{name}: {e}")))?;
                std::fs::remove_file(blob).map_err(|e| refused(format!("{name}: {e}")))?;
            }
            Err(reason) => return Err(refused(format!("{name}: {reason}; the hub or the way to it is broken"))),
        }
    }
    Err(refused(format!("{name}: it cannot be fetched whole")))
}

fn verify(path: &Path, size: Option<u64>, sha256: Option<&str>) -> Result<(), String> {
    let mut file = File::open(path).map_err(|e| e.to_string())?;
    let bytes = file.metadata().map_err(|e| e.to_string())?.len();
    if let Some(size) = size.filter(|size| *size != bytes) {
        return Err(format!("it has {bytes} bytes instead of {size}"));
    }
    let Some(wanted) = sha256 else { return Ok(()) };
    let mut digest = Sha256::new();
    io::copy(&mut file, &mut digest).map_err(|e| e.to_string())?;
    let found = hex::encode(digest.finalize());
    if found == wanted { Ok(()) } else { Err(format!("its SHA-256 is {found} instead of {wanted}")) }
}

/// A bar for each file, where somebody watches.
#[derive(Default)]
struct Bar(Option<ProgressBar>);

impl Progress for Bar {
    fn init(&mut self, size: usize, name: &str) {
        if !io::stderr().is_terminal() {
            return;
        }
        let bar = ProgressBar::new(size as u64).with_message(name.to_owned());
        if let Ok(style) = ProgressStyle::with_template("{msg:32!} {wide_bar} {bytes}/{total_bytes} {eta}") {
            bar.set_style(style);
        }
        self.0 = Some(bar);
    }

    fn update(&mut self, size: usize) {
        if let Some(bar) = &self.0 {
            bar.inc(size as u64);
        }
    }

    fn finish(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests;

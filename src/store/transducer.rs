//! Transducers in three graphs, as sherpa-onnx lays them out: `encoder*.onnx`, `decoder*.onnx`, `joiner*.onnx` and `tokens.txt`, no
//! `config.json`. Graphs in int8 have `.int8.` in their names, those in f16 `.fp16.`; what is missing in one type is taken in f32.

use std::path::{Path, PathBuf};

use super::PackageError;

/// Name of the file of tokens.
pub const TOKENS: &str = "tokens.txt";
/// Types of weights by what stands in a file's name, f32 last, which has nothing.
const DTYPES: [(&str, &str); 3] = [("int8", ".int8."), ("f16", ".fp16."), ("f32", "")];

/// The graphs of one type of weights, relative to the package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransducerFiles {
    /// From features to frames.
    pub encoder: PathBuf,
    /// From the last tokens to what they expect.
    pub decoder: PathBuf,
    /// From both to logits.
    pub joiner: PathBuf,
}

/// A graph by role and type of weights.
struct Graph {
    role: &'static str,
    dtype: &'static str,
    file: PathBuf,
    bytes: u64,
}

fn graphs(dir: &Path) -> Vec<Graph> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let (Ok(name), Ok(metadata)) = (entry.file_name().into_string(), std::fs::metadata(entry.path())) else {
            continue;
        };
        // `encoder_model.onnx` is an Optimum export's.
        let role = ["encoder", "decoder", "joiner"].into_iter().find(|role| {
            name.strip_prefix(role).is_some_and(|rest| rest.starts_with(['.', '-']) && rest.ends_with(".onnx"))
        });
        if let Some(role) = role.filter(|_| metadata.is_file()) {
            let (dtype, _) = DTYPES.into_iter().find(|(_, mark)| name.contains(mark)).unwrap_or(DTYPES[2]);
            found.push(Graph { role, dtype, file: PathBuf::from(name), bytes: metadata.len() });
        }
    }
    found.sort_by(|a, b| a.file.cmp(&b.file));
    found
}

/// Whether `dir` holds a transducer.
pub fn is_there(dir: &Path) -> bool {
    let found = graphs(dir);
    dir.join(TOKENS).is_file() && found.iter().any(|g| g.role == "encoder") && found.iter().any(|g| g.role == "joiner")
}

/// Bytes of its smallest graphs.
pub(super) fn least_bytes(dir: &Path) -> u64 {
    let found = graphs(dir);
    let of = |role: &str| found.iter().filter(|g| g.role == role).map(|g| g.bytes).min().unwrap_or(0);
    of("encoder") + of("decoder") + of("joiner")
}

/// The graphs of `dtype`: f32 when absent, int8 where there is no f32.
pub fn choose(dir: &Path, dtype: Option<&str>) -> Result<TransducerFiles, PackageError> {
    let found = graphs(dir);
    if let Some(dtype) = dtype.filter(|dtype| !found.iter().any(|g| g.dtype == *dtype && g.role == "encoder")) {
        let has: Vec<&str> = found.iter().filter(|g| g.role == "encoder").map(|g| g.dtype).collect();
        return Err(PackageError::invalid(
            dir,
            format!("it has no encoder of dtype {dtype}; it has {}", has.join(", ")),
        ));
    }
    let wanted = dtype.unwrap_or("f32");
    let of = |role: &str| {
        let order = [wanted, "f32", "f16", "int8"];
        let files =
            order.iter().map(|dtype| found.iter().filter(|g| g.role == role && g.dtype == *dtype).collect::<Vec<_>>());
        match files.into_iter().find(|files| !files.is_empty()).as_deref() {
            Some([graph]) => Ok(graph.file.clone()),
            Some([a, b, ..]) => {
                let (a, b) = (a.file.display(), b.file.display());
                Err(PackageError::invalid(
                    dir,
                    format!("it has two graphs of a {role}, {a} and {b}; leave the one that is meant"),
                ))
            }
            _ => Err(PackageError::invalid(
                dir,
                format!("{role}*.onnx is missing; a transducer has an encoder, a decoder and a joiner"),
            )),
        }
    };
    Ok(TransducerFiles { encoder: of("encoder")?, decoder: of("decoder")?, joiner: of("joiner")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("temporary directory");
        files.iter().for_each(|file| std::fs::write(dir.path().join(file), "x").expect("writes"));
        dir
    }

    #[test]
    fn graphs_are_found_by_role_and_type() {
        let dir = directory(&[
            "tokens.txt",
            "encoder-epoch-99-avg-1.onnx",
            "encoder-epoch-99-avg-1.int8.onnx",
            "decoder-epoch-99-avg-1.onnx",
            "joiner-epoch-99-avg-1.onnx",
            "joiner-epoch-99-avg-1.int8.onnx",
        ]);
        assert!(is_there(dir.path()));
        let name = |dtype| choose(dir.path(), dtype).expect("they are there").encoder.display().to_string();
        assert_eq!(
            (name(None).as_str(), name(Some("int8")).as_str()),
            ("encoder-epoch-99-avg-1.onnx", "encoder-epoch-99-avg-1.int8.onnx")
        );
        let int8 = choose(dir.path(), Some("int8")).expect("they are there");
        assert_eq!(int8.decoder.display().to_string(), "decoder-epoch-99-avg-1.onnx");
        assert!(choose(dir.path(), Some("q4")).expect_err("no such").to_string().contains("int8, f32"));
    }

    #[test]
    fn what_is_missing_or_doubled_is_named() {
        let dir = directory(&["tokens.txt", "encoder.onnx", "joiner.onnx"]);
        assert!(choose(dir.path(), None).expect_err("no decoder").to_string().contains("decoder*.onnx is missing"));
        let dir = directory(&["encoder-1.onnx", "encoder-2.onnx", "decoder.onnx", "joiner.onnx"]);
        assert!(!is_there(dir.path()), "no tokens");
        assert!(choose(dir.path(), None).expect_err("two").to_string().contains("encoder-1.onnx and encoder-2.onnx"));
        assert!(!is_there(directory(&["tokens.txt", "encoder_model.onnx", "decoder_model.onnx"]).path()));
    }
}

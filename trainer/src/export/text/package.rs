//! The files of a text model's package.

use std::collections::BTreeMap;
use std::path::Path;

use linnet::store::write::write_file;
use linnet::store::{MANIFEST, file_entry};
use linnet_proto::manifest::{Canary, MANIFEST_VERSION, Manifest, TokensCanary};
use prost::Message;

use super::{Kind, TextModel, graph_path, llama, marian};
use crate::error::{Failure, Result};
use crate::export::ExportArgs;
use crate::export::onnx::external::externalize;
use crate::export::store;

/// Name of the card.
const CARD: &str = "README.md";
/// Memory beside the weights: the engine's plans and buffers, MiB.
const OVERHEAD_MIB: u64 = 12;

/// Writes the graphs into `onnx/`, and the files beside them. What both decoders of an encoder-decoder hold lies in one file beside them.
pub fn write_graphs(model: &TextModel, int8: bool, dir: &Path) -> Result<()> {
    let suffix = if int8 { "_quantized" } else { "" };
    let name = |part: &str| format!("{part}{suffix}.onnx");
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    match &model.kind {
        Kind::Seq2Seq(config) => {
            let encoder = marian::encoder(config, &model.weights, int8)?;
            files.push((name("encoder_model"), encoder.encode_to_vec()));
            let mut both = [
                marian::decoder(config, &model.weights, int8, false)?,
                marian::decoder(config, &model.weights, int8, true)?,
            ];
            let data_name = format!("{}_data", name("decoder_model"));
            let data = externalize(&mut both, &data_name);
            files.push((name("decoder_model"), both[0].encode_to_vec()));
            files.push((name("decoder_with_past_model"), both[1].encode_to_vec()));
            files.push((data_name, data));
        }
        Kind::Causal(config) => {
            files.push((name("model"), llama::decoder(config, &model.weights, int8)?.encode_to_vec()));
        }
    }
    crate::output::create_dir(&dir.join("onnx"))?;
    for (name, bytes) in files {
        write_file(&graph_path(dir, &name), &bytes).map_err(store)?;
    }
    for (name, content) in model.json_files()? {
        write_file(&dir.join(name), &content).map_err(store)?;
    }
    Ok(())
}

/// Bytes of the graphs and their data.
pub fn graph_bytes(dir: &Path) -> Result<u64> {
    Ok(graph_files(dir)?.iter().map(|(_, bytes)| bytes).sum())
}

fn graph_files(dir: &Path) -> Result<Vec<(String, u64)>> {
    let place = dir.join("onnx");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&place).map_err(|e| Failure::read(&place, e))? {
        let entry = entry.map_err(|e| Failure::read(&place, e))?;
        let metadata = entry.metadata().map_err(|e| Failure::read(&place, e))?;
        found.push((entry.file_name().to_string_lossy().into_owned(), metadata.len()));
    }
    found.sort();
    Ok(found)
}

/// Writes the card and the manifest.
pub fn write_rest(
    model: &TextModel,
    args: &ExportArgs,
    int8: bool,
    canary: TokensCanary,
    card: &str,
    dir: &Path,
) -> Result<()> {
    let mut names: Vec<String> = graph_files(dir)?.into_iter().map(|(name, _)| format!("onnx/{name}")).collect();
    names.extend(model.json_files()?.into_iter().map(|(name, _)| name.to_owned()));
    write_file(&dir.join(CARD), card.as_bytes()).map_err(store)?;
    names.push(CARD.into());
    let mut files = BTreeMap::new();
    for name in names {
        let entry = file_entry(&dir.join(&name)).map_err(store)?;
        files.insert(name, entry);
    }
    let (family, task) = match model.kind {
        Kind::Seq2Seq(_) => ("marian", "translate"),
        Kind::Causal(_) => ("llama", "generate"),
    };
    // The engine holds weights as floats whatever their file has.
    let held = (4 * model.parameters() as u64).div_ceil(1 << 20);
    let manifest = Manifest {
        manifest_version: MANIFEST_VERSION,
        name: args.name.clone(),
        version: args.version.clone(),
        aliases: args.aliases.iter().filter(|alias| !alias.is_empty()).cloned().collect(),
        tasks: vec![task.to_owned()],
        languages: args.languages.clone(),
        pairs: match (&model.kind, args.languages.split_first()) {
            (Kind::Seq2Seq(_), Some((from, others))) => others.iter().map(|to| format!("{from}-{to}")).collect(),
            _ => Vec::new(),
        },
        license: args.license.clone(),
        description: args.description.clone(),
        family: family.to_owned(),
        memory_mib: (held + OVERHEAD_MIB).next_multiple_of(4),
        files,
        dtype: Some(if int8 { "int8" } else { "f32" }.to_owned()),
        canary: Some(Canary::Tokens(canary)),
    };
    let text = toml::to_string(&manifest).map_err(|error| Failure::software(error.to_string()))?;
    write_file(&dir.join(MANIFEST), text.as_bytes()).map_err(store)
}

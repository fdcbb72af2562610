//! The files of a package, written into a directory.

use std::collections::BTreeMap;
use std::path::Path;

use linnet::store::write::write_file;
use linnet::store::{CONFIG, CTC_FAMILY, MANIFEST, TOKENIZER, file_entry};
use linnet::task::decode::units::{Units, UnitsError};
use linnet::task::decode::{NgramLm, lm};
use linnet_proto::manifest::{Canary, CanarySearch, CanaryStatus, MANIFEST_VERSION, Manifest, SpeechCanary};
use linnet_proto::model_config::{CtcConfig, DecodingDefaults, UnitKind};
use prost::Message;

use super::trained::Trained;
use super::{Precision, encoder};
use crate::error::{Failure, Result};

/// Name of the graph.
pub const ONNX: &str = "model.onnx";
/// Name of the language model.
pub const LM: &str = "lm.bin";
/// Name of the canary's clip.
pub const CANARY: &str = "canary.wav";
/// Name of the card.
pub const CARD: &str = "README.md";
/// Blank's id in every model of ours.
const BLANK: usize = 0;
/// Difference of a canary's log-probability that is accepted: a hundred times what rounding makes on other
/// instruction sets, and a fraction of what damage does.
const TOLERANCE: f64 = 1e-3;

/// What a package says of itself.
#[derive(Debug, Clone)]
pub struct About {
    /// Name that requests use.
    pub name: String,
    /// Version.
    pub version: String,
    /// Other names.
    pub aliases: Vec<String>,
    /// Languages, the main one first.
    pub languages: Vec<String>,
    /// SPDX expression.
    pub license: String,
    /// One line for people.
    pub description: String,
}

/// Everything that goes into a package.
#[derive(Debug, Clone)]
pub struct Contents<'a> {
    /// What it says of itself.
    pub about: About,
    /// Defaults of the search.
    pub decoding: DecodingDefaults,
    /// The clip, a WAV file.
    pub canary_audio: Vec<u8>,
    /// The clip's answer.
    pub canary: SpeechCanary,
    /// The card, Markdown.
    pub card: String,
    /// Memory that it needs, MiB.
    pub memory_mib: u64,
    /// How the weights are stored.
    pub precision: Precision,
    /// The graph's file.
    pub onnx: Vec<u8>,
    /// The language model's file.
    pub lm: Option<Vec<u8>>,
    /// Longest audio of one run, seconds.
    pub max_segment_secs: f64,
    /// What a unit is.
    pub unit_kind: UnitKind,
    trained: &'a Trained,
}

impl<'a> Contents<'a> {
    /// Builds the graph; canary, card and memory are provisional.
    pub fn new(
        about: About,
        trained: &'a Trained,
        precision: Precision,
        lm: Option<Vec<u8>>,
        max_segment_secs: f64,
    ) -> Result<Self> {
        let onnx = encoder(trained, precision)?.encode_to_vec();
        let decoding = match lm {
            Some(_) => DecodingDefaults::default(),
            None => DecodingDefaults { lm_weight: 0.0, word_bonus: 0.0, ..DecodingDefaults::default() },
        };
        Ok(Self {
            about,
            decoding,
            canary_audio: silence(),
            canary: SpeechCanary {
                status: CanaryStatus::Recorded,
                audio: CANARY.into(),
                text: String::new(),
                search: CanarySearch::Package,
                logprob: 0.0,
                logprob_tolerance: TOLERANCE,
            },
            card: String::new(),
            memory_mib: 1,
            precision,
            onnx,
            lm,
            max_segment_secs,
            unit_kind: unit_kind(trained)?,
            trained,
        })
    }

    /// Numbers in all tensors.
    pub fn parameters(&self) -> usize {
        self.trained.parameters()
    }

    /// Bytes of what weighs: graph, units, language model, clip.
    pub fn bytes(&self) -> usize {
        let lm = self.lm.as_ref().map_or(0, Vec::len);
        self.onnx.len() + self.trained.tokenizer.len() + lm + self.canary_audio.len()
    }

    /// Another precision of the same weights, with the same search.
    pub fn in_precision(&self, about: About, precision: Precision) -> Result<Self> {
        let other = Self::new(about, self.trained, precision, self.lm.clone(), self.max_segment_secs)?;
        Ok(Self { decoding: self.decoding.clone(), ..other })
    }

    /// Writes every file, the manifest last. The directory must exist.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let config = serde_json::to_string_pretty(&self.config()).map_err(|e| Failure::software(e.to_string()))?;
        let mut files: Vec<(&str, &[u8])> = vec![
            (ONNX, &self.onnx),
            (TOKENIZER, &self.trained.tokenizer),
            (CONFIG, config.as_bytes()),
            (CANARY, &self.canary_audio),
            (CARD, self.card.as_bytes()),
        ];
        files.extend(self.lm.as_deref().map(|lm| (LM, lm)));
        let mut entries = BTreeMap::new();
        for (name, bytes) in files {
            let path = dir.join(name);
            write_file(&path, bytes)?;
            entries.insert(name.to_owned(), file_entry(&path)?);
        }
        let about = self.about.clone();
        let manifest = Manifest {
            manifest_version: MANIFEST_VERSION,
            name: about.name,
            version: about.version,
            aliases: about.aliases,
            tasks: vec!["transcribe".into()],
            languages: about.languages,
            license: about.license,
            description: about.description,
            family: CTC_FAMILY.into(),
            memory_mib: self.memory_mib,
            files: entries,
            pairs: Vec::new(),
            dtype: None,
            canary: Some(Canary::Speech(self.canary.clone())),
        };
        let text = toml::to_string(&manifest).map_err(|e| Failure::software(e.to_string()))?;
        Ok(write_file(&dir.join(MANIFEST), text.as_bytes())?)
    }

    fn config(&self) -> CtcConfig {
        let shape = &self.trained.config;
        CtcConfig {
            model_type: CTC_FAMILY.into(),
            sample_rate: linnet_features::audio::SAMPLE_RATE,
            mel_bins: shape.mel_bins,
            frame_shift_ms: 10.0,
            normalization: shape.normalization,
            subsampling: shape.subsampling,
            blank_id: BLANK,
            units: shape.units,
            max_segment_secs: self.max_segment_secs,
            unit_kind: self.unit_kind,
            onnx: ONNX.into(),
            language_model: self.lm.as_ref().map(|_| LM.into()),
            decoding: self.decoding.clone(),
        }
    }
}

/// What the run says; else characters where every unit is one, and pieces where not.
fn unit_kind(trained: &Trained) -> Result<UnitKind> {
    let read = |kind| Units::from_tokenizer_json(&trained.tokenizer, trained.config.units, BLANK, kind);
    let first = trained.config.unit_kind.unwrap_or(UnitKind::Characters);
    match read(first) {
        Ok(_) if first == UnitKind::Bpe => Ok(UnitKind::Bpe),
        Ok(_) => Ok(UnitKind::Characters),
        Err(UnitsError::NotACharacter { .. }) if trained.config.unit_kind.is_none() => match read(UnitKind::Bpe) {
            Ok(_) => Ok(UnitKind::Bpe),
            Err(error) => Err(Failure::data(error.to_string())),
        },
        Err(error) => Err(Failure::data(error.to_string())),
    }
}

/// Reads and checks a language model; its bytes.
pub fn read_lm(path: &Path) -> Result<Vec<u8>> {
    let bytes = std::fs::metadata(path).map_err(|e| Failure::read(path, e))?.len();
    let wrong = |reason: String| Failure::data(format!("{}: {reason}", path.display()));
    if bytes > lm::MAX_FILE_BYTES as u64 {
        return Err(wrong(format!("the language model has {bytes} bytes; at most {} are taken", lm::MAX_FILE_BYTES)));
    }
    let bytes = std::fs::read(path).map_err(|e| Failure::read(path, e))?;
    NgramLm::read(&bytes).map_err(|e| wrong(e.to_string()))?;
    Ok(bytes)
}

/// A tenth of a second of silence, for packages that are made for the occasion.
fn silence() -> Vec<u8> {
    const BYTES: u32 = 3200;
    let rate = linnet_features::audio::SAMPLE_RATE;
    let mut wav = b"RIFF".to_vec();
    wav.extend((36 + BYTES).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend(rate.to_le_bytes());
    wav.extend((2 * rate).to_le_bytes());
    wav.extend(b"\x02\0\x10\0data");
    wav.extend(BYTES.to_le_bytes());
    wav.resize(wav.len() + BYTES as usize, 0);
    wav
}

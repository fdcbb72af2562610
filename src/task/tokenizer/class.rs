//! Which tokenizer a package has, by the names that `transformers` gives.

/// What decides how a package's tokenizer files are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    T5,
    Marian,
    M2m100,
    Nllb,
    Mbart,
    Mbart50,
    XlmRoberta,
    Llama,
    Gemma,
    Gpt2,
    Roberta,
    Whisper,
    Qwen2,
    Bert,
    Mpnet,
    /// Whatever `tokenizer.json` says.
    Other,
}

impl Class {
    /// From `tokenizer_class`, such as `T5TokenizerFast`.
    pub(super) fn from_tokenizer_class(name: &str) -> Option<Self> {
        let name = name.trim_end_matches("Fast").trim_end_matches("Tokenizer");
        Some(match name {
            "T5" | "MT5" => Self::T5,
            "Marian" => Self::Marian,
            "M2M100" => Self::M2m100,
            "Nllb" => Self::Nllb,
            "MBart" => Self::Mbart,
            "MBart50" => Self::Mbart50,
            "XLMRoberta" => Self::XlmRoberta,
            "Llama" | "CodeLlama" => Self::Llama,
            "Gemma" => Self::Gemma,
            "GPT2" => Self::Gpt2,
            "Roberta" | "Bart" | "Longformer" | "LED" => Self::Roberta,
            "Whisper" => Self::Whisper,
            "Qwen2" => Self::Qwen2,
            "Bert" | "DistilBert" | "Electra" | "MobileBert" | "ConvBert" | "SqueezeBert" => Self::Bert,
            "MPNet" => Self::Mpnet,
            "PreTrained" => Self::Other,
            _ => return None,
        })
    }

    /// From `model_type` of `config.json`.
    pub(super) fn from_model_type(name: &str) -> Option<Self> {
        Some(match name {
            "t5" | "mt5" | "umt5" | "longt5" => Self::T5,
            "marian" => Self::Marian,
            "m2m_100" => Self::M2m100,
            "nllb-moe" => Self::Nllb,
            "mbart" => Self::Mbart,
            "xlm-roberta" | "xlm-roberta-xl" => Self::XlmRoberta,
            "llama" | "mistral" | "mixtral" | "phi3" => Self::Llama,
            "gemma" | "gemma2" | "gemma3" | "gemma3_text" => Self::Gemma,
            "gpt2" => Self::Gpt2,
            "roberta" | "bart" | "longformer" | "led" => Self::Roberta,
            "whisper" => Self::Whisper,
            "qwen2" | "qwen3" => Self::Qwen2,
            "bert" | "distilbert" | "electra" | "mobilebert" | "convbert" | "squeezebert" => Self::Bert,
            "mpnet" => Self::Mpnet,
            _ => return None,
        })
    }

    /// From the files alone.
    pub(super) fn from_files(has: impl Fn(&str) -> bool) -> Self {
        if has("source.spm") {
            Self::Marian
        } else if has("spiece.model") {
            Self::T5
        } else if has("sentencepiece.bpe.model") {
            if has("vocab.json") { Self::M2m100 } else { Self::XlmRoberta }
        } else if has("tokenizer.model") {
            Self::Llama
        } else if has("vocab.json") && has("merges.txt") {
            Self::Gpt2
        } else if has("vocab.txt") {
            Self::Bert
        } else {
            Self::Other
        }
    }

    /// Whether a mask takes the blank before it along.
    pub(super) fn mask_strips_left(self) -> bool {
        use Class::{Mbart, Mbart50, Mpnet, Nllb, Roberta, XlmRoberta};
        matches!(self, Mbart | Mbart50 | Mpnet | Nllb | Roberta | XlmRoberta)
    }

    /// Special tokens where the package names none: beginning, end, unknown, separator, padding, class, mask.
    pub(super) fn special_tokens(self) -> [Option<&'static str>; 7] {
        let (s, end, unk, pad, mask) = (Some("<s>"), Some("</s>"), Some("<unk>"), Some("<pad>"), Some("<mask>"));
        let gpt = Some("<|endoftext|>");
        match self {
            Self::T5 | Self::Marian => [None, end, unk, None, pad, None, None],
            Self::M2m100 => [s, end, unk, end, pad, None, None],
            Self::Nllb | Self::Mbart | Self::XlmRoberta | Self::Roberta => [s, end, unk, end, pad, s, mask],
            Self::Mbart50 => [None, end, unk, end, pad, s, mask],
            Self::Llama => [s, end, unk, None, None, None, None],
            Self::Gemma => [Some("<bos>"), Some("<eos>"), unk, None, pad, None, None],
            Self::Gpt2 => [gpt, gpt, gpt, None, None, None, None],
            Self::Whisper => [gpt, gpt, gpt, None, None, None, None],
            Self::Qwen2 => [None, gpt, gpt, None, gpt, None, None],
            Self::Bert => [None, None, Some("[UNK]"), Some("[SEP]"), Some("[PAD]"), Some("[CLS]"), Some("[MASK]")],
            Self::Mpnet => [s, end, Some("[UNK]"), end, pad, s, mask],
            Self::Other => [None; 7],
        }
    }
}

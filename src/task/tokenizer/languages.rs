//! How a multilingual model is told a language.

use super::layout::Layout;
pub(super) use crate::store::languages::{M2M100, MBART, MBART50, NLLB, WMT21};

/// How a multilingual model is told a language, and which it has.
#[derive(Debug)]
pub(super) struct Languages {
    /// Code and id of its token.
    tokens: Vec<(String, u32)>,
    scheme: Scheme,
    /// The source where a request names none.
    default: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    /// The source's token before the text, `</s>` after it: M2M100, NLLB, mBART-50.
    SourceFirst { eos: u32 },
    /// `</s>` and the source's token after the text: mBART, NLLB as it first was.
    SourceLast { eos: u32 },
    /// The target's token before the text: Marian with several targets (`>>fra<<`).
    TargetFirst { eos: u32 },
}

impl Languages {
    pub(super) fn new(tokens: Vec<(String, u32)>, scheme: Scheme, default: Option<String>) -> Self {
        Self { tokens, scheme, default }
    }

    pub(super) fn codes(&self) -> impl Iterator<Item = &str> {
        self.tokens.iter().map(|(code, _)| code.as_str())
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = u32> {
        self.tokens.iter().map(|(_, id)| *id)
    }

    /// The token of a language.
    pub(super) fn id(&self, code: &str) -> Result<u32, String> {
        let code = code.strip_prefix(">>").and_then(|c| c.strip_suffix("<<")).unwrap_or(code);
        self.tokens.iter().find(|(c, _)| c == code).map(|(_, id)| *id).ok_or_else(|| {
            let listed: Vec<&str> = self.codes().take(20).collect();
            let more = if self.tokens.len() > listed.len() { ", …" } else { "" };
            format!("the model has no language {code:?}; it has {}{more}", listed.join(", "))
        })
    }

    /// Around a text in `source` that is to become one in `target`.
    pub(super) fn layout(&self, source: Option<&str>, target: Option<&str>) -> Result<Layout, String> {
        let named = if matches!(self.scheme, Scheme::TargetFirst { .. }) { target } else { source };
        let language = named.or(self.default.as_deref()).map(|code| self.id(code)).transpose()?;
        let language: Vec<u32> = language.into_iter().collect();
        Ok(match self.scheme {
            Scheme::SourceFirst { eos } | Scheme::TargetFirst { eos } => Layout::around(&language, &[], &[eos]),
            Scheme::SourceLast { eos } => Layout::around(&[], &[], &[&[eos], language.as_slice()].concat()),
        })
    }
}

//! `evaluate` of a text model: chrF and perplexity of pairs, perplexity of documents.

use serde_json::json;

use super::EvaluateArgs;
use crate::error::Result;
use crate::export::text::{Judged, Set, TextModel, judge};

/// Judges the weights in `args.model` on each file.
pub fn run(args: &EvaluateArgs) -> Result<()> {
    let mut model = TextModel::open(&args.model)?;
    if args.rounded {
        model = model.rounded()?;
    }
    for path in &args.manifest {
        let set = Set::read(&model.kind, path)?;
        let judged = judge(&model, &set)?;
        if args.json {
            let Judged { rows, tokens, loss, bits_per_char, chrf, written } = &judged;
            let mut object = json!({
                "set": path, "model": args.model, "rounded": args.rounded, "rows": rows, "tokens": tokens, "loss": loss,
                "perplexity": judged.perplexity(), "bits_per_char": bits_per_char, "chrf": chrf,
            });
            if args.texts {
                object["texts"] = json!(texts(&set, written));
            }
            println!("{object}");
        } else {
            println!("{}: {} of {} rows", path.display(), judged.said(), judged.rows);
            if args.texts {
                for [source, target, written] in texts(&set, &judged.written) {
                    println!("  source: {source}\n  target: {target}\n  written: {written}");
                }
            }
        }
    }
    Ok(())
}

/// Source, target and what was written of each pair.
fn texts<'a>(set: &'a Set, written: &'a [String]) -> Vec<[&'a str; 3]> {
    match set {
        Set::Pairs(pairs) => {
            pairs.iter().zip(written).map(|(pair, written)| [&*pair.source, &*pair.target, written.as_str()]).collect()
        }
        Set::Documents(_) => Vec::new(),
    }
}

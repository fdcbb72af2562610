//! Greedy translation with the float weights, for validation.

use burn::tensor::Int;
use burn::tensor::Tensor;

use crate::data::text::Vocabulary;
use crate::data::token_batch;
use crate::error::Result;
use crate::export::text::Written;
use crate::model::Bound;
use crate::model::seq2seq::{Seq2Seq, Seq2SeqConfig, Texts};

/// The most likely next token again and again, until all texts have ended or are half as long again as their sources and ten
/// tokens more. A batch takes `batch_tokens` source tokens.
pub fn translate(
    config: &Seq2SeqConfig,
    bound: &Bound,
    vocabulary: &Vocabulary,
    sources: &[&str],
    batch_tokens: usize,
) -> Result<Vec<String>> {
    let ids = vocabulary.encode(sources.to_vec())?;
    let ids: Vec<Vec<u32>> =
        ids.iter().map(|ids| ids.iter().copied().take(config.positions - 1).chain([config.eos]).collect()).collect();
    let lengths: Vec<[usize; 2]> = ids.iter().map(|ids| [ids.len(), 0]).collect();
    let mut made = vec![String::new(); sources.len()];
    for batch in token_batch::plan(&lengths, batch_tokens, [0, 0]) {
        let picked: Vec<&Vec<u32>> = batch.iter().map(|row| &ids[*row]).collect();
        let targets = greedy(config, bound, &picked);
        for (row, target) in batch.iter().zip(targets) {
            made[*row] = vocabulary.decode(&target)?;
        }
    }
    Ok(made)
}

/// Targets of sources, the ends left out.
fn greedy(config: &Seq2SeqConfig, bound: &Bound, sources: &[&Vec<u32>]) -> Vec<Vec<u32>> {
    let model = Seq2Seq::new(config, bound, None);
    let texts = Texts::new(sources, config.pad);
    let encoded = model.encode(&texts);
    let most = (texts.rows * 3 / 2 + 10).min(config.positions - 1);
    let mut targets: Vec<Vec<u32>> = vec![vec![config.pad]; sources.len()];
    let mut ended = vec![false; sources.len()];
    for rows in 1..=most {
        let inputs = Texts::new(&targets, config.pad);
        let logits = model.decode(encoded.clone(), &texts, &inputs);
        let last = logits.reshape([sources.len(), rows, config.vocab]).narrow(1, rows - 1, 1);
        let next: Tensor<3, Int> = last.argmax(2);
        let next: Vec<i64> = next.into_data().iter::<i64>().collect();
        for ((target, ended), next) in targets.iter_mut().zip(&mut ended).zip(next) {
            *ended |= next as u32 == config.eos;
            target.push(if *ended { config.eos } else { next as u32 });
        }
        if ended.iter().all(|ended| *ended) {
            break;
        }
    }
    targets.into_iter().map(|ids| ids.into_iter().skip(1).take_while(|id| *id != config.eos).collect()).collect()
}

/// The `most` tokens that are written for one source (its end included), one after the other, beyond the end where it comes
/// sooner.
pub fn write(config: &Seq2SeqConfig, bound: &Bound, source: &[u32], most: usize) -> Written {
    let model = Seq2Seq::new(config, bound, None);
    let texts = Texts::new(&[source], config.pad);
    let encoded = model.encode(&texts);
    let mut inputs = vec![config.pad];
    let mut written = Written::default();
    while written.ids.len() < most {
        let logits = model.decode(encoded.clone(), &texts, &Texts::new(&[&inputs], config.pad));
        let last: Vec<f32> = logits.narrow(0, inputs.len() - 1, 1).into_data().iter::<f32>().collect();
        inputs.push(written.take(&last));
    }
    written
}

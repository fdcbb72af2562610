//! Weights by the names that `transformers` gives them, so that its classes load them: `MarianMTModel` and `LlamaForCausalLM`.

use safetensors::tensor::{Dtype, TensorView};

use crate::error::{Failure, Result};
use crate::model::Weights;
use crate::model::causal::CausalConfig;
use crate::model::seq2seq::Seq2SeqConfig;

/// Tensors under their names.
#[derive(Default)]
struct Named(Vec<(String, Vec<usize>, Vec<f32>)>);

impl Named {
    fn push(&mut self, name: String, shape: &[usize], values: Vec<f32>) {
        self.0.push((name, shape.to_vec(), values));
    }

    /// Copies a tensor as it is.
    fn copy(&mut self, weights: &Weights, from: &str, to: &str) {
        let (shape, values) = tensor(weights, from);
        self.push(to.into(), shape, values.to_vec());
    }

    /// A matrix `[in, out]` cut into equal parts of its outputs, each turned to `[out, in]`, with its bias where it has one.
    fn turned(&mut self, weights: &Weights, from: &str, to: &[String]) {
        let (shape, values) = tensor(weights, &format!("{from}.weight"));
        let (input, output) = (shape[0], shape[1] / to.len());
        for (part, name) in to.iter().enumerate() {
            let at = |i: usize| values[(i % input) * shape[1] + part * output + i / input];
            self.push(format!("{name}.weight"), &[output, input], (0..input * output).map(at).collect());
            if let Some((_, bias)) = weights.tensor(&format!("{from}.bias")) {
                self.push(format!("{name}.bias"), &[output], bias[part * output..(part + 1) * output].to_vec());
            }
        }
    }

    fn norm(&mut self, weights: &Weights, from: &str, to: &str) {
        for part in ["weight", "bias"] {
            self.copy(weights, &format!("{from}.{part}"), &format!("{to}.{part}"));
        }
    }

    fn to_safetensors(&self) -> Result<Vec<u8>> {
        let software = |error: safetensors::SafeTensorError| Failure::software(error.to_string());
        let bytes: Vec<Vec<u8>> =
            self.0.iter().map(|(.., values)| values.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
        let views = self.0.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
            Ok((name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(software)?))
        });
        let views: Vec<_> = views.collect::<Result<_>>()?;
        let header = std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]);
        safetensors::serialize(views, Some(header)).map_err(software)
    }
}

fn tensor<'w>(weights: &'w Weights, name: &str) -> (&'w [usize], &'w [f32]) {
    weights.tensor(name).expect("the layout has every tensor of its configuration")
}

/// The bytes of `model.safetensors` for `MarianMTModel`.
pub fn marian(config: &Seq2SeqConfig, weights: &Weights) -> Result<Vec<u8>> {
    let mut named = Named::default();
    named.copy(weights, "shared.weight", "model.shared.weight");
    let (_, bias) = tensor(weights, "logits.bias");
    named.push("final_logits_bias".into(), &[1, config.vocab], bias.to_vec());
    let positions = config.sinusoids(config.positions);
    for (side, layers) in [("encoder", config.encoder_layers), ("decoder", config.decoder_layers)] {
        let name = format!("model.{side}.embed_positions.weight");
        named.push(name, &[config.positions, config.d_model], positions.clone());
        for i in 0..layers {
            let (from, to) = (format!("{side}.{i}"), format!("model.{side}.layers.{i}"));
            let mut attentions = vec![("self", "self_attn")];
            if side == "decoder" {
                attentions.push(("cross", "encoder_attn"));
            }
            for (own, theirs) in attentions {
                let parts = |names: &[&str]| -> Vec<String> {
                    names.iter().map(|name| format!("{to}.{theirs}.{name}_proj")).collect()
                };
                named.turned(weights, &format!("{from}.{own}.q"), &parts(&["q"]));
                named.turned(weights, &format!("{from}.{own}.kv"), &parts(&["k", "v"]));
                named.turned(weights, &format!("{from}.{own}.out"), &parts(&["out"]));
                named.norm(weights, &format!("{from}.{own}.norm"), &format!("{to}.{theirs}_layer_norm"));
            }
            named.turned(weights, &format!("{from}.ff.in"), &[format!("{to}.fc1")]);
            named.turned(weights, &format!("{from}.ff.out"), &[format!("{to}.fc2")]);
            named.norm(weights, &format!("{from}.ff.norm"), &format!("{to}.final_layer_norm"));
        }
    }
    named.to_safetensors()
}

/// The bytes of `model.safetensors` for `LlamaForCausalLM`.
pub fn llama(config: &CausalConfig, weights: &Weights) -> Result<Vec<u8>> {
    let mut named = Named::default();
    named.copy(weights, "tokens.weight", "model.embed_tokens.weight");
    named.copy(weights, "norm.weight", "model.norm.weight");
    for i in 0..config.layers {
        let (from, to) = (format!("layers.{i}"), format!("model.layers.{i}"));
        let parts = |room: &str, names: &[&str]| -> Vec<String> {
            names.iter().map(|name| format!("{to}.{room}.{name}_proj")).collect()
        };
        named.turned(weights, &format!("{from}.q"), &parts("self_attn", &["q"]));
        named.turned(weights, &format!("{from}.kv"), &parts("self_attn", &["k", "v"]));
        named.turned(weights, &format!("{from}.out"), &parts("self_attn", &["o"]));
        named.turned(weights, &format!("{from}.gate_up"), &parts("mlp", &["gate", "up"]));
        named.turned(weights, &format!("{from}.down"), &parts("mlp", &["down"]));
        named.copy(weights, &format!("{from}.attn_norm.weight"), &format!("{to}.input_layernorm.weight"));
        named.copy(weights, &format!("{from}.ff_norm.weight"), &format!("{to}.post_attention_layernorm.weight"));
    }
    named.to_safetensors()
}

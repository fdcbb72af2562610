//! What the graphs of text models are made of.

use crate::error::Result;
use crate::export::onnx::{Built, Dim, Graph, Value};
use crate::export::quantize;
use crate::model::Weights;

/// What is added to the score of a key that must not be seen: e to this is 0, and no sum of it overflows.
pub const UNSEEN: f32 = -1e9;

/// Size of a batch.
pub const BATCH: Dim = Dim::Named("batch_size");

/// A graph that is built of weights.
pub struct Parts<'a> {
    /// The graph.
    pub graph: Graph,
    /// The weights.
    pub weights: &'a Weights,
    /// Whether matrices are stored as bytes (`docs/decisions/0005-int8-stored-f32-multiplied.md`).
    pub int8: bool,
}

impl Parts<'_> {
    fn values(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let (shape, values) = self.weights.tensor(name).expect("the layout has every tensor of its configuration");
        (shape.to_vec(), values.to_vec())
    }

    /// A tensor as floats.
    pub fn floats(&mut self, name: &str) -> Result<Value<f32>> {
        let (shape, values) = self.values(name);
        Ok(self.graph.constant(name, &shape, &values)?)
    }

    /// `x · weight` over the last axis; `name.weight` is `[in, out]`.
    pub fn product(&mut self, x: &Value<f32>, name: &str) -> Result<Value<f32>> {
        let (shape, values) = self.values(&format!("{name}.weight"));
        let out = shape[1];
        let matrix = if self.int8 {
            let (bytes, scale, zero) = self.bytes(name, &shape, &values, |i| i % out, out)?;
            self.graph.dequantize(&bytes, &scale, &zero, 1)?
        } else {
            self.graph.constant(&format!("{name}.weight"), &shape, &values)?
        };
        Ok(self.graph.matmul(x, &matrix)?)
    }

    /// `x · weight + bias` over the last axis.
    pub fn linear(&mut self, x: &Value<f32>, name: &str) -> Result<Value<f32>> {
        let y = self.product(x, name)?;
        let bias = self.floats(&format!("{name}.bias"))?;
        Ok(self.graph.add(&y, &bias)?)
    }

    fn bytes(
        &mut self,
        name: &str,
        shape: &[usize],
        values: &[f32],
        channel: impl Fn(usize) -> usize,
        channels: usize,
    ) -> Built<(Value<i8>, Value<f32>, Value<i8>)> {
        let q = quantize::per_channel(values, channels, channel);
        Ok((
            self.graph.constant(&format!("{name}.weight_int8"), shape, &q.bytes)?,
            self.graph.constant(&format!("{name}.weight_scale"), &[channels], &q.scales)?,
            self.graph.constant(&format!("{name}.weight_zero"), &[channels], &vec![0i8; channels])?,
        ))
    }

    /// The table of tokens `name.weight` `[tokens, width]`.
    pub fn table(&mut self, name: &str) -> Result<Table> {
        let (shape, values) = self.values(&format!("{name}.weight"));
        if !self.int8 {
            return Ok(Table::Floats(self.graph.constant(&format!("{name}.weight"), &shape, &values)?));
        }
        let (bytes, scale, zero) = self.bytes(name, &shape, &values, |i| i / shape[1], shape[0])?;
        Ok(Table::Bytes { bytes, scale, zero })
    }

    /// Rows of the table, scaled: `[…ids, width]`.
    pub fn embed(&mut self, table: &Table, ids: &Value<i64>, factor: f32) -> Result<Value<f32>> {
        let g = &mut self.graph;
        let rows = match table {
            Table::Floats(table) => g.gather(table, ids)?,
            Table::Bytes { bytes, scale, .. } => {
                let rows = g.gather(bytes, ids)?;
                let rows: Value<f32> = g.cast(&rows);
                let scale = g.gather(scale, ids)?;
                let shape = [scale.shape(), &[Dim::Known(1)]].concat();
                let scale = g.reshape(&scale, &shape)?;
                g.mul(&rows, &scale)?
            }
        };
        if factor == 1.0 {
            return Ok(rows);
        }
        let factor = g.literal(&[], &[factor])?;
        Ok(g.mul(&rows, &factor)?)
    }

    /// `x · tableᵀ`.
    pub fn logits(&mut self, x: &Value<f32>, table: &Table) -> Result<Value<f32>> {
        let g = &mut self.graph;
        let matrix = match table {
            Table::Floats(table) => table.clone(),
            Table::Bytes { bytes, scale, zero } => g.dequantize(bytes, scale, zero, 0)?,
        };
        let matrix = g.transpose(&matrix, &[1, 0])?;
        Ok(g.matmul(x, &matrix)?)
    }

    /// A layer norm.
    pub fn norm(&mut self, x: &Value<f32>, name: &str) -> Result<Value<f32>> {
        let (gain, bias) = (self.floats(&format!("{name}.weight"))?, self.floats(&format!("{name}.bias"))?);
        let g = &mut self.graph;
        // The engine has the norm by the mean square as one operation, and this one not.
        let mean = g.mean(x);
        let x = g.sub(x, &mean)?;
        let x = g.rms_norm(&x, &gain, crate::model::ops::layer_norm::EPSILON)?;
        Ok(g.add(&x, &bias)?)
    }

    /// `[batch, rows, heads · width]` → `[batch, heads, rows, width]`.
    pub fn split(&mut self, x: &Value<f32>, heads: usize, width: usize) -> Result<Value<f32>> {
        let x = self.graph.reshape(x, &[x.shape()[0], x.shape()[1], heads.into(), width.into()])?;
        Ok(self.graph.transpose(&x, &[0, 2, 1, 3])?)
    }

    /// Keys and values `[batch, rows, 2 · heads · width]` → two of `[batch, heads, rows, width]`.
    pub fn split_kv(&mut self, kv: &Value<f32>, heads: usize, width: usize) -> Result<Kv> {
        let key = self.graph.slice(kv, 2, 0, heads * width)?;
        let value = self.graph.slice(kv, 2, heads * width, 2 * heads * width)?;
        Ok(Kv { key: self.split(&key, heads, width)?, value: self.split(&value, heads, width)? })
    }

    /// Queries `[batch, heads, rows, width]`, keys and values `[batch, kv heads, keys, width]`, and a mask that stretches to
    /// `[batch, heads, rows, keys]` (`[batch, kv heads, heads / kv heads, rows, keys]` where the two differ) →
    /// `[batch, rows, heads · width]`.
    pub fn attend(&mut self, queries: &Value<f32>, kv: &Kv, mask: &Value<f32>) -> Result<Value<f32>> {
        let (&[batch, Dim::Known(heads), rows, Dim::Known(width)], &[_, Dim::Known(kv_heads), keys, _]) =
            (queries.shape(), kv.key.shape())
        else {
            return Ok(self.graph.wrong("Attention", "the heads must be known".into())?);
        };
        let g = &mut self.graph;
        let scale = g.literal(&[], &[(width as f32).sqrt().recip()])?;
        let queries = g.mul(queries, &scale)?;
        let key = g.transpose(&kv.key, &[0, 1, 3, 2])?;
        let y = if heads == kv_heads {
            let scores = g.matmul(&queries, &key)?;
            let scores = g.add(&scores, mask)?;
            let weights = g.softmax(&scores);
            let y = g.matmul(&weights, &kv.value)?;
            g.transpose(&y, &[0, 2, 1, 3])?
        } else {
            let shared = heads / kv_heads;
            let [kv_dim, shared_dim, width_dim] = [kv_heads, shared, width].map(Dim::Known);
            let queries = g.reshape(&queries, &[batch, kv_dim, shared_dim, rows, width_dim])?;
            let key = g.reshape(&key, &[batch, kv_dim, 1.into(), width_dim, keys])?;
            let value = g.reshape(&kv.value, &[batch, kv_dim, 1.into(), keys, width_dim])?;
            let scores = g.matmul(&queries, &key)?;
            let scores = g.add(&scores, mask)?;
            let weights = g.softmax(&scores);
            let y = g.matmul(&weights, &value)?;
            g.transpose(&y, &[0, 3, 1, 2, 4])?
        };
        Ok(g.reshape(&y, &[batch, rows, (heads * width).into()])?)
    }

    /// 0 where `seen`, else [`UNSEEN`].
    pub fn mask(&mut self, seen: &Value<bool>) -> Result<Value<f32>> {
        let g = &mut self.graph;
        let (nothing, unseen) = (g.literal(&[], &[0f32])?, g.literal(&[], &[UNSEEN])?);
        Ok(g.choose(seen, &nothing, &unseen)?)
    }
}

/// A table of tokens.
pub enum Table {
    /// As floats.
    Floats(Value<f32>),
    /// As bytes with a scale for each token.
    Bytes {
        /// `[tokens, width]`.
        bytes: Value<i8>,
        /// `[tokens]`.
        scale: Value<f32>,
        /// `[tokens]`, zeros.
        zero: Value<i8>,
    },
}

/// Keys and values, `[batch, heads, rows, width]` each.
#[derive(Clone)]
pub struct Kv {
    /// Keys.
    pub key: Value<f32>,
    /// Values.
    pub value: Value<f32>,
}

//! Operators as functions: each checks its rule, says the shape of its result, and adds one node (or a few).

use super::graph::{Attribute, Built, Graph};
use super::value::{Dim, Element, Value, show};

/// Sizes and padding of one spatial axis of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    /// Kernel.
    pub kernel: usize,
    /// Stride, 1 or 2.
    pub stride: usize,
    /// Zeros before and after.
    pub pads: (usize, usize),
}

impl Axis {
    /// Length of the result.
    fn convolved(self, dim: Dim) -> Option<Dim> {
        let padding = self.pads.0 + self.pads.1;
        match dim {
            Dim::Known(n) => Some(Dim::Known((n + padding).checked_sub(self.kernel)? / self.stride + 1)),
            // (n + kernel − 1 − kernel) / stride + 1 = ceil(n / stride), and ceil(ceil(n / 2) / 2) = ceil(n / 4).
            Dim::Frames { halvings } if padding + 1 == self.kernel => match self.stride {
                1 => Some(dim),
                2 => Some(Dim::Frames { halvings: halvings + 1 }),
                _ => None,
            },
            Dim::Frames { .. } | Dim::Named(_) => None,
        }
    }
}

impl Graph {
    fn unary<T: Element>(&mut self, op: &str, x: &Value<T>) -> Value<T> {
        self.node(op, &[x.name()], vec![], x.shape())
    }

    fn binary<T: Element, U: Element>(&mut self, op: &str, a: &Value<T>, b: &Value<T>) -> Built<Value<U>> {
        let shape = self.broadcast(op, a.shape(), b.shape())?;
        Ok(self.node(op, &[a.name(), b.name()], vec![], shape))
    }

    /// `a + b`, sizes of 1 stretched.
    pub fn add<T: Element>(&mut self, a: &Value<T>, b: &Value<T>) -> Built<Value<T>> {
        self.binary("Add", a, b)
    }

    /// `a − b`, sizes of 1 stretched.
    pub fn sub<T: Element>(&mut self, a: &Value<T>, b: &Value<T>) -> Built<Value<T>> {
        self.binary("Sub", a, b)
    }

    /// `a · b`, element by element, sizes of 1 stretched.
    pub fn mul<T: Element>(&mut self, a: &Value<T>, b: &Value<T>) -> Built<Value<T>> {
        self.binary("Mul", a, b)
    }

    /// `a / b`, element by element; integers are rounded towards zero.
    pub fn div<T: Element>(&mut self, a: &Value<T>, b: &Value<T>) -> Built<Value<T>> {
        self.binary("Div", a, b)
    }

    /// `a ≤ b`.
    pub fn less_or_equal<T: Element>(&mut self, a: &Value<T>, b: &Value<T>) -> Built<Value<bool>> {
        self.binary("LessOrEqual", a, b)
    }

    /// Both.
    pub fn and(&mut self, a: &Value<bool>, b: &Value<bool>) -> Built<Value<bool>> {
        self.binary("And", a, b)
    }

    /// `yes` where `condition`, else `no`.
    pub fn choose<T: Element>(&mut self, condition: &Value<bool>, yes: &Value<T>, no: &Value<T>) -> Built<Value<T>> {
        let shape = self.broadcast("Where", yes.shape(), no.shape())?;
        let shape = self.broadcast("Where", condition.shape(), &shape)?;
        Ok(self.node("Where", &[condition.name(), yes.name(), no.name()], vec![], shape))
    }

    /// max(x, 0).
    pub fn relu(&mut self, x: &Value<f32>) -> Value<f32> {
        self.unary("Relu", x)
    }

    /// 1 / (1 + e⁻ˣ).
    pub fn sigmoid(&mut self, x: &Value<f32>) -> Value<f32> {
        self.unary("Sigmoid", x)
    }

    /// x · sigmoid(x).
    pub fn silu(&mut self, x: &Value<f32>) -> Built<Value<f32>> {
        let gate = self.sigmoid(x);
        self.mul(x, &gate)
    }

    /// Cosine.
    pub fn cos(&mut self, x: &Value<f32>) -> Value<f32> {
        self.unary("Cos", x)
    }

    /// Sine.
    pub fn sin(&mut self, x: &Value<f32>) -> Value<f32> {
        self.unary("Sin", x)
    }

    /// The same numbers in another type.
    pub fn cast<T: Element, U: Element>(&mut self, x: &Value<T>) -> Value<U> {
        self.node("Cast", &[x.name()], vec![Attribute::Int("to", i64::from(U::ONNX))], x.shape())
    }

    /// Softmax over the last axis.
    pub fn softmax(&mut self, x: &Value<f32>) -> Value<f32> {
        self.node("Softmax", &[x.name()], vec![Attribute::Int("axis", -1)], x.shape())
    }

    /// Logarithm of the softmax over the last axis.
    pub fn log_softmax(&mut self, x: &Value<f32>) -> Value<f32> {
        self.node("LogSoftmax", &[x.name()], vec![Attribute::Int("axis", -1)], x.shape())
    }

    /// Mean over the last axis, which stays with size 1.
    pub fn mean(&mut self, x: &Value<f32>) -> Value<f32> {
        let mut shape = x.shape().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = Dim::Known(1);
        }
        let attributes = vec![Attribute::Ints("axes", vec![-1]), Attribute::Int("keepdims", 1)];
        self.node("ReduceMean", &[x.name()], attributes, shape)
    }

    /// Mean square 1 over the last axis, then `· gain`, `[size of the last axis]` (Zhang and Sennrich 2019,
    /// arXiv:1910.07467).
    pub fn rms_norm(&mut self, x: &Value<f32>, gain: &Value<f32>, epsilon: f32) -> Built<Value<f32>> {
        let last = x.shape().last().copied().into_iter().collect::<Vec<_>>();
        if gain.shape() != last {
            let (x, gain) = (show(x.shape()), show(gain.shape()));
            return self.wrong("SimplifiedLayerNormalization", format!("the gain {gain} does not fit {x}"));
        }
        let attributes = vec![Attribute::Int("axis", -1), Attribute::Float("epsilon", epsilon)];
        Ok(self.node("SimplifiedLayerNormalization", &[x.name(), gain.name()], attributes, x.shape()))
    }

    /// Product of the last two axes, those before stretched.
    pub fn matmul(&mut self, a: &Value<f32>, b: &Value<f32>) -> Built<Value<f32>> {
        let shape = self.matmul_shape("MatMul", a.shape(), b.shape())?;
        Ok(self.node("MatMul", &[a.name(), b.name()], vec![], shape))
    }

    /// Product of bytes as integers: `(a − a_zero) · b`.
    pub fn matmul_integer(&mut self, a: &Value<u8>, b: &Value<i8>, a_zero: &Value<u8>) -> Built<Value<i32>> {
        let shape = self.matmul_shape("MatMulInteger", a.shape(), b.shape())?;
        Ok(self.node("MatMulInteger", &[a.name(), b.name(), a_zero.name()], vec![], shape))
    }

    fn matmul_shape(&self, op: &str, a: &[Dim], b: &[Dim]) -> Built<Vec<Dim>> {
        let ([a_batch @ .., m, k], [b_batch @ .., l, n]) = (a, b) else {
            return self.wrong(op, format!("{} and {} are no matrices", show(a), show(b)));
        };
        if k != l {
            return self.wrong(op, format!("{} and {} differ in the axis that is summed", show(a), show(b)));
        }
        let mut shape = self.broadcast(op, a_batch, b_batch)?;
        shape.extend([*m, *n]);
        Ok(shape)
    }

    /// Bytes with one scale and zero point for the whole tensor, found from its least and greatest element:
    /// (bytes, scale, zero point).
    pub fn dynamic_quantize(&mut self, x: &Value<f32>) -> (Value<u8>, Value<f32>, Value<u8>) {
        let name = self.fresh_name("DynamicQuantizeLinear");
        let [y, scale, zero] = ["", ".scale", ".zero"].map(|tail| format!("{name}{tail}"));
        let outputs = vec![y.clone(), scale.clone(), zero.clone()];
        self.push("DynamicQuantizeLinear", &name, &[x.name()], outputs, vec![]);
        (Value::new(y, x.shape()), Value::new(scale, []), Value::new(zero, []))
    }

    /// `x · scale`, where `scale` and `zero` (all zeros) are vectors along `axis`.
    pub fn dequantize(
        &mut self,
        x: &Value<i8>,
        scale: &Value<f32>,
        zero: &Value<i8>,
        axis: usize,
    ) -> Built<Value<f32>> {
        let along = x.shape().get(axis).copied().into_iter().collect::<Vec<_>>();
        if scale.shape() != along || zero.shape() != along {
            let (x, scale) = (show(x.shape()), show(scale.shape()));
            return self.wrong("DequantizeLinear", format!("the scales {scale} do not fit axis {axis} of {x}"));
        }
        let inputs = [x.name(), scale.name(), zero.name()];
        Ok(self.node("DequantizeLinear", &inputs, vec![Attribute::Int("axis", axis as i64)], x.shape()))
    }

    /// Convolution: `x` `[n, in, …]`, `weight` `[out, in / groups, …]`, `bias` `[out]`.
    pub fn conv(
        &mut self,
        x: &Value<f32>,
        weight: &Value<f32>,
        bias: &Value<f32>,
        axes: &[Axis],
        groups: usize,
    ) -> Built<Value<f32>> {
        let (&[n, channels, ref spatial @ ..], &[out, per_group, ref kernel @ ..]) = (x.shape(), weight.shape()) else {
            return self.wrong("Conv", format!("{} and {} are too flat", show(x.shape()), show(weight.shape())));
        };
        let kernels: Vec<Dim> = axes.iter().map(|a| Dim::Known(a.kernel)).collect();
        let grouped = match per_group {
            Dim::Known(per_group) => channels == Dim::Known(per_group * groups),
            Dim::Frames { .. } | Dim::Named(_) => false,
        };
        let fits = kernel == kernels && spatial.len() == axes.len() && grouped && bias.shape() == [out];
        if !fits {
            let shapes = [x, weight, bias].map(|v| show(v.shape())).join(", ");
            return self.wrong("Conv", format!("{shapes} do not fit {axes:?} in {groups} groups"));
        }
        let mut shape = vec![n, out];
        for (&dim, axis) in spatial.iter().zip(axes) {
            match axis.convolved(dim) {
                Some(dim) => shape.push(dim),
                None => return self.wrong("Conv", format!("the length {dim} cannot be convolved by {axis:?}")),
            }
        }
        let ints = |get: fn(&Axis) -> usize| axes.iter().map(|a| get(a) as i64).collect::<Vec<_>>();
        let pads = [ints(|a| a.pads.0), ints(|a| a.pads.1)].concat();
        let attributes = vec![
            Attribute::Ints("kernel_shape", ints(|a| a.kernel)),
            Attribute::Ints("strides", ints(|a| a.stride)),
            Attribute::Ints("pads", pads),
            Attribute::Int("group", groups as i64),
        ];
        Ok(self.node("Conv", &[x.name(), weight.name(), bias.name()], attributes, shape))
    }

    /// The same elements in another shape. A length that is not known may stay where it is, or be the only one to move.
    pub fn reshape<T: Element>(&mut self, x: &Value<T>, shape: &[Dim]) -> Built<Value<T>> {
        let known =
            |shape: &[Dim]| -> usize { shape.iter().map(|d| if let Dim::Known(n) = d { *n } else { 1 }).product() };
        let unknown = |shape: &[Dim]| -> Vec<String> {
            let mut all: Vec<String> = shape.iter().filter(|d| !d.is_known()).map(Dim::to_string).collect();
            all.sort_unstable();
            all
        };
        let moved = shape.iter().enumerate().filter(|&(i, d)| !d.is_known() && x.shape().get(i) != Some(d));
        if known(x.shape()) != known(shape) || unknown(x.shape()) != unknown(shape) || moved.count() > 1 {
            return self.wrong("Reshape", format!("{} cannot become {}", show(x.shape()), show(shape)));
        }
        let code = |(i, d): (usize, &Dim)| match d {
            Dim::Known(n) => *n as i64,
            // 0 copies the size at the same place, −1 is what is left.
            _ if x.shape().get(i) == Some(d) => 0,
            _ => -1,
        };
        let codes: Vec<i64> = shape.iter().enumerate().map(code).collect();
        let target = self.literal(&[codes.len()], &codes)?;
        Ok(self.node("Reshape", &[x.name(), target.name()], vec![], shape))
    }

    /// Axes in another order: axis `i` of the result is axis `order[i]` of `x`.
    pub fn transpose<T: Element>(&mut self, x: &Value<T>, order: &[usize]) -> Built<Value<T>> {
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..x.shape().len()) {
            return self.wrong("Transpose", format!("{order:?} is no order of the axes of {}", show(x.shape())));
        }
        let shape: Vec<Dim> = order.iter().map(|&i| x.shape()[i]).collect();
        let perm = order.iter().map(|&i| i as i64).collect();
        Ok(self.node("Transpose", &[x.name()], vec![Attribute::Ints("perm", perm)], shape))
    }

    /// Elements `from..to` of `axis`, whose size is known.
    pub fn slice<T: Element>(&mut self, x: &Value<T>, axis: usize, from: usize, to: usize) -> Built<Value<T>> {
        match x.shape().get(axis) {
            Some(&Dim::Known(size)) if from < to && to <= size => {}
            _ => {
                return self.wrong("Slice", format!("{} has no {from}..{to} in axis {axis}", show(x.shape())));
            }
        }
        let mut shape = x.shape().to_vec();
        shape[axis] = Dim::Known(to - from);
        let starts = self.literal(&[1], &[from as i64])?;
        let ends = self.literal(&[1], &[to as i64])?;
        let axes = self.literal(&[1], &[axis as i64])?;
        Ok(self.node("Slice", &[x.name(), starts.name(), ends.name(), axes.name()], vec![], shape))
    }

    /// How long `x` is in `axis`: a scalar.
    pub fn length<T: Element>(&mut self, x: &Value<T>, axis: usize) -> Built<Value<i64>> {
        if axis >= x.shape().len() {
            return self.wrong("Shape", format!("{} has no axis {axis}", show(x.shape())));
        }
        let rank = Dim::Known(x.shape().len());
        let sizes: Value<i64> = self.node("Shape", &[x.name()], vec![], [rank]);
        let index = self.literal(&[], &[axis as i64])?;
        Ok(self.node("Gather", &[sizes.name(), index.name()], vec![Attribute::Int("axis", 0)], []))
    }

    /// `0, 1, …` as many as `x` is long in `axis`: `[that length]`.
    pub fn positions<T: Element>(&mut self, x: &Value<T>, axis: usize) -> Built<Value<i64>> {
        let length = self.length(x, axis)?;
        let (zero, one) = (self.literal(&[], &[0i64])?, self.literal(&[], &[1i64])?);
        Ok(self.node("Range", &[zero.name(), length.name(), one.name()], vec![], [x.shape()[axis]]))
    }

    /// Rows of `table` `[rows, …]`: `[…ids, …]`.
    pub fn gather<T: Element>(&mut self, table: &Value<T>, ids: &Value<i64>) -> Built<Value<T>> {
        let Some((_, row)) = table.shape().split_first() else {
            return self.wrong("Gather", "a number has no rows".into());
        };
        let shape = [ids.shape(), row].concat();
        Ok(self.node("Gather", &[table.name(), ids.name()], vec![Attribute::Int("axis", 0)], shape))
    }

    /// `a` and then `b` along `axis`, which becomes `length` where one of the two is not known.
    pub fn concat<T: Element>(&mut self, a: &Value<T>, b: &Value<T>, axis: usize, length: Dim) -> Built<Value<T>> {
        let others = |x: &Value<T>| -> Vec<Dim> {
            x.shape().iter().enumerate().filter(|(i, _)| *i != axis).map(|(_, dim)| *dim).collect()
        };
        let sum = match (a.shape().get(axis), b.shape().get(axis)) {
            (Some(Dim::Known(a)), Some(Dim::Known(b))) => Some(Dim::Known(a + b)),
            (Some(_), Some(_)) if !length.is_known() => Some(length),
            _ => None,
        };
        let Some(sum) = sum.filter(|_| others(a) == others(b)) else {
            let (a, b) = (show(a.shape()), show(b.shape()));
            return self.wrong("Concat", format!("{a} and {b} do not join along axis {axis}"));
        };
        let mut shape = a.shape().to_vec();
        shape[axis] = sum;
        Ok(self.node("Concat", &[a.name(), b.name()], vec![Attribute::Int("axis", axis as i64)], shape))
    }
}

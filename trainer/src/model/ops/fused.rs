//! Fused kernels as operations of Burn's autodiff graph on the `flex` back end.

use std::fmt::Debug;

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::{Bytes, DType, Shape, Tensor};
use burn_flex::{Flex, FlexTensor};

/// A differentiable function of `N` tensors, over contiguous slices.
pub trait Kernel<const N: usize>: Clone + Debug + Send + 'static {
    /// Fills `out`, which starts as zeros.
    fn forward(&self, inputs: [&[f32]; N], out: &mut [f32]);

    /// Gradients of the inputs, given the gradient of what [`Kernel::forward`] put into `out`. Where `wanted` is false the
    /// gradient is dropped: [`Gradient::None`] saves its work.
    fn backward(&self, inputs: [&[f32]; N], out: &[f32], grad: &[f32], wanted: [bool; N]) -> [Gradient; N];
}

/// Gradient of one input.
pub enum Gradient {
    /// Not asked for.
    None,
    /// The output's gradient as it is.
    Same,
    /// Values in the input's shape.
    Values(Vec<f32>),
}

/// An input: any rank, on the `flex` device, with or without autodiff.
pub enum Input {
    /// On an autodiff device.
    Tracked(<Autodiff<Flex> as burn::backend::BackendTypes>::FloatTensorPrimitive),
    /// On a plain device.
    Plain(FlexTensor),
}

impl<const D: usize> From<Tensor<D>> for Input {
    /// Panics where the tensor is not on the `flex` device: [`Path`](super::Path) is chosen by device.
    fn from(tensor: Tensor<D>) -> Self {
        if tensor.is_autodiff() {
            Self::Tracked(tensor.try_into_primitive::<Autodiff<Flex>>().expect("fused kernels run on flex"))
        } else {
            Self::Plain(tensor.try_into_primitive::<Flex>().expect("fused kernels run on flex"))
        }
    }
}

fn contiguous(tensor: &FlexTensor) -> FlexTensor {
    if tensor.as_slice::<f32>().is_some() { tensor.clone() } else { tensor.to_contiguous() }
}

fn slice(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("made contiguous")
}

fn made(values: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::from_data(burn::tensor::TensorData::from_bytes(Bytes::from_elems(values), shape, DType::F32))
}

fn run<const N: usize, K: Kernel<N>>(kernel: &K, inputs: &[FlexTensor; N], shape: Shape) -> FlexTensor {
    let mut out = vec![0.0; shape.num_elements()];
    kernel.forward(inputs.each_ref().map(slice), &mut out);
    made(out, shape)
}

#[derive(Debug, Clone)]
struct Saved<K, const N: usize> {
    kernel: K,
    inputs: [FlexTensor; N],
    out: FlexTensor,
}

#[derive(Debug)]
struct KernelStep<K>(std::marker::PhantomData<K>);

impl<const N: usize, K: Kernel<N>> Backward<Flex, N> for KernelStep<K> {
    type State = Saved<K, N>;

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = contiguous(&grads.consume::<Flex>(&ops.node));
        let Saved { kernel, inputs, out } = ops.state;
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let gradients = kernel.backward(inputs.each_ref().map(slice), slice(&out), slice(&grad), wanted);
        for ((parent, input), gradient) in ops.parents.iter().zip(&inputs).zip(gradients) {
            let Some(parent) = parent else { continue };
            let gradient = match gradient {
                Gradient::None => continue,
                Gradient::Same => grad.clone(),
                Gradient::Values(values) => made(values, input.layout().shape().clone()),
            };
            grads.register::<Flex>(parent.id, gradient);
        }
    }
}

/// Applies `kernel`; the result has `shape` and takes part in the gradients of the inputs.
pub fn apply<const N: usize, const D: usize, K: Kernel<N>>(
    kernel: K,
    inputs: [Input; N],
    shape: [usize; D],
) -> Tensor<D> {
    let shape = Shape::from(shape);
    let mut nodes = Vec::with_capacity(N);
    let primitives = inputs.map(|input| match input {
        Input::Tracked(tensor) => {
            nodes.push(tensor.node());
            contiguous(tensor.primitive())
        }
        Input::Plain(tensor) => contiguous(&tensor),
    });
    let Ok(nodes) = <[_; N]>::try_from(nodes) else {
        // Without autodiff there is nothing to record. A mixture would lose gradients, so it is a mistake of the caller's.
        return Tensor::from_primitive::<Flex>(run(&kernel, &primitives, shape));
    };
    let out = run(&kernel, &primitives, shape);
    let step = KernelStep(std::marker::PhantomData);
    let out = match step.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(Saved { kernel, inputs: primitives, out: out.clone() }, out),
        OpsKind::UnTracked(prep) => prep.finish(out),
    };
    Tensor::from_primitive::<Autodiff<Flex>>(out)
}

//! The sizes of a run: what their names stand for, and that no kernel is larger than what it is laid on.

use std::collections::BTreeMap;

use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::cnn::{Conv, Deconv, MaxPool, SumPool};
use tract_onnx::tract_hir::tract_core::plan::{TurnState, TurnStateHandler};

use super::ops::{NamedSizes, is_name};

/// What the names of a graph's sizes stand for, each after those that it is reckoned from.
#[derive(Debug, Clone, Default)]
pub(super) struct Names(Vec<(Symbol, TDim)>);

impl Names {
    /// Reads them from a graph before anything in it is left out. An error where one would not be known when a run begins: then the graph is
    /// planned without names.
    pub(super) fn of(model: &TypedModel) -> TractResult<Self> {
        let mut known: Vec<Symbol> = Vec::new();
        for input in model.input_outlets()? {
            let sizes = model.outlet_fact(*input)?.shape.iter();
            known.extend(
                sizes.filter_map(|size| if let TDim::Sym(symbol) = size { Some(symbol.clone()) } else { None }),
            );
        }
        let mut names: Vec<(Symbol, TDim)> = Vec::new();
        for node in
            model.eval_order()?.into_iter().map(|node| model.node(node)).filter(|node| node.op_is::<NamedSizes>())
        {
            let reckoned = model.outlet_fact(node.inputs[0])?.shape.iter();
            for (name, size) in node.outputs[0].fact.shape.iter().zip(reckoned).filter(|(name, size)| name != size) {
                let TDim::Sym(symbol) = name else { bail!("{name} is no name") };
                match names.iter().find(|(other, _)| other == symbol) {
                    Some((_, other)) => ensure!(other == size, "{name} would stand for two sizes"),
                    None => {
                        ensure!(size.symbols().iter().all(|from| known.contains(from)), "{size} is known too late");
                        known.push(symbol.clone());
                        names.push((symbol.clone(), size.clone()));
                    }
                }
            }
        }
        // What only a shape needs may be gone already.
        let unknown = model.symbols.all_symbols().into_iter().find(|symbol| is_name(symbol) && !known.contains(symbol));
        ensure!(unknown.is_none(), "nothing reckons {unknown:?}");
        Ok(Self(names))
    }
}

/// Looks at the sizes of a run before it.
#[derive(Debug)]
pub(super) struct Sizes {
    names: Names,
    /// Sizes behind kernels that may fall below 0, with how they read. tract 0.23.9 takes two of them for a size above 0, their product, and writes
    /// beyond its memory.
    doubtful: Vec<(String, TDim)>,
}

impl Sizes {
    /// `None` where there is nothing to look at. The graph is as it was before it became kernels.
    pub(super) fn of(model: &TypedModel, names: Names) -> Option<Self> {
        let lays_kernels = |node: &&TypedNode| {
            node.op_is::<Conv>() || node.op_is::<Deconv>() || node.op_is::<MaxPool>() || node.op_is::<SumPool>()
        };
        let behind = model.nodes.iter().filter(lays_kernels).flat_map(|node| &node.outputs);
        let mut doubtful = BTreeMap::new();
        for size in behind.flat_map(|output| output.fact.shape.iter()) {
            if size.as_i64().is_none() && !size.prove_positive_or_zero() {
                doubtful.insert(size.to_string(), size.clone());
            }
        }
        let is_empty = doubtful.is_empty() && names.0.is_empty();
        (!is_empty).then(|| Self { names, doubtful: doubtful.into_iter().collect() })
    }
}

impl TurnStateHandler for Sizes {
    fn before_plan_eval(&self, turn: &mut TurnState) -> TractResult<()> {
        for (symbol, size) in &self.names.0 {
            let size = size.eval(&turn.resolved_symbols).to_i64()?;
            turn.resolved_symbols.set(symbol, size);
        }
        for (text, size) in &self.doubtful {
            // Those that only a node gives are not known yet.
            if let Some(size) = size.eval(&turn.resolved_symbols).as_i64() {
                ensure!(
                    size >= 0,
                    "an input is smaller than what this graph lays on it: the size {text} would be {size}"
                );
            }
        }
        Ok(())
    }

    fn after_plan_eval(&self, _: &mut TurnState) -> TractResult<()> {
        Ok(())
    }
}

//! Operators that ONNX Runtime's optimizer made of several, as those several again
//! (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>). What rewrites and tract know of the parts then holds for
//! them, too.

use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

use super::index::{FLOAT, INT64, attribute, integer, integers, node, widened};

/// Nodes and constants that take one node's place.
struct Parts {
    of: NodeProto,
    nodes: Vec<NodeProto>,
    tensors: Vec<TensorProto>,
}

impl Parts {
    /// A value's name within the parts.
    fn name(&self, name: &str) -> String {
        let whole = self.of.output.iter().find(|name| !name.is_empty()).map_or("", String::as_str);
        format!("{whole}.{name}")
    }

    /// The name of an input; none when it is not given.
    fn input(&self, place: usize) -> Option<String> {
        self.of.input.get(place).filter(|name| !name.is_empty()).cloned()
    }

    fn required(&self, place: usize) -> Result<String, String> {
        self.input(place)
            .ok_or_else(|| format!("the node `{}` ({}) lacks its input {place}", self.of.name, self.of.op_type))
    }

    fn output(&self, place: usize) -> Option<String> {
        self.of.output.get(place).filter(|name| !name.is_empty()).cloned()
    }

    /// Adds a node; its output is named `name` within the parts.
    fn add(&mut self, op: &str, inputs: &[&str], name: &str, attributes: Vec<AttributeProto>) -> String {
        let output = self.name(name);
        self.add_as(op, inputs, output.clone(), attributes);
        output
    }

    /// Adds a node whose output is `output`.
    fn add_as(&mut self, op: &str, inputs: &[&str], output: String, attributes: Vec<AttributeProto>) {
        let mut own = node(op, inputs.iter().map(|name| (*name).to_owned()).collect(), output);
        own.attribute = attributes;
        self.nodes.push(own);
    }

    /// Adds a constant of integers.
    fn integers(&mut self, name: &str, values: &[i64]) -> String {
        let name = self.name(name);
        self.tensors.push(TensorProto {
            name: name.clone(),
            dims: vec![values.len() as i64],
            data_type: INT64,
            int64_data: values.to_vec(),
            ..TensorProto::default()
        });
        name
    }

    /// The parts of a node; none when it is none of those that are taken apart.
    fn of(of: NodeProto, graph: &GraphProto) -> Result<Option<Self>, String> {
        let mut parts = Self { of, nodes: Vec::new(), tensors: Vec::new() };
        match parts.of.op_type.as_str() {
            "FusedGemm" => parts.activated("Gemm")?,
            "FusedConv" => parts.activated("Conv")?,
            "DynamicQuantizeMatMul" => parts.quantized_product(true)?,
            "MatMulIntegerToFloat" => parts.quantized_product(false)?,
            "EmbedLayerNormalization" => parts.embedding()?,
            "DynamicQuantizeLSTM" => parts.lstm(graph)?,
            _ => return Ok(None),
        }
        Ok(Some(parts))
    }

    /// An operator with an activation behind it, and for a convolution what is added before that.
    fn activated(&mut self, op: &str) -> Result<(), String> {
        let text = |a: &AttributeProto| String::from_utf8_lossy(&a.s).into_owned();
        let activation = self.of.attribute.iter().find(|a| a.name == "activation").map(text);
        let parameters: Vec<f32> =
            self.of.attribute.iter().filter(|a| a.name == "activation_params").flat_map(|a| a.floats.clone()).collect();
        let own = |a: &AttributeProto| !a.name.starts_with("activation");
        let attributes: Vec<AttributeProto> = self.of.attribute.iter().filter(|a| own(a)).cloned().collect();
        let added = self.input(3).filter(|_| op == "Conv");
        let mut inputs = vec![self.required(0)?, self.required(1)?];
        inputs.extend(self.input(2));
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let mut value = self.add(op, &inputs, "product", attributes);
        if let Some(added) = added {
            value = self.add("Add", &[&value, &added], "sum", Vec::new());
        }
        let output = self.output(0).unwrap_or_default();
        let float =
            |name: &str, f: f32| AttributeProto { name: name.to_owned(), r#type: 1, f, ..AttributeProto::default() };
        let (op, attributes) = match (activation.as_deref(), parameters.as_slice()) {
            (None | Some(""), _) => ("Identity", Vec::new()),
            (Some(op @ ("Relu" | "Sigmoid" | "Tanh")), _) => (op, Vec::new()),
            (Some("LeakyRelu"), [alpha, ..]) => ("LeakyRelu", vec![float("alpha", *alpha)]),
            (Some("HardSigmoid"), [alpha, beta, ..]) => {
                ("HardSigmoid", vec![float("alpha", *alpha), float("beta", *beta)])
            }
            (Some(other), _) => {
                return Err(format!(
                    "the node `{}` fuses the activation `{other}`, which this engine does not",
                    self.of.name
                ));
            }
        };
        self.add_as(op, &[&value], output, attributes);
        Ok(())
    }

    /// A product of integers that gives floats; `quantizes` the activations itself, or is given them quantized.
    fn quantized_product(&mut self, quantizes: bool) -> Result<(), String> {
        let (codes, scale, zero, weights) = if quantizes {
            let x = self.required(0)?;
            let outputs = ["codes", "x_scale", "x_zero"].map(|name| self.name(name));
            let mut quantize = node("DynamicQuantizeLinear", vec![x], outputs[0].clone());
            quantize.output = outputs.to_vec();
            self.nodes.push(quantize);
            let [codes, scale, zero] = outputs;
            (codes, scale, Some(zero), [1, 2, 3, 4])
        } else {
            (self.required(0)?, self.required(2)?, self.input(4), [1, 3, 5, 6])
        };
        let [values, scales, zeros, bias] = weights;
        let (values, scales) = (self.required(values)?, self.required(scales)?);
        let mut inputs = vec![codes.clone(), values];
        let (weights_zero, bias) = (self.input(zeros), self.input(bias));
        if zero.is_some() || weights_zero.is_some() {
            inputs.extend([zero.unwrap_or_default(), weights_zero.unwrap_or_default()]);
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let sums = self.add("MatMulInteger", &inputs, "sums", Vec::new());
        let wide = self.name("sums_f32");
        self.nodes.push(widened(&sums, wide.clone()));
        let factor = self.add("Mul", &[&scale, &scales], "factor", Vec::new());
        let output = self.output(0).unwrap_or_default();
        let Some(bias) = bias else {
            self.add_as("Mul", &[&wide, &factor], output, Vec::new());
            return Ok(());
        };
        let product = self.add("Mul", &[&wide, &factor], "product", Vec::new());
        self.add_as("Add", &[&product, &bias], output, Vec::new());
        Ok(())
    }

    /// Words, kinds and positions looked up, added and normalised.
    fn embedding(&mut self) -> Result<(), String> {
        let ids = self.required(0)?;
        let (words, positions) = (self.required(2)?, self.required(3)?);
        let mut sum = self.add("Gather", &[&words, &ids], "words", vec![integer("axis", 0)]);
        if let (Some(kinds), Some(table)) = (self.input(1), self.input(4)) {
            let kinds = self.add("Gather", &[&table, &kinds], "kinds", vec![integer("axis", 0)]);
            sum = self.add("Add", &[&sum, &kinds], "with_kinds", Vec::new());
        }
        let position = match self.input(8) {
            Some(numbers) => self.add("Gather", &[&positions, &numbers], "positions", vec![integer("axis", 0)]),
            None => {
                let shape = self.add("Shape", &[&ids], "shape", Vec::new());
                let (first, second) = (self.integers("first", &[0]), self.integers("second", &[1]));
                let length = self.add("Gather", &[&shape, &second], "length", vec![integer("axis", 0)]);
                self.add("Slice", &[&positions, &first, &length, &first], "positions", Vec::new())
            }
        };
        let whole = match self.output(2) {
            Some(whole) => {
                self.add_as("Add", &[&sum, &position], whole.clone(), Vec::new());
                whole
            }
            None => self.add("Add", &[&sum, &position], "whole", Vec::new()),
        };
        let mut attributes = vec![integer("axis", -1)];
        attributes.extend(self.of.attribute.iter().find(|a| a.name == "epsilon").cloned());
        let (gamma, beta) = (self.required(5)?, self.required(6)?);
        let output = self.output(0).unwrap_or_default();
        self.add_as("LayerNormalization", &[&whole, &gamma, &beta], output, attributes);
        match (self.output(1), self.input(7)) {
            // How many positions count; nobody reads it where there is no mask.
            (Some(lengths), Some(mask)) => {
                let axes = self.integers("axes", &[1]);
                self.add_as("ReduceSum", &[&mask, &axes], lengths, vec![integer("keepdims", 0)]);
            }
            (Some(lengths), None) => {
                let shape = self.add("Shape", &[&ids], "batch_shape", Vec::new());
                let first = self.integers("batch", &[0]);
                let batch = self.add("Gather", &[&shape, &first], "batch_size", vec![integer("axis", 0)]);
                let zeros = self.add("ConstantOfShape", &[&batch], "zeros", Vec::new());
                self.add_as("Cast", &[&zeros], lengths, vec![integer("to", 6)]);
            }
            _ => {}
        }
        Ok(())
    }

    /// An LSTM whose weights are bytes, turned, with a scale and a zero for each direction or each row.
    fn lstm(&mut self, graph: &GraphProto) -> Result<(), String> {
        let mut inputs = vec![self.required(0)?];
        for (place, scale, zero, name) in [(1, 8, 9, "w"), (2, 10, 11, "r")] {
            let codes = self.required(place)?;
            let mut turned = codes.clone();
            for (place, name) in [(zero, format!("{name}_zero")), (scale, format!("{name}_scale"))] {
                let given = self.required(place)?;
                let tensor = graph.initializer.iter().find(|t| t.name == given);
                let tensor =
                    tensor.ok_or_else(|| format!("`{given}` of the node `{}` is no constant", self.of.name))?;
                // `[directions]` or `[directions, rows]`, beside codes `[directions, columns, rows]`.
                let mut by_row = TensorProto { name: self.name(&name), ..tensor.clone() };
                by_row.dims.insert(1, 1);
                by_row.dims.resize(3, 1);
                self.tensors.push(by_row);
            }
            let names = ["f32", "zero_f32", "shifted", "scaled", "turned"].map(|step| format!("{name}_{step}"));
            turned = self.add("Cast", &[&turned], &names[0], vec![integer("to", i64::from(FLOAT))]);
            let (zero, scale) = (self.name(&format!("{name}_zero")), self.name(&format!("{name}_scale")));
            let zero = self.add("Cast", &[&zero], &names[1], vec![integer("to", i64::from(FLOAT))]);
            turned = self.add("Sub", &[&turned, &zero], &names[2], Vec::new());
            turned = self.add("Mul", &[&turned, &scale], &names[3], Vec::new());
            inputs.push(self.add("Transpose", &[&turned], &names[4], vec![integers("perm", &[0, 2, 1])]));
        }
        inputs.extend((3..8).map(|place| self.input(place).unwrap_or_default()));
        while inputs.last().is_some_and(String::is_empty) {
            inputs.pop();
        }
        let mut own = NodeProto { op_type: "LSTM".into(), domain: String::new(), input: inputs, ..self.of.clone() };
        if attribute(&own, "input_forget").unwrap_or(0) == 0 {
            own.attribute.retain(|a| a.name != "input_forget");
        }
        self.nodes.push(own);
        Ok(())
    }
}

/// Takes fused operators apart.
pub(super) fn take_apart(graph: &mut GraphProto) -> Result<(), String> {
    let mut nodes = Vec::with_capacity(graph.node.len());
    for node in std::mem::take(&mut graph.node) {
        match Parts::of(node.clone(), graph)? {
            Some(parts) => {
                nodes.extend(parts.nodes);
                graph.initializer.extend(parts.tensors);
            }
            None => nodes.push(node),
        }
    }
    graph.node = nodes;
    Ok(())
}

/// Whether a file may ask for an operator because it is taken apart.
pub(in crate::engine::tract) fn is_fused(op: &str) -> bool {
    const FUSED: [&str; 6] = [
        "FusedGemm",
        "FusedConv",
        "DynamicQuantizeMatMul",
        "MatMulIntegerToFloat",
        "EmbedLayerNormalization",
        "DynamicQuantizeLSTM",
    ];
    FUSED.contains(&op)
}

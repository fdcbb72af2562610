//! Random schemas whose answers are bounded.

use serde_json::{Map, Value, json};

use super::super::super::dice::Dice;

struct Chance {
    dice: Dice,
    step: u64,
}

impl Chance {
    /// From 0 up to, but not, `below`.
    fn below(&mut self, below: usize) -> usize {
        self.step += 1;
        (self.dice.throw(self.step, 0) * below as f64) as usize
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// The schema of this number.
pub(super) fn of(number: u64) -> Value {
    let mut chance = Chance { dice: Dice::new(number, 99), step: 0 };
    let mut schema = match chance.below(4) {
        0 => any(&mut chance, 2),
        1 => array(&mut chance, 2),
        _ => object(&mut chance, 2),
    };
    if let Some(keywords) = schema.as_object_mut() {
        keywords
            .insert("$defs".into(), json!({"short": {"type": "string", "maxLength": 5}, "flag": {"type": "boolean"}}));
    }
    schema
}

fn any(chance: &mut Chance, depth: usize) -> Value {
    match chance.below(if depth == 0 { 8 } else { 11 }) {
        0 => json!({"type": chance.one(&["boolean", "null"])}),
        1 => {
            let low = chance.below(200) as i64 - 100;
            json!({"type": "integer", "minimum": low, "maximum": low + chance.below(1000) as i64})
        }
        2 => {
            let low = chance.below(40) as f64 / 8.0 - 2.0;
            let high = low + 0.5 + chance.below(100) as f64 / 4.0;
            match chance.below(3) {
                0 => json!({"type": "number", "exclusiveMinimum": low, "exclusiveMaximum": high}),
                1 => json!({"type": "number", "minimum": low, "maximum": high}),
                _ => json!({"type": "integer", "multipleOf": 1 + chance.below(9), "minimum": 0, "maximum": 500}),
            }
        }
        3 => {
            let least = chance.below(4);
            json!({"type": "string", "minLength": least, "maxLength": least + chance.below(8)})
        }
        4 => {
            let pattern = chance.one(&["^[a-c]{1,4}$", "^x", "[0-9]$", "^\\w+ \\d$"]);
            json!({"type": "string", "pattern": pattern, "maxLength": 12})
        }
        5 => {
            let values = [json!(1), json!("two"), json!(null), json!(true), json!({"a": [0.5]}), json!("ö\n\"x\\")];
            json!({"enum": values[..1 + chance.below(6)].to_vec()})
        }
        6 => {
            chance.one(&[json!({"const": "fixed"}), json!({"const": -12}), json!({"const": [1, {"b": null}]})]).clone()
        }
        7 => chance.one(&[json!({"$ref": "#/$defs/short"}), json!({"$ref": "#/$defs/flag"})]).clone(),
        8 => object(chance, depth - 1),
        9 => array(chance, depth - 1),
        _ => json!({"anyOf": [any(chance, depth - 1), any(chance, depth - 1), {"type": ["boolean", "null"]}]}),
    }
}

fn array(chance: &mut Chance, depth: usize) -> Value {
    let least = chance.below(3);
    match chance.below(3) {
        0 => json!({"type": "array", "prefixItems": [any(chance, depth), any(chance, depth)], "items": false,
                    "minItems": chance.below(3)}),
        _ => {
            json!({"type": "array", "items": any(chance, depth), "minItems": least, "maxItems": least + chance.below(3)})
        }
    }
}

fn object(chance: &mut Chance, depth: usize) -> Value {
    let names = ["a", "name", "ö", "x y", "quote\"", "deep"];
    let count = 1 + chance.below(4);
    let properties: Map<String, Value> =
        names.iter().take(count).map(|name| ((*name).to_owned(), any(chance, depth))).collect();
    let required: Vec<&str> = names.iter().take(count).copied().filter(|_| chance.below(3) > 0).collect();
    let mut schema = json!({"type": "object", "properties": properties, "required": required});
    let keywords = schema.as_object_mut().expect("built as one");
    match chance.below(4) {
        // Free names, a few: all known ones are required then, as the compiler wants it.
        0 => {
            keywords.insert("required".into(), json!(names[..count]));
            keywords.insert("additionalProperties".into(), json!({"type": "integer", "minimum": 0, "maximum": 9}));
            keywords.insert("maxProperties".into(), json!(count + 2));
        }
        _ => {
            keywords.insert("additionalProperties".into(), json!(false));
        }
    }
    schema
}

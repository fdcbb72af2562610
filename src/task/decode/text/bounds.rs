//! Bounds of decoding that no setting changes; `crate::limits` names them, too.

/// Tokens that an answer may have when neither the request nor the model's `generation_config.json` says.
pub const DEFAULT_NEW_TOKENS: u64 = 512;

/// Tokens of a prompt that are run before others get in between: a tenth of a second on a small machine.
pub const PREFILL_CHUNK: usize = 64;

/// Prefixes that are kept: a handful of conversations.
pub const PREFIX_ENTRIES: usize = 16;

/// Memory of kept prefixes, bytes.
pub const PREFIX_BYTES: u64 = 256 << 20;

/// Fewest tokens of a prefix worth keeping: below, running them costs less than looking.
pub const MIN_PREFIX_TOKENS: usize = 8;

/// Widest beam that a model's own `generation_config.json` may ask for.
pub const MAX_CONFIG_BEAMS: u32 = linnet_proto::generate::MAX_BEAMS;

/// Deepest nesting of a schema, references counted.
pub const MAX_SCHEMA_DEPTH: usize = 64;

/// Most schemas within a schema, each reference counted once.
pub const MAX_SCHEMA_NODES: usize = 2048;

/// Most entries of all enumerations of a schema.
pub const MAX_SCHEMA_ENUM: usize = 4096;

/// Highest count that a schema may ask for (`minItems`, `maxLength`, …): grammars grow with it.
pub const MAX_SCHEMA_COUNT: u64 = 65_536;

/// Most rules and groups of a grammar: each may be one level of the compiler's recursion.
pub const MAX_GRAMMAR_GROUPS: usize = 2048;

/// Stack of the thread that compiles constraints, bytes. The compiler recurses over what callers send; only what is touched
/// is ever memory.
pub const COMPILER_STACK_BYTES: usize = 64 << 20;

/// Compiled constraints that are kept: the same schema comes with every request of a client.
pub const KEPT_CONSTRAINTS: usize = 8;

/// Digits of a number in constrained JSON: what a 64-bit float holds exactly, so that no reader rounds it over a bound.
pub const MAX_NUMBER_DIGITS: u32 = 15;

/// Digits of a number's exponent in constrained JSON.
pub const MAX_EXPONENT_DIGITS: u32 = 2;

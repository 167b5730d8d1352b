//! A parsed module: kernels ready to run.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;

use crate::decode::decode_kernel;
use crate::kernel::Kernel;
use crate::syntax::{Variable, parse};

/// Why a PTX text is refused: it is malformed, or holds something that this interpreter does not run exactly.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{module}:{line}: {message}")]
pub struct ParseError {
    pub module: String,
    /// Line of the PTX text.
    pub line: u32,
    pub message: String,
}

impl ParseError {
    pub(crate) fn new(line: u32, message: impl Into<String>) -> ParseError {
        ParseError { module: String::new(), line, message: message.into() }
    }
}

/// A PTX module whose every instruction was understood.
#[derive(Debug)]
pub struct Module {
    /// Tells modules apart: their `.global` variables live in a machine from the first launch on.
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) kernels: HashMap<String, Arc<Kernel>>,
    names: Vec<String>,
    /// `.global` and `.const` variables.
    pub(crate) variables: Vec<Variable>,
}

impl Module {
    /// Reads a module. `name` is what errors call it: a file name, say.
    pub fn parse(name: &str, text: &str) -> Result<Module, ParseError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let named = |error: ParseError| ParseError { module: name.to_owned(), ..error };
        let tree = parse(text).map_err(named)?;
        let (mut kernels, mut names) = (HashMap::new(), Vec::new());
        for function in tree.functions.iter().filter(|function| function.entry && function.body.is_some()) {
            let kernel = decode_kernel(&tree, function).map_err(named)?;
            kernels.insert(function.name.clone(), Arc::new(kernel));
            names.push(function.name.clone());
        }
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Ok(Module { id, name: name.to_owned(), kernels, names, variables: tree.variables })
    }

    /// Names of the kernels, in the order of the text.
    pub fn kernels(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }
}

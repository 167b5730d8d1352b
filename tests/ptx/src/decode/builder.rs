//! Collects the instructions of a kernel, calls inlined, over an unlimited number of registers.

use std::collections::HashMap;

use super::decode_instruction;
use super::scope::{Entity, Scope};
use super::{flow, registers};
use crate::instruction::{Input, Instruction as Decoded, Note, Op, Slot};
use crate::kernel::{Kernel, Parameter, Range, Symbol};
use crate::memory_map::{CALL_PARAMETER_BASE, GUARD_BYTES, LOCAL_BASE, PARAMETER_BASE, SHARED_BASE};
use crate::module::ParseError;
use crate::syntax::{Function, Initialiser, Instruction, Scalar, Space, Statement, Tree, Variable};

/// An instruction over virtual registers; branch targets are label numbers.
#[derive(Debug)]
pub(super) struct Draft {
    pub op: Op,
    pub guard: Option<Slot>,
    pub destinations: Vec<Slot>,
    pub sources: Vec<Slot>,
    pub note: Note,
}

/// The kernel under construction.
pub(super) struct Builder<'a> {
    pub tree: &'a Tree,
    pub code: Vec<Draft>,
    /// Names of the virtual registers, values and predicates counted apart.
    pub values: Vec<String>,
    pub predicates: Vec<String>,
    pub inputs: Vec<(Slot, Input)>,
    known_inputs: HashMap<Input, Slot>,
    pub symbols: Vec<Symbol>,
    module_symbols: HashMap<u32, u32>,
    pub scopes: Vec<Scope>,
    /// Label number to instruction.
    pub labels: Vec<Option<u32>>,
    /// Where `ret` goes: `None` in the entry.
    pub return_label: Option<u32>,
    /// Functions being inlined, to refuse recursion.
    pub calls: Vec<String>,
    shared: Vec<Range>,
    shared_end: u32,
    dynamic_align: Option<u32>,
    local: Vec<Range>,
    local_end: u32,
    parameters: Vec<Parameter>,
    parameter_bytes: u32,
    /// Guard and note of the instruction being decoded.
    guard: Option<Slot>,
    note: Note,
    /// The condition code's carry flag, once something uses it.
    carry: Option<Slot>,
    pub reads_noncoherent: bool,
}

impl<'a> Builder<'a> {
    /// An empty kernel with the parameters of `function`.
    pub fn new(tree: &'a Tree, function: &Function) -> Result<Builder<'a>, ParseError> {
        let mut builder = Builder {
            tree,
            code: Vec::new(),
            values: Vec::new(),
            predicates: Vec::new(),
            inputs: Vec::new(),
            known_inputs: HashMap::new(),
            symbols: Vec::new(),
            module_symbols: HashMap::new(),
            scopes: vec![Scope::default()],
            labels: Vec::new(),
            return_label: None,
            calls: vec![function.name.clone()],
            shared: Vec::new(),
            shared_end: SHARED_BASE,
            dynamic_align: None,
            local: Vec::new(),
            local_end: LOCAL_BASE,
            parameters: Vec::new(),
            parameter_bytes: 0,
            guard: None,
            note: Note { line: function.line, text: String::new(), source: None },
            carry: None,
            reads_noncoherent: false,
        };
        for parameter in &function.parameters {
            let bytes = parameter.bytes.expect("parameters have sizes");
            let offset = builder.parameter_bytes.next_multiple_of(parameter.align);
            builder.parameters.push(Parameter { offset, bytes });
            builder.parameter_bytes = offset + bytes;
            let symbol = builder.symbol(Symbol::Fixed(u64::from(PARAMETER_BASE + offset)));
            let entity = Entity::Variable { symbol, space: Space::Param, bytes: Some(bytes) };
            builder.name(&parameter.name, entity, parameter.line)?;
        }
        Ok(builder)
    }

    fn symbol(&mut self, symbol: Symbol) -> u32 {
        self.symbols.push(symbol);
        self.symbols.len() as u32 - 1
    }

    pub fn name(&mut self, name: &str, entity: Entity, line: u32) -> Result<(), ParseError> {
        let scope = self.scopes.last_mut().expect("a scope is open");
        match scope.names.insert(name.to_owned(), entity) {
            None => Ok(()),
            Some(_) => Err(ParseError::new(line, format!("`{name}` is declared twice"))),
        }
    }

    /// What `name` stands for here.
    pub fn find(&mut self, name: &str) -> Option<Entity> {
        for depth in (0..self.scopes.len()).rev() {
            if let Some(entity) = self.scopes[depth].names.get(name) {
                return Some(entity.clone());
            }
            if let Some(scalar) = self.scopes[depth].family_of(name) {
                let entity = Entity::Register { slot: self.register(name, scalar), scalar };
                self.scopes[depth].names.insert(name.to_owned(), entity.clone());
                return Some(entity);
            }
        }
        self.module_variable(name)
    }

    fn module_variable(&mut self, name: &str) -> Option<Entity> {
        let index = self.tree.variables.iter().position(|variable| variable.name == name)?;
        let variable = &self.tree.variables[index];
        let symbol = match self.module_symbols.get(&(index as u32)) {
            Some(&symbol) => symbol,
            None => {
                let symbol = match variable.space {
                    Space::Shared => self.place_shared(variable),
                    _ => Symbol::Module(index as u32),
                };
                let symbol = self.symbol(symbol);
                self.module_symbols.insert(index as u32, symbol);
                symbol
            }
        };
        Some(Entity::Variable { symbol, space: variable.space, bytes: variable.bytes })
    }

    fn place_shared(&mut self, variable: &Variable) -> Symbol {
        let Some(bytes) = variable.bytes else {
            let align = self.dynamic_align.unwrap_or(1).max(variable.align);
            self.dynamic_align = Some(align);
            return Symbol::DynamicShared;
        };
        let start = place(&mut self.shared, &mut self.shared_end, variable, bytes);
        Symbol::Fixed(u64::from(start))
    }

    fn declare(&mut self, variable: &Variable) -> Result<(), ParseError> {
        if variable.initialiser != Initialiser::None {
            return Err(ParseError::new(variable.line, format!("`{}` is initialised in a function", variable.name)));
        }
        let symbol = match variable.space {
            Space::Shared => self.place_shared(variable),
            Space::Local | Space::Param => {
                let bytes = variable.bytes.expect("only shared variables lack a size");
                let start = u64::from(place(&mut self.local, &mut self.local_end, variable, bytes));
                Symbol::Fixed(if variable.space == Space::Param { CALL_PARAMETER_BASE + start } else { start })
            }
            space => {
                let message = format!("`.{}` variable in a function", space.name());
                return Err(ParseError::new(variable.line, message));
            }
        };
        let symbol = self.symbol(symbol);
        let entity = Entity::Variable { symbol, space: variable.space, bytes: variable.bytes };
        self.name(&variable.name, entity, variable.line)
    }

    /// A new register.
    pub fn register(&mut self, name: &str, scalar: Scalar) -> Slot {
        let (names, make): (_, fn(u32) -> Slot) = match scalar {
            Scalar::Pred => (&mut self.predicates, Slot::predicate),
            _ => (&mut self.values, Slot::value),
        };
        names.push(name.to_owned());
        make(names.len() as u32 - 1)
    }

    /// The register that holds `input`.
    pub fn input(&mut self, input: Input) -> Slot {
        if let Some(&slot) = self.known_inputs.get(&input) {
            return slot;
        }
        let slot = self.register("", Scalar::B64);
        self.inputs.push((slot, input));
        self.known_inputs.insert(input, slot);
        slot
    }

    /// The carry flag of extended-precision arithmetic, which is a predicate like any other here. It does not survive
    /// calls (PTX ISA 9.7.2), and each inlined body sets it before using it.
    pub fn carry(&mut self) -> Slot {
        match self.carry {
            Some(slot) => slot,
            None => {
                let slot = self.register("CC.CF", Scalar::Pred);
                self.carry = Some(slot);
                slot
            }
        }
    }

    pub fn new_label(&mut self) -> u32 {
        self.labels.push(None);
        self.labels.len() as u32 - 1
    }

    /// Puts `label` before the next instruction.
    pub fn place_label(&mut self, label: u32) {
        self.labels[label as usize] = Some(self.code.len() as u32);
    }

    /// Adds an instruction under the current guard.
    pub fn emit(&mut self, op: Op, destinations: Vec<Slot>, sources: Vec<Slot>) {
        self.emit_under(self.guard, op, destinations, sources);
    }

    pub fn emit_under(&mut self, guard: Option<Slot>, op: Op, destinations: Vec<Slot>, sources: Vec<Slot>) {
        self.code.push(Draft { op, guard, destinations, sources, note: self.note.clone() });
    }

    /// The guard of the instruction being decoded.
    pub fn guard(&self) -> Option<Slot> {
        self.guard
    }

    /// Takes the guard away from what follows, for an expansion that branches around itself.
    pub fn drop_guard(&mut self) {
        self.guard = None;
    }

    /// Decodes the body of `function` here.
    pub fn body(&mut self, function: &Function) -> Result<(), ParseError> {
        let Some(body) = &function.body else {
            return Err(ParseError::new(function.line, format!("`{}` has no body", function.name)));
        };
        self.block(body)
    }

    fn block(&mut self, statements: &[Statement]) -> Result<(), ParseError> {
        for statement in statements {
            if let Statement::Label { name } = statement {
                let label = self.new_label();
                self.name(name, Entity::Label(label), 0)?;
            }
            if let Statement::BranchTargets { name, labels } = statement {
                self.name(name, Entity::Targets(labels.clone()), 0)?;
            }
        }
        for statement in statements {
            match statement {
                Statement::Label { name } => {
                    let Some(Entity::Label(label)) = self.find(name) else { unreachable!("labels were named above") };
                    self.place_label(label);
                }
                Statement::BranchTargets { .. } => {}
                Statement::Variable(variable) => self.declare(variable)?,
                Statement::Registers { scalar, name, count: Some(count), .. } => {
                    let scope = self.scopes.last_mut().expect("a scope is open");
                    scope.families.push((name.clone(), *count, *scalar));
                }
                Statement::Registers { scalar, name, count: None, line } => {
                    let slot = self.register(name, *scalar);
                    self.name(name, Entity::Register { slot, scalar: *scalar }, *line)?;
                }
                Statement::Block(inner) => {
                    self.scopes.push(Scope::default());
                    self.block(inner)?;
                    self.scopes.pop();
                }
                Statement::Instruction(instruction) => self.instruction(instruction)?,
            }
        }
        Ok(())
    }

    fn instruction(&mut self, instruction: &Instruction) -> Result<(), ParseError> {
        self.guard = match &instruction.guard {
            None => None,
            Some(guard) => {
                let slot = self.predicate_named(&guard.name, instruction.line)?;
                Some(if guard.negate { slot.negated() } else { slot })
            }
        };
        self.note = Note {
            line: instruction.line,
            text: instruction.text.clone(),
            source: instruction.location.and_then(|location| self.source_of(location)),
        };
        decode_instruction(self, instruction)
    }

    /// `file.cu:12 (inlined at file.cu:40)`
    fn source_of(&self, location: u32) -> Option<String> {
        let location = self.tree.locations.get(location as usize)?;
        let file = self.tree.files.get(&location.file)?;
        let mut text = format!("{file}:{}", location.line);
        if let Some((file, line)) = location.inlined_at {
            let file = self.tree.files.get(&file).map_or("?", String::as_str);
            text += &format!(" (inlined at {file}:{line})");
        }
        Some(text)
    }

    /// Resolves labels, finds reconvergence points, and gives registers their places.
    pub fn finish(mut self, function: &Function) -> Result<Kernel, ParseError> {
        // Control that falls off the end leaves the kernel.
        self.guard = None;
        self.emit(Op::Exit, Vec::new(), Vec::new());
        self.resolve_labels();
        let graph = flow::Graph::new(&self.code);
        let reconvergence = graph.reconvergence(&self.code);
        let files = registers::assign(&mut self, &graph);
        let mut operands = Vec::new();
        let (mut code, mut notes) = (Vec::new(), Vec::new());
        for draft in self.code {
            code.push(Decoded {
                op: draft.op,
                guard: draft.guard,
                operands: operands.len() as u32,
                destinations: draft.destinations.len() as u8,
                sources: draft.sources.len() as u8,
                asks: draft.sources.iter().chain(&draft.guard).any(|&slot| files.is_asked(slot)),
                tells: draft.destinations.iter().any(|&slot| files.is_asked(slot)),
            });
            operands.extend(draft.destinations);
            operands.extend(draft.sources);
            notes.push(draft.note);
        }
        Ok(Kernel {
            name: function.name.clone(),
            target: self.tree.target,
            code,
            notes,
            operands,
            reconvergence,
            inputs: self.inputs,
            symbols: self.symbols,
            values: files.values,
            predicates: files.predicates,
            asked: files.asked,
            asked_values: files.asked_values,
            asked_predicates: files.asked_predicates,
            parameters: self.parameters,
            parameter_bytes: self.parameter_bytes,
            shared: self.shared,
            shared_end: self.shared_end,
            dynamic_align: self.dynamic_align,
            local: self.local,
            local_end: self.local_end,
            max_threads: function.max_threads,
            required_threads: function.required_threads,
            reads_noncoherent: self.reads_noncoherent,
        })
    }

    fn resolve_labels(&mut self) {
        let labels = &self.labels;
        let place = |label: &mut u32| *label = labels[*label as usize].expect("every label is placed in its block");
        for draft in &mut self.code {
            match &mut draft.op {
                Op::Branch { target, .. } => place(target),
                Op::BranchIndexed { targets, .. } => targets.iter_mut().for_each(place),
                _ => {}
            }
        }
    }
}

/// Puts a variable behind the others with a guard gap between.
fn place(ranges: &mut Vec<Range>, end: &mut u32, variable: &Variable, bytes: u32) -> u32 {
    let gap = if ranges.is_empty() { 0 } else { GUARD_BYTES };
    let start = (*end + gap).next_multiple_of(variable.align.max(1));
    *end = start + bytes;
    ranges.push(Range { name: variable.name.clone(), start, bytes });
    start
}

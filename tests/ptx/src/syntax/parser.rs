//! The module level: directives, variables, functions (PTX ISA 11).

use super::lexer::{Kind, Token, tokens};
use super::tree::{Function, Initialiser, Location, LocationIndex, Scalar, Sort, Space, Tree, Variable};
use crate::module::ParseError;

/// Parses a module.
pub(crate) fn parse(text: &str) -> Result<Tree, ParseError> {
    let mut parser =
        Parser { text, tokens: tokens(text)?, at: 0, tree: Tree::default(), location: None, used_bytes: None };
    parser.module()?;
    Ok(parser.tree)
}

/// A cursor over the tokens, and what they have made so far.
pub(super) struct Parser<'a> {
    pub text: &'a str,
    tokens: Vec<Token<'a>>,
    at: usize,
    pub tree: Tree,
    /// The `.loc` in force.
    pub location: Option<LocationIndex>,
    /// What a pragma says about the next instruction.
    pub used_bytes: Option<u32>,
}

impl<'a> Parser<'a> {
    pub fn peek(&self) -> Token<'a> {
        self.tokens[self.at]
    }

    pub fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    /// End of the token before the cursor.
    pub fn end_of_previous(&self) -> usize {
        self.tokens[self.at.saturating_sub(1)].end
    }

    pub fn error<T>(&self, token: Token<'_>, wanted: &str) -> Result<T, ParseError> {
        let found = match token.kind {
            Kind::End => "the end of the text",
            _ => &self.text[token.start..token.end],
        };
        Err(ParseError::new(token.line, format!("expected {wanted}, found `{found}`")))
    }

    pub fn accept(&mut self, mark: u8) -> bool {
        let found = self.peek().kind == Kind::Mark(mark);
        if found {
            self.next();
        }
        found
    }

    pub fn expect(&mut self, mark: u8) -> Result<(), ParseError> {
        let token = self.next();
        if token.kind == Kind::Mark(mark) { Ok(()) } else { self.error(token, &format!("`{}`", mark as char)) }
    }

    pub fn accept_word(&mut self, word: &str) -> bool {
        let found = self.peek().kind == Kind::Word(word);
        if found {
            self.next();
        }
        found
    }

    pub fn word(&mut self, wanted: &str) -> Result<&'a str, ParseError> {
        let token = self.next();
        match token.kind {
            Kind::Word(word) => Ok(word),
            _ => self.error(token, wanted),
        }
    }

    pub fn integer(&mut self) -> Result<u32, ParseError> {
        let token = self.next();
        match token.kind {
            Kind::Integer(value) if u32::try_from(value).is_ok() => Ok(value as u32),
            _ => self.error(token, "an integer"),
        }
    }

    fn module(&mut self) -> Result<(), ParseError> {
        loop {
            let token = self.peek();
            let Kind::Word(word) = token.kind else {
                return if token.kind == Kind::End { Ok(()) } else { self.error(token, "a directive") };
            };
            match word {
                ".version" => self.version()?,
                ".target" => self.target()?,
                ".address_size" => {
                    self.next();
                    if self.integer()? != 64 {
                        return self.error(token, "64-bit addresses");
                    }
                }
                ".file" | ".loc" | ".section" | ".pragma" => self.debug_directive()?,
                _ => self.declaration()?,
            }
        }
    }

    fn version(&mut self) -> Result<(), ParseError> {
        self.next();
        let token = self.next();
        let known = matches!(token.kind, Kind::Double(bits) if (6.0..10.0).contains(&f64::from_bits(bits)));
        if known { Ok(()) } else { self.error(token, "a PTX version from 6.0 to 9.x") }
    }

    fn target(&mut self) -> Result<(), ParseError> {
        self.next();
        let token = self.next();
        let number = match token.kind {
            // `sm_90a`, `sm_100f`: the letter allows more instructions, which are refused one by one.
            Kind::Word(name) => name.strip_prefix("sm_").map(|number| number.trim_end_matches(['a', 'f'])),
            _ => None,
        };
        match number.and_then(|number| number.parse().ok()) {
            Some(number) => self.tree.target = number,
            None => return self.error(token, "a target `sm_XX`"),
        }
        let more = self.peek();
        if more.kind == Kind::Mark(b',') {
            return self.error(more, "no target option (`debug`, `texmode_*` and `map_f64_to_f32` are not supported)");
        }
        Ok(())
    }

    /// `.file`, `.loc`, `.section`, `.pragma`: nothing that changes what the code computes. The pragma `nounroll` tunes
    /// the real assembler; `used_bytes_mask` says which bytes the next load needs.
    pub fn debug_directive(&mut self) -> Result<(), ParseError> {
        let token = self.next();
        match token.kind {
            Kind::Word(".file") => {
                let index = self.integer()?;
                let name = self.next();
                let Kind::Text(path) = name.kind else { return self.error(name, "a file name") };
                self.tree.files.insert(index, path.to_owned());
                while self.accept(b',') {
                    self.next();
                }
                Ok(())
            }
            Kind::Word(".loc") => self.loc(),
            Kind::Word(".section") => {
                self.word("a section name")?;
                self.skip_braces()
            }
            Kind::Word(".pragma") => {
                let token = self.next();
                match token.kind {
                    Kind::Text("nounroll") => {}
                    Kind::Text(text) => match text.strip_prefix("used_bytes_mask ").and_then(mask) {
                        Some(mask) => self.used_bytes = Some(mask),
                        None => return self.error(token, "the pragma \"nounroll\" or \"used_bytes_mask\""),
                    },
                    _ => return self.error(token, "a pragma in quotes"),
                }
                self.expect(b';')
            }
            _ => self.error(token, "a directive"),
        }
    }

    fn loc(&mut self) -> Result<(), ParseError> {
        let (file, line, _column) = (self.integer()?, self.integer()?, self.integer()?);
        let mut inlined_at = None;
        while self.accept(b',') {
            match self.word("`function_name` or `inlined_at`")? {
                "function_name" => {
                    self.word("a label")?;
                    if self.accept(b'+') {
                        self.integer()?;
                    }
                }
                _ => {
                    inlined_at = Some((self.integer()?, self.integer()?));
                    self.integer()?;
                }
            }
        }
        // Line 0 marks code that the compiler made up; the line before says more.
        if line != 0 {
            self.location = Some(self.tree.locations.len() as u32);
            self.tree.locations.push(Location { file, line, inlined_at });
        }
        Ok(())
    }

    fn skip_braces(&mut self) -> Result<(), ParseError> {
        self.expect(b'{')?;
        let mut depth = 1;
        while depth > 0 {
            let token = self.next();
            match token.kind {
                Kind::Mark(b'{') => depth += 1,
                Kind::Mark(b'}') => depth -= 1,
                Kind::End => return self.error(token, "`}`"),
                _ => {}
            }
        }
        Ok(())
    }

    fn declaration(&mut self) -> Result<(), ParseError> {
        let mut external = false;
        loop {
            let token = self.peek();
            match token.kind {
                Kind::Word(".extern") => external = true,
                // Linking is not modelled: one module is all there is.
                Kind::Word(".visible" | ".weak") => {}
                Kind::Word(".entry") => {
                    self.next();
                    return self.function(true);
                }
                Kind::Word(".func") => {
                    self.next();
                    return self.function(false);
                }
                Kind::Word(".global" | ".const" | ".shared") => {
                    let variables = self.variables(external)?;
                    self.tree.variables.extend(variables);
                    return Ok(());
                }
                _ => return self.error(token, "a variable or a function"),
            }
            self.next();
        }
    }

    fn function(&mut self, entry: bool) -> Result<(), ParseError> {
        let line = self.peek().line;
        self.location = None;
        self.accept_word(".noreturn");
        let returns = if self.peek().kind == Kind::Mark(b'(') { self.parameters()? } else { Vec::new() };
        let name = self.word("a function name")?.to_owned();
        let parameters = if self.peek().kind == Kind::Mark(b'(') { self.parameters()? } else { Vec::new() };
        let (mut max_threads, mut required_threads) = (None, None);
        let body = loop {
            let token = self.peek();
            match token.kind {
                Kind::Word(".maxntid") => {
                    self.next();
                    max_threads = Some(self.dimensions()?);
                }
                Kind::Word(".reqntid") => {
                    self.next();
                    required_threads = Some(self.dimensions()?);
                }
                // They steer the register allocation of the real assembler only.
                Kind::Word(".minnctapersm" | ".maxnreg" | ".maxnctapersm") => {
                    self.next();
                    self.integer()?;
                }
                Kind::Word(".noreturn") => {
                    self.next();
                }
                Kind::Word(".pragma") => self.debug_directive()?,
                Kind::Mark(b';') => {
                    self.next();
                    break None;
                }
                Kind::Mark(b'{') => break Some(self.block()?),
                _ => return self.error(token, "`{`, `;` or a performance directive"),
            }
        };
        let function = Function { name, entry, returns, parameters, max_threads, required_threads, body, line };
        match self.tree.functions.iter_mut().find(|known| known.name == function.name) {
            None => self.tree.functions.push(function),
            Some(known) if known.body.is_none() => *known = function,
            Some(_) if function.body.is_none() => {}
            Some(_) => return Err(ParseError::new(line, format!("function `{}` is defined twice", function.name))),
        }
        Ok(())
    }

    fn dimensions(&mut self) -> Result<[u32; 3], ParseError> {
        let mut sizes = [1; 3];
        sizes[0] = self.integer()?;
        for size in &mut sizes[1..] {
            if !self.accept(b',') {
                break;
            }
            *size = self.integer()?;
        }
        Ok(sizes)
    }

    fn parameters(&mut self) -> Result<Vec<Variable>, ParseError> {
        self.expect(b'(')?;
        let mut all = Vec::new();
        if self.accept(b')') {
            return Ok(all);
        }
        loop {
            let token = self.peek();
            if token.kind != Kind::Word(".param") {
                return self.error(token, "`.param` (register parameters are not supported)");
            }
            self.next();
            all.push(self.variable(Space::Param, false)?);
            if self.accept(b')') {
                return Ok(all);
            }
            self.expect(b',')?;
        }
    }

    /// A declaration that starts with its state space and ends with a semicolon.
    pub fn variables(&mut self, external: bool) -> Result<Vec<Variable>, ParseError> {
        let token = self.next();
        let space = match token.kind {
            Kind::Word(".global") => Space::Global,
            Kind::Word(".const") => Space::Const,
            Kind::Word(".shared") => Space::Shared,
            Kind::Word(".local") => Space::Local,
            Kind::Word(".param") => Space::Param,
            _ => return self.error(token, "a state space"),
        };
        let variable = self.variable(space, external)?;
        self.expect(b';')?;
        Ok(vec![variable])
    }

    fn variable(&mut self, space: Space, external: bool) -> Result<Variable, ParseError> {
        let line = self.peek().line;
        let mut align = None;
        let mut lanes = 1;
        let scalar = loop {
            let token = self.next();
            match token.kind {
                Kind::Word(".align") => align = Some(self.integer()?),
                Kind::Word(".v2") => lanes = 2,
                Kind::Word(".v4") => lanes = 4,
                Kind::Word(word) => match word.strip_prefix('.').and_then(Scalar::from_name) {
                    Some(scalar) if scalar != Scalar::Pred => break scalar,
                    _ => return self.error(token, "an alignment or a type"),
                },
                _ => return self.error(token, "an alignment or a type"),
            }
        };
        self.pointer_attributes()?;
        let name = self.word("a name")?.to_owned();
        let mut count = Some(1u64);
        while self.accept(b'[') {
            if self.accept(b']') {
                count = None;
            } else {
                let size = self.integer()?;
                count = count.map(|count| count * u64::from(size));
                self.expect(b']')?;
            }
        }
        let natural = scalar.bytes() * lanes;
        let mut bytes = count.map(|count| count * u64::from(natural));
        let mut initialiser = Initialiser::None;
        if self.accept(b'=') {
            let mut data = Vec::new();
            self.initial_values(scalar, &mut data)?;
            let size = *bytes.get_or_insert(data.len() as u64);
            if data.len() as u64 > size {
                return Err(ParseError::new(line, format!("`{name}` has more initial values than elements")));
            }
            initialiser = Initialiser::Bytes(data);
        }
        let bytes = match bytes {
            Some(bytes) => {
                Some(u32::try_from(bytes).map_err(|_| ParseError::new(line, format!("`{name}` is over 4 GiB large")))?)
            }
            None if external && space == Space::Shared => None,
            None => return Err(ParseError::new(line, format!("`{name}` has no size"))),
        };
        let align = align.unwrap_or(natural);
        if !align.is_power_of_two() {
            return Err(ParseError::new(line, format!("alignment {align} of `{name}` is no power of two")));
        }
        Ok(Variable { space, name, align, bytes, external, initialiser, line })
    }

    /// `.ptr .space .align n`: a promise about a pointer parameter, which every access checks anyway.
    fn pointer_attributes(&mut self) -> Result<(), ParseError> {
        if !self.accept_word(".ptr") {
            return Ok(());
        }
        loop {
            let token = self.peek();
            match token.kind {
                Kind::Word(".global" | ".shared" | ".const" | ".local") => {
                    self.next();
                }
                Kind::Word(".align") => {
                    self.next();
                    self.integer()?;
                }
                _ => return Ok(()),
            }
        }
    }

    fn initial_values(&mut self, scalar: Scalar, data: &mut Vec<u8>) -> Result<(), ParseError> {
        if self.accept(b'{') {
            loop {
                self.initial_values(scalar, data)?;
                if self.accept(b'}') {
                    return Ok(());
                }
                self.expect(b',')?;
            }
        }
        let negative = self.accept(b'-');
        let token = self.next();
        let bits = match (token.kind, scalar.sort()) {
            (Kind::Integer(value), Sort::Bits | Sort::Unsigned | Sort::Signed) => {
                if negative {
                    value.wrapping_neg()
                } else {
                    value
                }
            }
            (Kind::Single(bits), _) if scalar == Scalar::F32 && !negative => u64::from(bits),
            (Kind::Double(bits), _) if scalar == Scalar::F64 && !negative => bits,
            _ => return self.error(token, "a number of the variable's type (addresses are not supported)"),
        };
        data.extend_from_slice(&bits.to_le_bytes()[..scalar.bytes() as usize]);
        Ok(())
    }
}

/// A mask as a pragma writes it: decimal or `0x`.
fn mask(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

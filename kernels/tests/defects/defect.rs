//! One planted defect.

/// A change of one place in a kernel that must not go unnoticed.
#[derive(Debug)]
pub struct Defect {
    pub name: &'static str,
    /// Text that occurs once in the kernel's file and the headers that it includes.
    pub find: &'static str,
    pub replace: &'static str,
    pub expect: Expect,
}

/// How a defect shows.
#[derive(Debug)]
pub enum Expect {
    /// The interpreter stops with a sentence that holds one of these words.
    Fault(&'static [&'static str]),
    /// The check refuses the result.
    WrongResult,
    /// Either.
    Anything,
}

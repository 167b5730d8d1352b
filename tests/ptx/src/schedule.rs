//! Which warp runs next.

/// Order in which the warps of all resident blocks take steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schedule {
    /// Warp after warp, each until it waits: the same order every time.
    RoundRobin,
    /// Any warp, for a random number of memory and synchronisation instructions, in an order that the seed fixes.
    Random(u64),
}

/// The choices of a schedule.
#[derive(Debug)]
pub(crate) struct Chooser {
    random: Option<XorShift>,
    turn: usize,
}

impl Chooser {
    pub fn new(schedule: Schedule) -> Chooser {
        let random = match schedule {
            Schedule::RoundRobin => None,
            Schedule::Random(seed) => Some(XorShift::new(seed)),
        };
        Chooser { random, turn: 0 }
    }

    /// Where among `count` warps to look for the next one that can run.
    pub fn start(&mut self, count: usize) -> usize {
        match &mut self.random {
            Some(random) => random.below(count as u64) as usize,
            None => self.turn % count,
        }
    }

    /// The warp at `chosen` runs.
    pub fn chose(&mut self, chosen: usize) {
        self.turn = chosen + 1;
    }

    /// How many visible instructions the chosen warp runs before the next choice. Short and long runs are equally
    /// common, so that warps also get far apart.
    pub fn burst(&mut self) -> u64 {
        match &mut self.random {
            Some(random) => {
                let scale = random.below(8);
                1 + random.below(1 << scale)
            }
            None => u64::MAX,
        }
    }

    /// Index of the block to start next among `count`.
    pub fn block(&mut self, count: usize) -> usize {
        self.random.as_mut().map_or(0, |random| random.below(count as u64) as usize)
    }

    /// A coin toss, always tails for a fixed order.
    pub fn toss(&mut self) -> bool {
        self.random.as_mut().is_some_and(|random| random.below(2) == 1)
    }
}

/// Marsaglia's xorshift64*.
#[derive(Debug)]
struct XorShift(u64);

impl XorShift {
    fn new(seed: u64) -> XorShift {
        // The state must not be zero; neighbouring seeds must not begin alike.
        XorShift((seed ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }
}

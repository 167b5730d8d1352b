//! Shapes of the models that people prune.

/// Image and text tokens of one 1024 x 1024 picture.
pub const SD35_TOKENS: usize = 4096 + 333;
pub const FLUX_TOKENS: usize = 4096 + 512;

/// A Linear of a model.
#[derive(Debug, Clone, Copy)]
pub struct Linear {
    pub name: &'static str,
    pub tokens: usize,
    pub features: usize,
    pub columns: usize,
}

/// The Linears of SD3.5-large's image stream and of FLUX.1's double and single blocks.
pub const LINEARS: [Linear; 8] = [
    Linear { name: "sd3.5-large to_q", tokens: 4096, features: 2432, columns: 2432 },
    Linear { name: "sd3.5-large ff.net.0", tokens: 4096, features: 9728, columns: 2432 },
    Linear { name: "sd3.5-large ff.net.2", tokens: 4096, features: 2432, columns: 9728 },
    Linear { name: "flux.1 to_q", tokens: 4096, features: 3072, columns: 3072 },
    Linear { name: "flux.1 ff.net.0", tokens: 4096, features: 12288, columns: 3072 },
    Linear { name: "flux.1 ff.net.2", tokens: 4096, features: 3072, columns: 12288 },
    Linear { name: "flux.1 single q, k, v, proj_mlp", tokens: FLUX_TOKENS, features: 21504, columns: 3072 },
    Linear { name: "flux.1 single proj_out", tokens: FLUX_TOKENS, features: 3072, columns: 15360 },
];

//! The recorded layer cases of the official OBS-Diff code.

use std::collections::HashMap;

use obsdiff::ops::{
    CountRule, Engine, FactoredHessian, Hessian, Mask, NM, Pattern, Rounding, Sparsity, SweepOptions, Tensor,
};

use super::{Array, data, read};

/// One recorded layer.
pub struct Case {
    pub name: String,
    pub pattern: Pattern,
    pub block_size: usize,
    pub damping: f64,
    pub tensors: HashMap<String, Array>,
}

/// The unstructured and N:M cases of `summary.json`.
pub fn cases() -> Vec<Case> {
    let text = std::fs::read_to_string(data("layers/summary.json")).expect("summary");
    let summary: serde_json::Value = serde_json::from_str(&text).expect("json");
    let cases: Vec<Case> = summary
        .as_object()
        .expect("object")
        .iter()
        .filter(|(name, _)| name.starts_with("un") || name.starts_with("nm"))
        .map(|(name, entry)| {
            let keyword = |key: &str| entry["kw"].get(key).and_then(serde_json::Value::as_f64);
            let pattern = match (keyword("prunen"), keyword("prunem")) {
                (Some(n), Some(m)) if m > 0.0 => Pattern::NM(NM::new((m - n) as usize, m as usize).expect("N:M")),
                _ => Pattern::Unstructured(Sparsity::new(keyword("sparsity").expect("sparsity")).expect("in [0, 1)")),
            };
            Case {
                name: name.clone(),
                pattern,
                block_size: keyword("blocksize").unwrap_or(128.0) as usize,
                damping: keyword("percdamp").unwrap_or(0.01),
                tensors: read(data(&format!("layers/{name}.safetensors"))),
            }
        })
        .collect();
    assert!(cases.len() >= 8, "found only {} cases", cases.len());
    cases
}

impl Case {
    pub fn shape(&self) -> (usize, usize) {
        (self.tensors["W"].shape[0], self.tensors["W"].shape[1])
    }

    /// `2 / sum(w_t B) * sum(w_t x x^T)` from the recorded inputs.
    pub fn hessian(&self, engine: &dyn Engine) -> Box<dyn Hessian> {
        let (x, weights) = (&self.tensors["x"], &self.tensors["w"].values);
        let columns = x.shape[3];
        let mut h = engine.hessian(columns).unwrap();
        let per_step = x.values.len() / weights.len();
        for (step, &weight) in weights.iter().enumerate() {
            let rows: Vec<f32> = x.values[step * per_step..(step + 1) * per_step].iter().map(|&v| v as f32).collect();
            let inputs = Tensor::from_vec(rows, &x.shape[1..]).unwrap();
            assert!(h.add(&engine.upload(&inputs).unwrap(), weight).unwrap(), "{}: finite inputs", self.name);
        }
        h.scale((2.0 / (weights.iter().sum::<f64>() * x.shape[1] as f64)) as f32).unwrap();
        h
    }

    pub fn factor(&self, hessian: Box<dyn Hessian>) -> Box<dyn FactoredHessian> {
        hessian.factor(self.damping).expect("positive definite")
    }

    pub fn sweep(
        &self,
        factored: &dyn FactoredHessian,
        count: CountRule,
        engine: &dyn Engine,
    ) -> (Vec<f32>, Mask, f64) {
        let (rows, columns) = self.shape();
        let weight = Tensor::from_vec(self.tensors["W"].f32(), [rows, columns]).unwrap();
        let options =
            SweepOptions { pattern: self.pattern, block_size: self.block_size, count, rounding: Rounding::None };
        let swept = factored.sweep(engine.upload(&weight).unwrap(), &options).unwrap();
        (swept.weight.to_vec().unwrap(), swept.mask, swept.damped_loss)
    }
}

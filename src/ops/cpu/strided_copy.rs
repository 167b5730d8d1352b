//! The values at strided places of an array: windows of a tensor, and its axes in another order.

use rayon::prelude::*;

use crate::ops::Strided;

/// Values per task at least.
const TASK: usize = 64 * 1024;

/// Value (i, j, ..) of the row-major result is `source[at.offset + i * at.strides[0] + j * at.strides[1] + ..]`.
pub fn strided_copy<T: Copy + Default + Send + Sync>(source: &[T], at: &Strided) -> Vec<T> {
    let (mut shape, mut strides) = merged(at);
    let mut out = vec![T::default(); shape.iter().product()];
    let (Some(length), Some(stride)) = (shape.pop(), strides.pop()) else {
        out.fill(source[at.offset]);
        return out;
    };
    if out.is_empty() {
        return out;
    }
    out.par_chunks_mut(length).with_min_len(TASK.div_ceil(length)).enumerate().for_each(|(run, out)| {
        let (mut rest, mut start) = (run, at.offset);
        for (size, stride) in shape.iter().zip(&strides).rev() {
            start += rest % size * stride;
            rest /= size;
        }
        match stride {
            1 => out.copy_from_slice(&source[start..start + length]),
            _ => out.iter_mut().zip(source[start..].iter().step_by(stride)).for_each(|(out, &value)| *out = value),
        }
    });
    out
}

/// Shape and strides with axes merged that follow each other without a gap, and without axes of size 1.
fn merged(at: &Strided) -> (Vec<usize>, Vec<usize>) {
    let (mut shape, mut strides): (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::new());
    for (&size, &stride) in at.shape.iter().zip(&at.strides).filter(|(size, _)| **size != 1) {
        match (shape.last_mut(), strides.last_mut()) {
            (Some(outer), Some(last)) if *last == stride * size => {
                *outer *= size;
                *last = stride;
            }
            _ => {
                shape.push(size);
                strides.push(stride);
            }
        }
    }
    (shape, strides)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, index by index.
    fn reference(source: &[usize], at: &Strided) -> Vec<usize> {
        let mut places = vec![at.offset];
        for (&size, &stride) in at.shape.iter().zip(&at.strides) {
            places = places.iter().flat_map(|place| (0..size).map(move |i| place + i * stride)).collect();
        }
        places.into_iter().map(|place| source[place]).collect()
    }

    #[test]
    fn follows_its_definition_for_every_order_and_window_of_three_axes() {
        let sizes = [3, 4, 5];
        let source: Vec<usize> = (0..60).collect();
        let strides = [20, 5, 1];
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            for lost in 0..27 {
                let lost = [lost % 3, lost / 3 % 3, lost / 9];
                let at = Strided {
                    shape: order.map(|axis| sizes[axis] - lost[axis]).to_vec(),
                    strides: order.map(|axis| strides[axis]).to_vec(),
                    offset: (0..3).map(|axis| lost[axis] * strides[axis]).sum(),
                };
                assert_eq!(strided_copy(&source, &at), reference(&source, &at), "{at:?}");
            }
        }
    }

    #[test]
    fn many_tasks_give_what_one_gives() {
        let (rows, columns) = (700, 901);
        let source: Vec<usize> = (0..rows * columns).collect();
        let turned = Strided { shape: vec![columns, rows], strides: vec![1, columns], offset: 0 };
        assert_eq!(strided_copy(&source, &turned), reference(&source, &turned));
        let window = Strided { shape: vec![rows - 1, columns - 2], strides: vec![columns, 1], offset: columns + 2 };
        assert_eq!(strided_copy(&source, &window), reference(&source, &window));
    }

    #[test]
    fn nothing_and_a_single_value_are_copied_too() {
        let one = Strided { shape: vec![1, 1], strides: vec![2, 1], offset: 3 };
        assert_eq!(strided_copy(&[0, 1, 2, 3], &one), [3]);
        let none = Strided { shape: vec![2, 0], strides: vec![2, 1], offset: 4 };
        assert!(strided_copy(&[0, 1, 2, 3], &none).is_empty());
    }
}

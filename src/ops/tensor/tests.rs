use super::*;
use crate::ops;

/// 0, 1, 2, .. in a shape.
fn counted(shape: &[usize]) -> Tensor {
    Tensor::from_vec((0..shape.iter().product()).map(|i: usize| i as f32).collect(), shape).unwrap()
}

#[track_caller]
fn refused<T: fmt::Debug>(result: Result<T>, parts: &[&str]) {
    let Err(Error::Runtime(message)) = result else { panic!("not refused: {result:?}") };
    parts.iter().for_each(|part| assert!(message.contains(part), "`{part}` is not in: {message}"));
}

#[test]
fn a_clone_keeps_its_values_when_the_other_is_worked_on_in_place() {
    let x = counted(&[2, 3]);
    let kept = x.clone();
    let reshaped = x.reshape([6]).unwrap();
    let changed = ops::silu(ops::gelu(ops::add_scaled(x, -2.0, &kept).unwrap()).unwrap()).unwrap();
    assert_eq!(changed.dims(), [2, 3]);
    assert_ne!(changed.as_slice().unwrap(), kept.as_slice().unwrap());
    for tensor in [kept, reshaped] {
        assert_eq!(tensor.as_slice().unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    }
}

#[test]
fn work_in_place_on_values_of_its_own_moves_nothing() {
    let x = counted(&[5]);
    let place = x.as_slice().unwrap().as_ptr();
    let x = ops::add(x, &counted(&[5])).unwrap().reshape([1, 5]).unwrap();
    assert_eq!(x.as_slice().unwrap().as_ptr(), place);
    let values = x.to_dtype(DType::F32).unwrap().to_host().unwrap().into_vec().unwrap();
    assert_ne!(values.as_ptr(), place, "x still reads them");
    let values = x.into_vec().unwrap();
    assert_eq!(values.as_ptr(), place, "nobody else reads them");
}

#[test]
fn pieces_put_together_give_the_whole_in_every_dtype_along_every_axis() {
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let whole = counted(&[2, 6, 4]).to_dtype(dtype).unwrap();
        for (axis, parts) in [(0, 2), (1, 3), (1, 6), (2, 2), (2, 1)] {
            let pieces = whole.chunk(parts, axis).unwrap();
            assert_eq!(pieces[0].dims()[axis] * parts, whole.dims()[axis]);
            let back = Tensor::cat(&pieces.iter().collect::<Vec<_>>(), axis).unwrap();
            assert_eq!((back.dims(), back.dtype()), (whole.dims(), dtype));
            assert_eq!(back.to_vec().unwrap(), whole.to_vec().unwrap(), "{dtype}, axis {axis}");
        }
    }
}

#[test]
fn windows_and_orders_of_axes_follow_their_indices() {
    let x = counted(&[3, 4, 5]);
    let at = |i: usize, j: usize, k: usize| (20 * i + 5 * j + k) as f32;
    let window = x.window(&[1, 2, 3], &[2, 1, 2]).unwrap();
    assert_eq!(window.as_slice().unwrap(), [at(1, 2, 3), at(1, 2, 4), at(2, 2, 3), at(2, 2, 4)]);
    let turned = x.permute(&[2, 0, 1]).unwrap();
    assert_eq!(turned.dims(), [5, 3, 4]);
    for (k, i, j) in [(0, 0, 0), (4, 2, 3), (3, 0, 2)] {
        assert_eq!(turned.as_slice().unwrap()[12 * k + 4 * i + j], at(i, j, k));
    }
    assert_eq!(turned.permute(&[1, 2, 0]).unwrap().as_slice().unwrap(), x.as_slice().unwrap());
}

#[test]
fn what_does_not_fit_is_refused_with_the_shapes() {
    let x = counted(&[2, 3]);
    refused(Tensor::from_vec(vec![0.0; 5], [2, 3]), &["5 values", "[2, 3]"]);
    refused(x.dims3(), &["expected 3 axes", "[2, 3]"]);
    refused(x.dim(2), &["[2, 3]", "no axis 2"]);
    refused(x.reshape([4, 2]), &["[2, 3]", "[4, 2]"]);
    refused(x.narrow(1, 2, 2), &["[2, 3]", "[2, 2]", "[0, 2]"]);
    refused(x.narrow(1, usize::MAX, 2), &["[2, 3]"]);
    refused(x.narrow(2, 0, 1), &["no axis 2"]);
    refused(x.window(&[0], &[1]), &["[2, 3]"]);
    refused(x.permute(&[0, 0]), &["[0, 0]", "[2, 3]"]);
    refused(x.chunk(2, 1), &["2 parts", "[2, 3]"]);
    refused(Tensor::cat(&[], 0), &["no tensors"]);
    refused(Tensor::cat(&[&x, &counted(&[2, 4])], 0), &["f32 [2, 4] on cpu", "f32 [2, 3] on cpu"]);
    refused(Tensor::cat(&[&x, &x.to_dtype(DType::F16).unwrap()], 0), &["f16 [2, 3]"]);
    let half = x.to_dtype(DType::BF16).unwrap();
    refused(half.as_slice(), &["expected f32 in host memory", "bf16 [2, 3] on cpu"]);
    refused(ops::gelu(half.clone()), &["gelu", "bf16", "expected f32"]);
    refused(ops::linear(&x, &counted(&[4, 2]), None), &["linear", "[2, 3]", "[4, 2]"]);
    refused(ops::add(x.clone(), &counted(&[2])), &["add", "[2]", "[3]"]);
    refused(ops::guidance(&counted(&[3, 2]), 2.0), &["guidance", "[3, 2]"]);
}

//! Joint attention on the interpreter.

mod support;

use half::bf16;
use obsdiff_kernels::attention::{Stream, attention};
use obsdiff_kernels::check;
use obsdiff_kernels::check::random::Random;
use obsdiff_kernels::interpreted::Interpreted;
use obsdiff_kernels::{Buffer, Device, Error, Matrix, MatrixMut, Value};
use obsdiff_ptx::Schedule;

#[test]
fn every_format_head_dimension_and_length_agrees_with_float64() {
    support::assert_passes(&Interpreted::device(), check::attention::run);
}

/// Two streams of 70 and 50 tokens, one head of `head_dim`: both results.
fn small_case<T: Value + bytemuck::Pod>(device: &Device, head_dim: usize, value: fn(f64) -> T) -> [Vec<T>; 2] {
    let mut random = Random::new(11);
    let tokens = [70, 50];
    let tensors = tokens.map(|tokens| {
        [0, 1, 2].map(|_| {
            let values: Vec<T> = (0..tokens * head_dim).map(|_| value(random.normal())).collect();
            Buffer::from_slice(device, &values, "a tensor").expect("room")
        })
    });
    let mut outs = tokens.map(|tokens| Buffer::<T>::zeros(device, tokens * head_dim, "a result").expect("room"));
    let [first_out, second_out] = &mut outs;
    let mut streams: Vec<Stream> = [first_out, second_out]
        .into_iter()
        .zip(&tensors)
        .zip(tokens)
        .map(|((out, [query, key, value]), tokens)| Stream {
            query: Matrix::from_buffer(query, tokens, head_dim).expect("fits"),
            key: Matrix::from_buffer(key, tokens, head_dim).expect("fits"),
            value: Matrix::from_buffer(value, tokens, head_dim).expect("fits"),
            out: Some(MatrixMut::from_buffer(out, tokens, head_dim).expect("fits")),
        })
        .collect();
    attention(device, &mut streams, 1, head_dim).expect("runs");
    drop(streams);
    outs.map(|out| out.to_vec().expect("downloads"))
}

#[test]
fn neither_the_schedule_nor_the_target_changes_a_bit() {
    let narrow = small_case(&Interpreted::device(), 128, bf16::from_f64);
    let wide = small_case(&Interpreted::device(), 64, |value| value as f32);
    support::under_random_schedules(|device, seed| {
        assert!(small_case(device, 128, bf16::from_f64) == narrow, "16 bits, seed {seed}");
        assert!(small_case(device, 64, |value| value as f32) == wide, "32 bits, seed {seed}");
    });
    let newest = Device::new(Interpreted::new("120a", Schedule::RoundRobin, 4));
    assert!(small_case(&newest, 128, bf16::from_f64) == narrow, "16 bits, target 120a");
    assert!(small_case(&newest, 64, |value| value as f32) == wide, "32 bits, target 120a");
}

#[test]
fn tensors_that_do_not_fit_are_refused_with_their_sizes() {
    let device = Interpreted::device();
    let buffer = Buffer::<bf16>::zeros(&device, 4096, "a tensor").expect("room");
    let mut out = Buffer::<bf16>::zeros(&device, 4096, "a result").expect("room");
    let mut refused = |key: [usize; 2], batch: usize, head_dim: usize, streams: usize| -> String {
        let matrix = |[rows, columns]: [usize; 2]| Matrix::from_buffer(&buffer, rows, columns).expect("fits");
        let stream = |out| Stream { query: matrix([6, 48]), key: matrix(key), value: matrix([6, 48]), out };
        let own = MatrixMut::from_buffer(&mut out, 6, 48).expect("fits");
        let mut all = vec![stream(Some(own))];
        all.extend((1..streams).map(|_| stream(None)));
        match attention(&device, &mut all, batch, head_dim) {
            Err(Error::Argument { operation: "attention", problem }) => problem,
            other => panic!("not refused: {other:?}"),
        }
    };
    assert!(refused([5, 48], 1, 16, 1).contains("key is bf16 [5, 48], expected bf16 [6, 48]"));
    assert!(refused([6, 48], 4, 16, 1).contains("6 is not a multiple of 4"));
    assert!(refused([6, 48], 1, 32, 1).contains("48 is not a multiple of 32"));
    assert!(refused([6, 48], 1, 12, 1).contains("heads of 12 channels"));
    assert!(refused([6, 48], 1, 136, 1).contains("heads of 136 channels"));
    assert!(refused([6, 48], 1, 16, 4).contains("4 streams"));
}

#[test]
fn rows_that_do_not_begin_on_16_bytes_are_refused() {
    let device = Interpreted::device();
    let buffer = Buffer::<bf16>::zeros(&device, 4096, "a tensor").expect("room");
    let odd = Matrix::from_buffer(&buffer, 6, 20).and_then(|all| all.column_range(4, 16)).expect("fits");
    let mut streams = [Stream { query: odd, key: odd, value: odd, out: None }];
    let error = attention(&device, &mut streams, 1, 16).expect_err("rows 40 bytes apart");
    assert!(error.to_string().contains("16 bytes"), "{error}");
}

use super::harness::{Bench, options};
use obsdiff_ptx::{FaultKind, LaunchStats, Machine, Module};

const HEAD: &str = ".version 9.0\n.target sm_80\n.address_size 64\n";

fn module(text: &str) -> Module {
    Module::parse("host", &format!("{HEAD}{text}")).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn memory_is_read_as_it_was_written() {
    let mut machine = Machine::new(options());
    let (a, b) = (machine.allocate(100, "a"), machine.allocate(100, "b"));
    assert_eq!((a % 256, b % 256), (0, 0));
    assert!(b - a >= 100 + 4096, "no guard gap");
    machine.fill(a, 7, 100).unwrap();
    machine.write(a + 10, &[1, 2, 3]).unwrap();
    machine.copy(b, a + 9, 5).unwrap();
    let mut bytes = [0; 5];
    machine.read(b, &mut bytes).unwrap();
    assert_eq!(bytes, [7, 1, 2, 3, 7]);
}

#[test]
fn host_accesses_are_checked() {
    let mut machine = Machine::new(options());
    let (a, b) = (machine.allocate(8, "a"), machine.allocate(8, "b"));
    let fault = machine.read(a, &mut [0; 8]).unwrap_err();
    assert_eq!(fault.kind, FaultKind::UninitialisedGlobal);
    assert!(fault.to_string().contains("byte 0 of `a`"), "{fault}");
    assert_eq!(machine.write(a + 4, &[0; 5]).unwrap_err().kind, FaultKind::OutOfBounds);
    assert_eq!(machine.fill(a - 1, 0, 1).unwrap_err().kind, FaultKind::OutOfBounds);
    // A copy carries along which bytes are unwritten.
    machine.fill(b, 1, 8).unwrap();
    machine.write(a + 2, &[5; 2]).unwrap();
    machine.copy(b, a, 4).unwrap();
    let fault = machine.read(b, &mut [0; 8]).unwrap_err();
    assert!(fault.to_string().contains("byte 0 of `b`"), "{fault}");
    machine.read(b + 2, &mut [0; 6]).unwrap();
    machine.free(a).unwrap();
    assert_eq!(machine.free(a).unwrap_err().kind, FaultKind::BadFree);
    assert_eq!(machine.free(b + 1).unwrap_err().kind, FaultKind::BadFree);
    let fault = machine.write(a, &[0]).unwrap_err();
    assert!(fault.to_string().contains("the freed `a`"), "{fault}");
}

#[test]
fn scalar_parameters_lie_at_their_natural_alignment() {
    let module = module(
        ".entry k(.param .u64 out, .param .u8 a, .param .u16 b, .param .f32 c, .param .f64 d)
        {
        .reg .b64 %d<4>; .reg .b32 %r<4>; .reg .b16 %h<4>;
        ld.param.u64 %d1, [out];
        ld.param.u8 %r1, [a];
        ld.param.u16 %r2, [b];
        ld.param.f32 %r3, [c];
        ld.param.f64 %d2, [d];
        st.global.u32 [%d1], %r1;
        st.global.u32 [%d1+4], %r2;
        st.global.u32 [%d1+8], %r3;
        st.global.u64 [%d1+16], %d2;
        st.global.u32 [%d1+12], 0;
        ret;
        }",
    );
    assert_eq!(module.kernels().collect::<Vec<_>>(), ["k"]);
    let mut machine = Machine::new(options());
    let out = machine.allocate(24, "out");
    let mut parameters = out.to_le_bytes().to_vec();
    parameters.extend([9, 0xcc, 1, 2]);
    parameters.extend(0x3f80_0000u32.to_le_bytes());
    parameters.extend(5u64.to_le_bytes());
    let stats = machine.launch(&module, "k", [1; 3], [1; 3], 0, &parameters).unwrap();
    assert_eq!(stats, LaunchStats { steps: 11, warps: 1 });
    let mut bytes = [0; 24];
    machine.read(out, &mut bytes).unwrap();
    assert_eq!(super::harness::words(&bytes), [9, 0x201, 0x3f80_0000, 0, 5, 0]);
}

#[test]
fn a_struct_parameter_is_read_through_its_address() {
    let module = module(
        ".entry k(.param .align 8 .b8 p[24])
        {
        .reg .b64 %d<6>; .reg .b32 %r<4>;
        mov.b64 %d1, p;
        add.s64 %d2, %d1, 8;
        ld.param.u64 %d3, [%d2+-8];
        ld.param.v2.u32 {%r1, %r2}, [%d2];
        cvta.param.u64 %d4, p;
        ld.u32 %r3, [%d4+16];
        add.u32 %r1, %r1, %r2;
        add.u32 %r1, %r1, %r3;
        st.global.u32 [%d3], %r1;
        ret;
        }",
    );
    let mut machine = Machine::new(options());
    let out = machine.allocate(4, "out");
    let mut parameters = out.to_le_bytes().to_vec();
    parameters.extend(super::harness::bytes_of(&[1, 20, 300, 0]));
    machine.launch(&module, "k", [1; 3], [1; 3], 0, &parameters).unwrap();
    let mut bytes = [0; 4];
    machine.read(out, &mut bytes).unwrap();
    assert_eq!(u32::from_le_bytes(bytes), 321);
}

#[test]
fn a_launch_must_fit_the_kernel() {
    let module = module(
        ".extern .shared .align 16 .b8 pool[];
        .entry k(.param .u32 a) .maxntid 64, 1, 1 { .reg .b32 %r<2>; mov.u32 %r1, pool; ret; }
        .entry exact() .reqntid 8, 4 { ret; }",
    );
    let mut machine = Machine::new(options());
    let mut refuse = |kernel: &str, grid, block, shared, parameters: &[u8], reason: &str| {
        let fault = machine.launch(&module, kernel, grid, block, shared, parameters).unwrap_err();
        assert_eq!(fault.kind, FaultKind::BadLaunch, "{fault}");
        assert!(fault.to_string().contains(reason), "{fault}");
    };
    refuse("k", [1; 3], [1; 3], 0, &[0; 8], "8 parameter bytes given, 4 expected");
    refuse("k", [1; 3], [65, 1, 1], 0, &[0; 4], ".maxntid");
    refuse("k", [1; 3], [0, 1, 1], 0, &[0; 4], "a block of");
    refuse("k", [1; 3], [1024, 2, 1], 0, &[0; 4], "a block of");
    refuse("k", [0, 1, 1], [1; 3], 0, &[0; 4], "a grid of");
    refuse("k", [1; 3], [1; 3], (163 << 10) + 1, &[0; 4], "shared memory; sm_80 has 166912");
    refuse("exact", [1; 3], [32, 1, 1], 0, &[], ".reqntid");
    refuse("exact", [1; 3], [8, 4, 1], 16, &[], "a kernel that uses none");
    refuse("nothing", [1; 3], [1; 3], 0, &[], "no kernel `nothing`");
    machine.launch(&module, "exact", [1; 3], [8, 4, 1], 0, &[]).unwrap();
    machine.launch(&module, "k", [1; 3], [64, 1, 1], 163 << 10, &[0; 4]).unwrap();
}

#[test]
fn grids_and_blocks_have_three_axes() {
    let module = module(
        ".entry k(.param .u64 out)
        {
        .reg .b64 %d<4>; .reg .b32 %r<16>;
        ld.param.u64 %d1, [out];
        mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ctaid.y; mov.u32 %r3, %ctaid.z;
        mov.u32 %r4, %nctaid.x; mov.u32 %r5, %nctaid.y;
        mad.lo.u32 %r6, %r3, %r5, %r2; mad.lo.u32 %r6, %r6, %r4, %r1;
        mov.u32 %r1, %tid.x; mov.u32 %r2, %tid.y; mov.u32 %r3, %tid.z;
        mov.u32 %r4, %ntid.x; mov.u32 %r5, %ntid.y; mov.u32 %r7, %ntid.z;
        mad.lo.u32 %r8, %r3, %r5, %r2; mad.lo.u32 %r8, %r8, %r4, %r1;
        mul.lo.u32 %r9, %r4, %r5; mul.lo.u32 %r9, %r9, %r7;
        mad.lo.u32 %r10, %r6, %r9, %r8;
        mad.wide.u32 %d2, %r10, 4, %d1;
        st.global.u32 [%d2], %r10;
        ret;
        }",
    );
    let mut machine = Machine::new(options());
    let count = 2 * 3 * 4 * 5 * 3 * 2;
    let out = machine.allocate(4 * count, "out");
    machine.launch(&module, "k", [2, 3, 4], [5, 3, 2], 0, &out.to_le_bytes()).unwrap();
    let mut bytes = vec![0; 4 * count];
    machine.read(out, &mut bytes).unwrap();
    assert_eq!(super::harness::words(&bytes), (0..count as u32).collect::<Vec<_>>());
}

#[test]
fn a_fault_says_where_in_ptx_and_in_cuda() {
    let module = module(
        ".entry k(.param .u64 p)
        {
        .reg .b64 %d<2>;
        .loc 1 40 3
        ld.param.u64 %d1, [p];
        .loc 1 12 5, function_name $L__info_string0, inlined_at 1 41 3
        st.global.u64 [%d1+8], %d1;
        ret;
        }
        .file 1 \"kernels/sweep.cu\"",
    );
    let mut machine = Machine::new(options());
    let p = machine.allocate(8, "p");
    let fault = machine.launch(&module, "k", [1; 3], [1; 3], 0, &p.to_le_bytes()).unwrap_err();
    let expected = format!(
        "access out of bounds: 8 bytes at {:#x}, 0 past the end of `p` (8 bytes), in kernel k block (0, 0, 0) warp 0 lane 0 \
         at kernels/sweep.cu:12 (inlined at kernels/sweep.cu:41), PTX line 10: `st.global.u64 [%d1+8], %d1;`",
        p + 8
    );
    assert_eq!(fault.to_string(), expected);
}

#[test]
fn a_module_can_be_launched_from_several_machines() {
    let body = "ld.global.u32 %r1, [%d60];\nst.global.u32 [%d61], %r1;";
    let first = Bench::new("", body, &[1, 0, 0, 0], 4);
    let mut second = Bench::new("", body, &[2, 0, 0, 0], 4);
    second.module = first.module;
    second.launch(1, 1, 0).unwrap();
    assert_eq!(second.output_words(), [2]);
}

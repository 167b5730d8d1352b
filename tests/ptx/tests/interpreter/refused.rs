use super::harness::module_with;
use obsdiff_ptx::{Module, ParseError};

/// The error for `body`, which starts on line 13 of the module.
fn refusal(body: &str) -> ParseError {
    match module_with("", body) {
        Ok(_) => panic!("`{body}` was accepted"),
        Err(error) => error,
    }
}

#[track_caller]
fn refused(body: &str, reason: &str) {
    let error = refusal(&format!("add.u32 %r1, %r60, 1;\n{body}"));
    assert!(error.message.contains(reason), "`{body}`: {error}");
    assert_eq!(error.line, 16, "`{body}`: {error}");
}

#[test]
fn unknown_opcodes() {
    for opcode in ["mad24.lo.u32", "mul24.lo.u32"] {
        refused(&format!("{opcode} %r1, %r60, %r60;"), "is not implemented");
    }
    for line in [
        "nanosleep.u32 %r60;",
        "brkpt;",
        "pmevent 1;",
        "vadd.s32.s32.s32 %r1, %r60, %r60, %r60;",
        "ldu.global.u32 %r1, [%d60];",
        "prefetchu.L1 [%d60];",
        "discard.global.L2 [%d60], 128;",
        "createpolicy.fractional.L2::evict_last.b64 %d1;",
        "griddepcontrol.wait;",
        "setmaxnreg.inc.sync.aligned.u32 40;",
        "stacksave.u64 %d1;",
        "wmma.load.a.sync.aligned.row.m16n16k16.f16 {%r1}, [%d60];",
        "cnot.b32 %r1, %r60;",
        "fns.b32 %r1, %r60, 0, 1;",
    ] {
        refused(line, "is not implemented");
    }
}

#[test]
fn what_only_a_gpu_can_show_is_named() {
    for (line, name) in [
        ("wgmma.fence.sync.aligned;", "wgmma"),
        ("mbarrier.init.shared.b64 [%r60], 1;", "mbarrier"),
        ("cp.async.bulk.commit_group;", "cp.async.bulk"),
        ("cp.async.mbarrier.arrive.shared.b64 [%r60];", "cp.async.mbarrier"),
        ("tcgen05.wait::ld.sync.aligned;", "tcgen05"),
        ("tensormap.replace.tile.rank.global.b1024.b32 [%d60], 1;", "tensormap"),
    ] {
        refused(line, &format!("`{name}` is not interpreted: only a GPU can show"));
    }
}

#[test]
fn unknown_modifiers_name_their_place() {
    for (line, part) in [
        ("add.sat.u32 %r1, %r60, %r60;", ".u32"),
        ("add.rn.sat.ftz.f32 %r1, %r60, %r60;", ".ftz"),
        ("add.rz.f64 %d1, %d60, %d60;", ".rz"),
        ("fma.f32 %r1, %r60, %r60, %r60;", ".f32"),
        ("div.rn.sat.f32 %r1, %r60, %r60;", ".sat"),
        ("sqrt.f32 %r1, %r60;", ".f32"),
        ("min.xorsign.abs.f32 %r1, %r60, %r60;", ".xorsign"),
        ("ex2.f32 %r1, %r60;", ".f32"),
        ("tanh.approx.ftz.f32 %r1, %r60;", ".ftz"),
        ("mad.hi.sat.s32 %r1, %r60, %r60, %r60;", ".sat"),
        ("lop3.or.b32 %r1|%p1, %r60, %r60, %r60, 3, %p0;", ".or"),
        ("ld.global.cv.u32 %r1, [%d60];", ".cv"),
        ("ld.global.lu.u32 %r1, [%d60];", ".lu"),
        ("ld.shared.nc.u32 %r1, [%r60];", ".nc"),
        ("ld.mmio.relaxed.sys.global.u32 %r1, [%d60];", ".mmio"),
        ("ld.shared::cluster.u32 %r1, [%r60];", ".shared::cluster"),
        ("ld.global.L2::cache_hint.u32 %r1, [%d60], %d1;", ".L2::cache_hint"),
        ("ld.global.f16 %h1, [%d60];", ".f16"),
        ("st.global.wt.u32 [%d60], %r60;", ".wt"),
        ("st.async.u32 [%r60], %r60, [%r60];", ".async"),
        ("atom.global.add.f32.ftz %r1, [%d60], %r60;", ".ftz"),
        ("atom.global.add.f16 %h1, [%d60], %h1;", ".f16"),
        ("atom.global.add.v2.f32 {%r1, %r2}, [%d60], {%r60, %r60};", ".v2"),
        ("atom.global.min.f32 %r1, [%d60], %r60;", ".f32"),
        ("red.async.relaxed.cluster.global.add.u32 [%d60], %r60;", ".async"),
        ("cp.async.cg.shared.global.L2::cache_hint [%r60], [%d60], 16, %d1;", ".L2::cache_hint"),
        ("cp.async.cg.shared::cluster.global [%r60], [%d60], 16;", ".shared::cluster"),
        ("shfl.bfly.b32 %r1, %r60, 1, 31;", ".bfly"),
        ("shfl.sync.bfly.b64 %d1, %d60, 1, 31, -1;", ".b64"),
        ("vote.ballot.b32 %r1, %p0;", ".ballot"),
        ("redux.sync.add.f32 %r1, %r60, -1;", ".f32"),
        ("redux.sync.min.abs.u32 %r1, %r60, -1;", ".abs"),
        ("barrier.cluster.arrive;", ".cluster"),
        ("fence.proxy.async;", ".proxy"),
        ("fence.mbarrier_init.release.cluster;", ".mbarrier_init"),
        (
            "mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%r1, %r2, %r3, %r4}, {%r5, %r6}, {%r7}, {%r1, %r2, %r3, %r4};",
            ".s32",
        ),
        ("mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32 {%r1}, {%r1}, {%r1}, {%r1};", ".m8n8k4"),
        ("mma.sync.aligned.m16n8k16.row.row.f32.bf16.bf16.f32 {%r1}, {%r1}, {%r1}, {%r1};", ".row"),
        ("mma.sync.aligned.m16n8k16.row.col.satfinite.f32.bf16.bf16.f32 {%r1}, {%r1}, {%r1}, {%r1};", ".satfinite"),
        (
            "mma.sync.aligned.kind::f8f6f4.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%r1}, {%r1}, {%r1}, {%r1};",
            ".kind::f8f6f4",
        ),
        ("ldmatrix.sync.aligned.m16n16.x1.trans.shared.b8 {%r1, %r2}, [%r60];", ".m16n16"),
        ("cvt.rn.e4m3x2.f32 %h1, %r60, %r60;", ".e4m3x2"),
        ("cvt.rs.f16x2.f32 %r1, %r60, %r60, %r60;", ".rs"),
        ("setp.equ.s32 %p1, %r60, %r60;", ".s32"),
        ("setp.lt.b32 %p1, %r60, %r60;", ".b32"),
        ("setp.hi.s32 %p1, %r60, %r60;", ".s32"),
        ("cvta.shared::cluster.u64 %d1, %d60;", ".shared::cluster"),
        ("mov.b128 %d1, {%d60, %d60};", ".b128"),
        ("bar.sync.aligned 0;", ".aligned"),
        ("activemask.u32 %r1;", ".u32"),
        ("prmt.b32.f4f %r1, %r60, %r60, 0;", ".f4f"),
        ("shf.l.b32 %r1, %r60, %r60, 1;", ".b32"),
    ] {
        refused(line, &format!("`{part}"));
    }
}

#[test]
fn conversions_that_do_not_exist() {
    for line in [
        "cvt.f32.s32 %r1, %r60;",
        "cvt.s32.f32 %r1, %r60;",
        "cvt.f32.f64 %r1, %d60;",
        "cvt.rn.f64.f32 %d1, %r60;",
        "cvt.rn.s32.f32 %r1, %r60;",
        "cvt.rni.f64.f32 %d1, %r60;",
    ] {
        assert!(refusal(line).message.contains("is not implemented"), "{line}");
    }
}

#[test]
fn operands_must_fit() {
    for (line, reason) in [
        ("add.u32 %r1, %d60, 1;", "`%d60` is a .b64 register"),
        ("add.u32 %r1, %r60;", "expected 3 operands, found 2"),
        ("add.u32 %r1, %r60, %r99;", "`%r99` is not declared"),
        ("add.u32 %r1, %r60, 0x100000000;", "does not fit"),
        ("add.f32 %r1, %r60, 1;", "no .f32 immediate"),
        ("add.u32 %r1, %r60, 0f3F800000;", "no .u32 immediate"),
        ("mov.u32 %r1, %pm0;", "`%pm0` is not declared"),
        ("mov.u64 %d1, %tid.x;", "`%tid.x` is a .u32"),
        ("add.u32 5, %r60, %r60;", "expected a register"),
        ("@%r60 add.u32 %r1, %r60, 1;", "`%r60` is no predicate"),
        ("ld.shared.u32 %r1, [in];", "`in` lies in .param, not in .shared"),
        ("ld.global.u32 %r1, %d60;", "expected an address"),
        ("ld.global.u32 %r1, [%r60];", "is no global address"),
        ("ld.global.v2.u32 %r1, [%d60];", "expected a vector of 2"),
        ("ld.global.u64 %r1, [%d60];", "`%r1` is a .b32 register"),
        ("lop3.b32 %r1, %r60, %r60, %r60, 256;", "0 to 255"),
        ("lop3.b32 %r1, %r60, %r60, %r60, %r60;", "integer constant"),
        ("cp.async.cg.shared.global [%r60], [%d60], 8;", "cannot copy 8 bytes"),
        ("cp.async.ca.shared.global [%r60], [%d60], 12;", "cannot copy 12 bytes"),
        ("bra NOWHERE;", "expected a label"),
        ("call missing;", "has no body"),
        ("call (%r1), %d1, (%r60), LIST;", "indirect calls"),
        ("bar.arrive 0;", "thread count"),
        ("red.acquire.gpu.global.add.u32 [%d60], 1;", "cannot acquire"),
        ("atom.local.add.u32 %r1, [%d60], 1;", "global and shared"),
        ("setp.lt.f16x2 %p1, %r60, %r60;", "two results"),
        ("setp.lt.and.s32 %p1, %r60, %r60;", "expected 4 operands"),
        ("mov.b64 %d1, {%h1, %h2};", "no .b32 operand"),
        ("mov.b64 %d1, {%h1, %h2, %h3};", "do not fill"),
        ("elect.sync %r1, -1;", "`d|p`"),
    ] {
        refused(line, reason);
    }
}

#[test]
fn kinds_of_registers_do_not_mix() {
    let declare = ".reg .f32 %x;\n.reg .s32 %y;\n";
    let refuse = |line: &str| refusal(&format!("{declare}{line}")).message;
    assert!(refuse("add.u32 %r1, %x, 1;").contains("`%x` is a .f32 register"));
    assert!(refuse("add.f32 %r1, %y, %y;").contains("`%y` is a .s32 register"));
    assert!(module_with("", &format!("{declare}mov.b32 %x, %r60;\nadd.f32 %r1, %x, %x;\nmov.b32 %y, %x;")).is_ok());
}

#[test]
fn modules_that_are_not_for_this_machine() {
    let refuse = |text: &str, reason: &str| {
        let error = Module::parse("m", text).expect_err(text);
        assert!(error.message.contains(reason), "{error}");
    };
    refuse(".version 10.0", "a PTX version");
    refuse(".version 8.0\n.target texmode_unified", "a target");
    refuse(".version 8.0\n.target sm_80, debug", "no target option");
    refuse(".version 8.0\n.target sm_80\n.address_size 32", "64-bit addresses");
    refuse(".global .u64 p = x;", "addresses are not supported");
    refuse(".global .u32 x[2] = {1, 2, 3};", "more initial values");
    refuse(".tex .u32 t;", "a variable or a function");
    refuse(".entry k(.reg .u32 a) { ret; }", "register parameters");
    refuse(".entry k() .reqnctapercluster 2 { ret; }", "a performance directive");
    refuse(".entry k() { .reg .b128 %q; ret; }", "at most 64 bits");
    refuse(".entry k() { .pragma \"enable_smem_spilling\"; ret; }", "the pragma");
    refuse(".entry k() { .reg .b32 %a; .pragma \"used_bytes_mask 15\"; mov.u32 %a, 1; ret; }", "before no load");
    refuse(
        ".global .u32 x; .entry k() { .reg .b32 %a; .pragma \"used_bytes_mask 31\"; ld.global.u32 %a, [x]; }",
        "does not fit",
    );
    refuse(".entry k() { ret;", "the end of the text");
    refuse(".entry k() { /* ", "unclosed comment");
    refuse(".entry k() { add.u32 %a, %b, 0fzz; }", "is no number");
    refuse(".entry k() { ret; }\n.entry k() { ret; }", "defined twice");
    refuse(".entry k() { .reg .b32 %a; .reg .b32 %a; ret; }", "declared twice");
}

#[test]
fn recursion_is_refused() {
    let before = ".func f() { call f; ret; }";
    let error = module_with(before, "call f;").unwrap_err();
    assert!(error.message.contains("recursive"), "{error}");
}

#[test]
fn errors_name_the_module_and_the_line() {
    let error = refusal("nop;");
    assert_eq!(error.to_string(), "snippet:15: opcode `nop` is not implemented (in `nop`)");
}

//! Vector instructions: run-time dispatch.

/// Runs `body` compiled for the widest vector instructions that this CPU has. The closure must be marked
/// `#[inline(always)]`, or it stays compiled for the oldest CPU.
#[inline(always)]
pub fn vectorized<R>(body: impl FnMut() -> R) -> R {
    /// Calls the closure as `FnMut`: calling it as `FnOnce` goes through a shim that is not inlined.
    struct Body<F>(F);

    impl<R, F: FnMut() -> R> pulp::NullaryFnOnce for Body<F> {
        type Output = R;

        #[inline(always)]
        fn call(mut self) -> R {
            (self.0)()
        }
    }

    pulp::Arch::new().dispatch(Body(body))
}

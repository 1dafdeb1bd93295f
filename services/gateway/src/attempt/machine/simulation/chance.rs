//! Chance that is the same everywhere.

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from one up to the other, without it.
    pub(super) fn number(&mut self, from: u64, to: u64) -> u64 {
        from + self.bits() % (to - from)
    }

    pub(super) fn index(&mut self, of: usize) -> usize {
        usize::try_from(self.bits() % of as u64).unwrap()
    }

    pub(super) fn choose<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.index(of.len())]
    }

    /// True so often in a hundred.
    pub(super) fn percent(&mut self, often: u64) -> bool {
        self.number(0, 100) < often
    }
}

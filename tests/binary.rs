//! The static binary that `make static` builds. Skipped, with a line that says so, where it was not built.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// 2.75 MiB: what a container image is meant to pay for an agent.
const BUDGET: u64 = 2_883_584;

/// Where `make static` leaves the binary; None after a line about what is skipped.
pub fn static_binary() -> Option<PathBuf> {
    let arch = std::env::consts::ARCH;
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(target)
        .join(format!("{arch}-unknown-linux-musl/release/meanwhile"));
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is not there; `make static` builds it", path.display());
    None
}

/// The parts of a 64-bit little-endian ELF file that say what it needs (elf(5)).
struct Elf(Vec<u8>);

impl Elf {
    fn number(&self, at: usize, bytes: usize) -> u64 {
        let bytes = &self.0[at..at + bytes];
        bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// Type, offset and size in the file of every segment.
    fn segments(&self) -> Vec<(u64, usize, usize)> {
        let table = self.number(32, 8) as usize;
        let count = self.number(56, 2) as usize;
        let segment = |index| {
            let at = table + 56 * index;
            (self.number(at, 4), self.number(at + 8, 8) as usize, self.number(at + 32, 8) as usize)
        };
        (0..count).map(segment).collect()
    }

    /// The tags of the dynamic section.
    fn dynamic_tags(&self) -> Vec<u64> {
        const PT_DYNAMIC: u64 = 2;
        let segments = self.segments();
        let Some((_, at, size)) = segments.iter().find(|(kind, ..)| *kind == PT_DYNAMIC) else {
            return Vec::new();
        };
        (0..size / 16).map(|entry| self.number(at + 16 * entry, 8)).collect()
    }
}

#[test]
fn it_has_no_interpreter_links_nothing_and_is_small() {
    const PT_INTERP: u64 = 3;
    const DT_NEEDED: u64 = 1;
    let Some(path) = static_binary() else { return };
    let elf = Elf(fs::read(&path).unwrap());
    assert_eq!(elf.0[..6], *b"\x7fELF\x02\x01", "a 64-bit ELF file");
    assert!(elf.segments().iter().all(|(kind, ..)| *kind != PT_INTERP), "it has an interpreter");
    assert!(!elf.dynamic_tags().contains(&DT_NEEDED), "it links a library");
    let size = elf.0.len() as u64;
    assert!(size <= BUDGET, "it has {size} bytes, {BUDGET} are allowed");
}

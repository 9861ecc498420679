//! A small interpreter of classic BPF, with the rules by which the kernel accepts a seccomp program.
//!
//! It shares nothing with the compiler but the form of an instruction: codes are put together from linux/bpf_common.h
//! here once more, and what a program loads comes from the bytes of a `struct seccomp_data`.

use super::Program;

const CLASS: u16 = 0x07;
const LD: u16 = 0x00;
const ALU: u16 = 0x04;
const JMP: u16 = 0x05;
const RET: u16 = 0x06;
/// `BPF_MAXINSNS`.
const LONGEST: usize = 4096;
/// `sizeof(struct seccomp_data)`.
const DATA: usize = 64;

/// What a process asks of the kernel, as a filter sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    /// `AUDIT_ARCH_…`.
    pub(super) audit: u32,
    pub(super) number: u32,
    pub(super) arguments: [u64; 6],
}

impl Call {
    /// `struct seccomp_data` of a little-endian machine.
    fn bytes(&self) -> [u8; DATA] {
        let mut bytes = [0xa5; DATA];
        bytes[0..4].copy_from_slice(&self.number.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.audit.to_le_bytes());
        for (index, argument) in self.arguments.iter().enumerate() {
            bytes[16 + 8 * index..24 + 8 * index].copy_from_slice(&argument.to_le_bytes());
        }
        bytes
    }
}

/// What the kernel would refuse to install: unknown codes, loads beside the data, jumps out of the program, an open end.
pub(super) fn check(program: Program) -> Result<(), String> {
    if program.is_empty() || program.len() > LONGEST {
        return Err(format!("{} instructions", program.len()));
    }
    for (at, &(code, yes, no, operand)) in program.iter().enumerate() {
        let left = program.len() - at - 1;
        let fits = match (code & CLASS, code & !CLASS) {
            // BPF_W | BPF_ABS
            (LD, 0x20) => operand.is_multiple_of(4) && usize::try_from(operand).is_ok_and(|at| at < DATA),
            // BPF_AND | BPF_K
            (ALU, 0x50) | (RET, 0x00) => true,
            // BPF_JEQ, BPF_JGT, BPF_JGE, BPF_JSET, each with BPF_K
            (JMP, 0x10 | 0x20 | 0x30 | 0x40) => usize::from(yes.max(no)) < left,
            _ => return Err(format!("instruction {at}: unknown code {code:#x}")),
        };
        if !fits {
            return Err(format!(
                "instruction {at} leads out: {code:#x} {yes} {no} {operand}"
            ));
        }
    }
    match program.last() {
        Some(&(RET, ..)) => Ok(()),
        _ => Err("the last instruction does not return".to_owned()),
    }
}

/// The answer of a program that [`check`] accepts. Jumps go forward only, so it comes.
pub(super) fn answer(program: Program, call: &Call) -> u32 {
    let data = call.bytes();
    let (mut at, mut accumulator) = (0, 0_u32);
    loop {
        let (code, yes, no, operand) = program[at];
        at += 1;
        let holds = match (code & CLASS, code & !CLASS) {
            (LD, _) => {
                let from = usize::try_from(operand).expect("an offset");
                accumulator = u32::from_le_bytes(data[from..from + 4].try_into().expect("four bytes"));
                continue;
            }
            (ALU, _) => {
                accumulator &= operand;
                continue;
            }
            (RET, _) => return operand,
            (_, 0x10) => accumulator == operand,
            (_, 0x20) => accumulator > operand,
            (_, 0x30) => accumulator >= operand,
            _ => accumulator & operand != 0,
        };
        at += usize::from(if holds { yes } else { no });
    }
}

#[test]
fn what_the_kernel_refuses_is_refused() {
    let back = (RET, 0, 0, 0);
    let good: [&[_]; 2] = [&[back], &[(0x20, 0, 0, 60), (0x15, 0, 0, 1), back]];
    for program in good {
        // A program is for ever, as those of the product are.
        assert_eq!(check(program.to_vec().leak()), Ok(()));
    }
    let bad: [&[_]; 7] = [
        &[],
        &[(0x20, 0, 0, 0)],
        &[(0x20, 0, 0, 64), back],
        &[(0x20, 0, 0, 2), back],
        &[(0x15, 1, 0, 0), back],
        &[(0x15, 0, 1, 0), back],
        &[(0x05, 0, 0, 0), back],
    ];
    for program in bad {
        assert!(check(program.to_vec().leak()).is_err(), "{program:?}");
    }
}

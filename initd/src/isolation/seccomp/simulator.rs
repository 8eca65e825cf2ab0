//! Runs a filter as the kernel would: for tests and fuzz targets.

use super::filter::{AND, JUMP, JUMP_EQ, JUMP_GE, JUMP_GT, LOAD, RETURN, X86_64};

/// Size of struct seccomp_data.
const DATA: usize = 64;

/// The action of `program` for a call, and after how many steps. None where the kernel would have refused the program
/// (an instruction that it does not know, a load or a jump that leads out of it).
pub fn run(program: &[libc::sock_filter], number: u32, arguments: [u64; 6]) -> Option<(u32, usize)> {
    let mut data = Vec::with_capacity(DATA);
    data.extend(number.to_le_bytes());
    data.extend(X86_64.to_le_bytes());
    data.extend([0; 8]);
    arguments.iter().for_each(|argument| data.extend(argument.to_le_bytes()));
    let (mut accumulator, mut at, mut steps) = (0_u32, 0, 0);
    loop {
        let op = program.get(at)?;
        steps += 1;
        at += 1;
        let branch = |holds: bool| usize::from(if holds { op.jt } else { op.jf });
        match op.code {
            LOAD => {
                let word = data.get(op.k as usize..)?.first_chunk()?;
                accumulator = u32::from_le_bytes(*word);
            }
            AND => accumulator &= op.k,
            JUMP => at += op.k as usize,
            JUMP_EQ => at += branch(accumulator == op.k),
            JUMP_GT => at += branch(accumulator > op.k),
            JUMP_GE => at += branch(accumulator >= op.k),
            RETURN => return Some((op.k, steps)),
            _ => return None,
        }
    }
}

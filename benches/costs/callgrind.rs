//! Instructions, counted by callgrind.

use std::path::PathBuf;
use std::process::Command;

use crate::meter::{CASE_ENDS, COUNTED};
use crate::{operations, output, scratch};

/// One file for each case, in their order, and what the program has said.
pub struct Dumps {
    directory: PathBuf,
    pub operations: Vec<(f64, f64)>,
}

impl Dumps {
    pub fn of(name: &str) -> Result<Dumps, String> {
        let mut dumps = Dumps { directory: scratch("callgrind")?, operations: Vec::new() };
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut valgrind = Command::new("valgrind");
        valgrind
            .args(["-q", "--tool=callgrind", "--dump-instr=yes", "--compress-pos=no", "--compress-strings=no"])
            .arg(format!("--toggle-collect={COUNTED}"))
            .arg(format!("--dump-after={CASE_ENDS}"))
            .arg(format!("--callgrind-out-file={}", dumps.directory.join("out").display()))
            .arg(program)
            .args(["--run", name])
            // The same memcpy on every processor.
            .env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX2,-AVX512F,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM");
        dumps.operations = operations(&output(&mut valgrind)?.stdout);
        Ok(dumps)
    }

    /// By the number of the case; 0 is the empty one.
    pub fn read(&self, case: usize) -> Result<String, String> {
        let path = self.directory.join(format!("out.{}", case + 1));
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    }
}

impl Drop for Dumps {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Of one operation of each case whose name has `name` in it.
pub fn instructions(name: &str) -> Result<Vec<f64>, String> {
    let dumps = Dumps::of(name)?;
    let mut instructions = Vec::new();
    let mut of_an_entry = 0.0;
    for (case, &(operations, entries)) in dumps.operations.iter().enumerate() {
        let total = total(&dumps.read(case)?).ok_or("callgrind has not said how many instructions there were")?;
        match case {
            0 => of_an_entry = total / entries,
            _ => instructions.push((total - entries * of_an_entry) / operations),
        }
    }
    Ok(instructions)
}

fn total(dump: &str) -> Option<f64> {
    dump.lines().find_map(|line| line.strip_prefix("totals: "))?.trim().parse().ok()
}

/// What was executed at each address of this program, as its file has them; and of others.
pub fn by_address(dump: &str) -> (Vec<(u64, f64)>, f64) {
    let program = std::env::current_exe().unwrap_or_default();
    let (mut counts, mut others) = (Vec::new(), 0.0);
    let mut is_ours = false;
    let mut lines = dump.lines();
    while let Some(line) = lines.next() {
        if let Some(object) = line.strip_prefix("ob=") {
            is_ours = program.as_os_str() == object;
        } else if line.starts_with("calls=") {
            // What comes next is the cost of all that was called, which has lines of its own.
            lines.next();
        } else if let Some(fields) = line.strip_prefix("0x") {
            let mut fields = fields.split(' ');
            let address = fields.next().and_then(|address| u64::from_str_radix(address, 16).ok());
            let count = fields.nth(1).and_then(|count| count.parse().ok()).unwrap_or(0.0);
            match address {
                Some(address) if is_ours => counts.push((address, count)),
                _ => others += count,
            }
        }
    }
    (counts, others)
}

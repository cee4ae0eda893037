//! What a process has used: CPU seconds and bytes that went to the disk, from `/proc`.

use std::{fs, ops::Sub};

/// Clock ticks a second in `/proc/PID/stat` (`sysconf(_SC_CLK_TCK)`: 100 on every Linux of our targets).
const TICKS: f64 = 100.0;

/// What was used so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Used {
    /// CPU seconds, in user mode and in the kernel.
    pub cpu: f64,
    /// Bytes that the process caused to be written to storage; those of others are readable by root only.
    pub written: f64,
}

impl Used {
    /// By these processes and their threads; one that has ended counts nothing.
    pub fn by(pids: &[u32]) -> Self {
        pids.iter().fold(Self::default(), |sum, pid| {
            let one = Self::one(*pid);
            Self { cpu: sum.cpu + one.cpu, written: sum.written + one.written }
        })
    }

    fn one(pid: u32) -> Self {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Fields are counted behind the name, which may hold blanks: utime and stime are the 12th and 13th from there.
        let fields: Vec<f64> = stat
            .rsplit_once(") ")
            .map(|(_, rest)| rest.split_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect())
            .unwrap_or_default();
        let ticks = fields.get(11).unwrap_or(&0.0) + fields.get(12).unwrap_or(&0.0);
        let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
        let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).and_then(|bytes| bytes.parse().ok());
        Self { cpu: ticks / TICKS, written: written.unwrap_or(0.0) }
    }
}

impl Sub for Used {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self { cpu: self.cpu - before.cpu, written: self.written - before.written }
    }
}

//! What a port counts by itself.

use super::ffi::Port;
use arena::now_ns;

/// How often the port is asked at most: a device may take microseconds to answer.
const EVERY_NS: u64 = 10_000_000;

/// Counters of a port since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStatistics {
    /// Packets received.
    pub received: u64,
    /// Packets sent.
    pub sent: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Packets for which no descriptor was free.
    pub missed: u64,
    /// Packets that the device found damaged or could not take.
    pub receive_errors: u64,
    /// Packets that the device could not send.
    pub send_errors: u64,
    /// Times no buffer was there for a packet or a descriptor.
    pub no_mbuf: u64,
}

/// The counters, asked for now and then.
#[derive(Debug, Default)]
pub(super) struct Statistics {
    asked_ns: u64,
    last: PortStatistics,
}

impl Statistics {
    /// As of a short while ago at most.
    pub fn get(&mut self, port: Port) -> PortStatistics {
        let now = now_ns();
        if now.wrapping_sub(self.asked_ns) >= EVERY_NS
            && let Some(s) = port.statistics()
        {
            self.asked_ns = now;
            self.last = PortStatistics {
                received: s.received,
                sent: s.sent,
                received_bytes: s.received_bytes,
                sent_bytes: s.sent_bytes,
                missed: s.missed,
                receive_errors: s.receive_errors,
                send_errors: s.send_errors,
                no_mbuf: s.no_mbuf,
            };
        }
        self.last
    }

    /// What stays when the port is gone.
    pub fn last(&self) -> PortStatistics {
        self.last
    }
}

/// Packets that the kernel's interface under a virtual device has received since it exists; `None` without one. They are what
/// the port was offered, whoever lived.
pub(super) fn interface_received(device: &str) -> Option<u64> {
    let name = device.split(',').skip(1).find_map(|argument| argument.strip_prefix("iface="))?;
    received_in(&std::fs::read_to_string("/proc/thread-self/net/dev").ok()?, name)
}

/// From the text of `/proc/PID/net/dev` (proc_pid_net(5)): the second number behind the name is packets received.
fn received_in(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_an_interface_are_read() {
        let text =
            "Inter-|   Receive\n face |bytes    packets errs\n   lo:  10  2 0\n fwx10: 99 7 0\n  fwx1: 500   6 1 0\n";
        assert_eq!(received_in(text, "fwx1"), Some(6));
        assert_eq!(received_in(text, "fwx"), None);
        assert_eq!(interface_received("net_null0"), None);
    }
}

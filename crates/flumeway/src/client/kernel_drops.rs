//! Datagrams that the kernel dropped because a socket's receive buffer was full, from `/proc/self/net/udp`.
//!
//! `SO_RXQ_OVFL` would say it too, in ancillary data of each message; the table says it without them, and also for a socket of
//! another process, by its port, which tells overflow at the pipeline from loss elsewhere.

use std::net::{IpAddr, SocketAddr};

/// Which socket to look for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted {
    /// A socket of this process.
    Inode(u64),
    /// Whatever is bound to this local port.
    Port(u16),
}

/// Drops of the socket so far; `None` if the table cannot be read or does not list it.
pub(crate) fn drops(wanted: Wanted, is_ipv6: bool) -> Option<u64> {
    // A socket bound to `[::]` is in the second table and takes IPv4 datagrams too.
    let tables = if is_ipv6 {
        ["/proc/self/net/udp6", "/proc/self/net/udp"]
    } else {
        ["/proc/self/net/udp", "/proc/self/net/udp6"]
    };
    tables.iter().find_map(|table| in_table(&std::fs::read_to_string(table).ok()?, wanted))
}

/// Whether the destination is on this machine, as far as its address tells.
pub(crate) fn is_local(address: &SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback(),
    }
}

/// The sum over all matching lines. Columns by `Documentation/networking/proc_net_tcp.rst` and `net/ipv4/udp.c` of the kernel:
/// 1 local address, 9 inode, 12 (the last) drops.
fn in_table(table: &str, wanted: Wanted) -> Option<u64> {
    let line_drops = |line: &str| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let matches = match wanted {
            Wanted::Inode(inode) => columns.get(9)?.parse() == Ok(inode),
            Wanted::Port(port) => u16::from_str_radix(columns.get(1)?.rsplit_once(':')?.1, 16) == Ok(port),
        };
        if matches { columns.get(12)?.parse::<u64>().ok() } else { None }
    };
    table.lines().skip(1).filter_map(line_drops).reduce(u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops            
  411: 0100007F:2328 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 76543 2 0000000000000000 17        
 1234: 00000000:0044 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 100 2 0000000000000000 3         
";

    #[test]
    fn drops_are_found_by_inode_and_by_port() {
        assert_eq!(in_table(TABLE, Wanted::Inode(76_543)), Some(17));
        assert_eq!(in_table(TABLE, Wanted::Port(9000)), Some(17));
        assert_eq!(in_table(TABLE, Wanted::Port(68)), Some(3));
        assert_eq!(in_table(TABLE, Wanted::Port(9)), None);
        assert_eq!(in_table("garbage\nx y z", Wanted::Port(9)), None);
    }

    #[test]
    fn a_real_overflow_is_counted() {
        let receiver = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        rustix::net::sockopt::set_socket_recv_buffer_size(&receiver, 4096).unwrap();
        let inode = rustix::fs::fstat(&receiver).unwrap().st_ino;
        if drops(Wanted::Inode(inode), false).is_none() {
            println!("SKIPPED: /proc/self/net/udp is not readable here");
            return;
        }
        for _ in 0..200 {
            sender.send_to(&[0; 1000], receiver.local_addr().unwrap()).unwrap();
        }
        let by_inode = drops(Wanted::Inode(inode), false).unwrap();
        assert!((100..200).contains(&by_inode), "{by_inode}");
        assert_eq!(drops(Wanted::Port(receiver.local_addr().unwrap().port()), false), Some(by_inode));
    }
}

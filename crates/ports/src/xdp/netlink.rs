//! Questions to rtnetlink (RFC 3549; include/uapi/linux/rtnetlink.h, if_link.h, if_addr.h), answered for the network
//! namespace of the calling thread. The kernel's answers are checked like any other input.

use super::error::XdpError;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;

/// Bytes of a message's header, and of what precedes the attributes of a link and of an address.
const HEADER: usize = 16;
const LINK: usize = 16;
const ADDRESS: usize = 8;

/// Larger than any datagram that the kernel sends on such a socket unasked.
const RECEIVE_BYTES: usize = 32 << 10;

/// Which link is asked for.
pub(super) enum Which<'a> {
    Name(&'a str),
    Index(u32),
}

/// What is said of a link.
#[derive(Debug)]
pub(super) struct Link {
    pub index: u32,
    pub flags: u32,
    attributes: Vec<u8>,
}

impl Link {
    pub(super) fn attribute(&self, kind: u16) -> Option<&[u8]> {
        attribute(&self.attributes, kind)
    }
}

/// The link, if there is such a one.
pub(super) fn link(which: &Which<'_>) -> Result<Option<Link>, XdpError> {
    /// `IFLA_IFNAME`
    const NAME: u16 = 3;
    let mut body = vec![0; LINK];
    match which {
        Which::Index(index) => body[4..8].copy_from_slice(&index.to_ne_bytes()),
        Which::Name(name) => {
            let value = [name.as_bytes(), &[0]].concat();
            body.extend_from_slice(&(value.len() as u16 + 4).to_ne_bytes());
            body.extend_from_slice(&NAME.to_ne_bytes());
            body.extend_from_slice(&value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
    }
    let mut found = None;
    let asked = ask(RTM_GETLINK, 0, &body, |kind, message| {
        if kind == RTM_NEWLINK && message.len() >= LINK {
            found = Some(Link {
                index: u32_at(message, 4),
                flags: u32_at(message, 8),
                attributes: message[LINK..].to_vec(),
            });
        }
    });
    match asked {
        // A name longer than names can be is out of range.
        Err(XdpError::System { source: Errno::NODEV | Errno::RANGE | Errno::INVAL, .. }) => Ok(None),
        other => other.map(|()| found),
    }
}

/// All addresses, each with the link that has it, as bytes: 4 or 16 of each.
pub(super) fn addresses() -> Result<Vec<(u32, Vec<u8>)>, XdpError> {
    /// `IFA_ADDRESS`, `IFA_LOCAL`: of a point-to-point link the first is the peer's.
    const PEER: u16 = 1;
    const LOCAL: u16 = 2;
    let mut found = Vec::new();
    ask(RTM_GETADDR, NLM_F_DUMP, &[0; ADDRESS], |kind, message| {
        if kind == RTM_NEWADDR && message.len() >= ADDRESS {
            let (index, attributes) = (u32_at(message, 4), &message[ADDRESS..]);
            let address = attribute(attributes, LOCAL).or_else(|| attribute(attributes, PEER));
            found.extend(address.map(|bytes| (index, bytes.to_vec())));
        }
    })?;
    Ok(found)
}

/// Takes the XDP program from link `index`; `flags` say in which mode it is attached (`XDP_FLAGS_*`).
pub(super) fn detach_xdp(index: u32, flags: u32) -> Result<(), XdpError> {
    /// `IFLA_XDP` (43) with `NLA_F_NESTED`, and within it `IFLA_XDP_FD` and `IFLA_XDP_FLAGS`.
    const XDP: u16 = 0x802b;
    const FD: u16 = 1;
    const FLAGS: u16 = 3;
    let mut body = vec![0; LINK];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    for (length, kind) in [(20_u16, XDP), (8, FD)] {
        body.extend_from_slice(&length.to_ne_bytes());
        body.extend_from_slice(&kind.to_ne_bytes());
    }
    // No descriptor: none is to be there.
    body.extend_from_slice(&(-1_i32).to_ne_bytes());
    body.extend_from_slice(&8_u16.to_ne_bytes());
    body.extend_from_slice(&FLAGS.to_ne_bytes());
    body.extend_from_slice(&flags.to_ne_bytes());
    ask(RTM_SETLINK, NLM_F_ACK, &body, |_, _| {})
}

/// The value of an attribute in a list of them.
pub(super) fn attribute(mut list: &[u8], kind: u16) -> Option<&[u8]> {
    /// `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`
    const FLAGS: u16 = 0xc000;
    while let Some(header) = list.get(..4) {
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let value = list.get(4..length)?;
        if u16::from_ne_bytes([header[2], header[3]]) & !FLAGS == kind {
            return Some(value);
        }
        list = list.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// A number in an attribute's value; 0 if it is too short.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

/// Asks, and hands each message of the answer to `take` without its header.
pub(super) fn ask(kind: u16, flags: u16, body: &[u8], mut take: impl FnMut(u16, &[u8])) -> Result<(), XdpError> {
    let socket = open()?;
    let mut request = Vec::with_capacity(HEADER + body.len());
    request.extend_from_slice(&((HEADER + body.len()) as u32).to_ne_bytes());
    request.extend_from_slice(&kind.to_ne_bytes());
    request.extend_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
    // Sequence number and port: one question per socket needs neither.
    request.extend_from_slice(&[0; 8]);
    request.extend_from_slice(body);
    let kernel = netlink::SocketAddrNetlink::new(0, 0);
    rustix::net::sendto(&socket, &request, SendFlags::empty(), &kernel).map_err(XdpError::system("rtnetlink"))?;
    let mut buffer = vec![0; RECEIVE_BYTES];
    loop {
        let (_, len) =
            rustix::net::recv(&socket, &mut buffer[..], RecvFlags::TRUNC).map_err(XdpError::system("rtnetlink"))?;
        let mut rest = buffer.get(..len).ok_or(XdpError::Netlink("a long datagram"))?;
        while !rest.is_empty() {
            let length = u32_at(rest, 0) as usize;
            let message = rest.get(HEADER..length).ok_or(XdpError::Netlink("a short message"))?;
            let kind = u16::from_ne_bytes([rest[4], rest[5]]);
            match kind {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => {
                    let code = (u32_at(message, 0) as i32).wrapping_neg();
                    if code == 0 {
                        return Ok(()); // An order was carried out.
                    }
                    let errno = Errno::from_raw_os_error(code);
                    return Err(XdpError::system("rtnetlink")(errno));
                }
                _ => take(kind, message),
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        }
        // Only a list of several messages ends with one that says so.
        if flags & NLM_F_DUMP == 0 {
            return Ok(());
        }
    }
}

fn open() -> Result<OwnedFd, XdpError> {
    // The protocol whose number is 0, NETLINK_ROUTE, is what no protocol stands for.
    rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)
        .map_err(XdpError::system("rtnetlink"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_and_bad_lengths_end_the_search() {
        let list = [5, 0, 1, 0, 9, 0, 0, 0, 8, 0, 2, 0x80, 1, 2, 3, 4];
        assert_eq!(attribute(&list, 1), Some(&[9][..]));
        assert_eq!(attribute(&list, 2), Some(&[1, 2, 3, 4][..]), "a flag is no part of the kind");
        assert_eq!(attribute(&list, 3), None);
        for len in 0..list.len() {
            attribute(&list[..len], 7);
        }
        assert_eq!(attribute(&[0, 0, 1, 0], 1), None, "a length below its own header");
        assert_eq!(attribute(&[3, 0, 9, 0, 4, 0, 1, 0], 1), None);
    }

    #[test]
    fn the_loopback_is_there_and_others_are_not() {
        let lo = link(&Which::Name("lo")).expect("an answer").expect("a loopback");
        assert_eq!(link(&Which::Index(lo.index)).expect("an answer").expect("the same").index, lo.index);
        assert!(link(&Which::Name("no-such-link")).expect("an answer").is_none());
        assert!(link(&Which::Name("a-name-that-is-much-too-long-for-an-interface")).expect("an answer").is_none());
        assert!(link(&Which::Index(0x7fff_fff0)).expect("an answer").is_none());
    }
}

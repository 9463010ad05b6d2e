//! Calls of libdpdk, each as a function that cannot be misused.
//!
//! Why unsafe: the library is C. What makes these sound: handles are made here alone and freed once; strings end in zero; the
//! buffers that are handed to a device belong to [`Held`]s, which are consumed; lengths and indices are checked on this side. The
//! library keeps per-port state without locks: what configures ports is called by one thread at a time (`eal::Control`).

use arena::Held;
use arena::layout::BUFFER_BYTES;
use dpdk_sys as sys;
use std::ffi::{CStr, CString, c_char, c_int};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;

pub(super) use sys::fw_port_stats as PortStats;
pub(super) use sys::{fw_frame as Frame, fw_packet as Packet, fw_port_config as PortConfig, fw_port_info as PortInfo};

/// Most packets of one call.
pub(super) const BURST: usize = sys::FW_BURST as usize;
pub(super) const BAD_CHECKSUM: u32 = sys::FW_BAD_CHECKSUM;
pub(super) const GOOD_CHECKSUM: u32 = sys::FW_GOOD_CHECKSUM;
pub(super) const SEGMENTED: u32 = sys::FW_SEGMENTED;

/// A negative error number, or what was returned.
fn checked(rc: c_int) -> Result<c_int, c_int> {
    if rc < 0 { Err(-rc) } else { Ok(rc) }
}

fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: needed to read what the library returns: a string that ends in zero and lives as long as the process.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

/// An array of C characters, up to its zero.
pub(super) fn chars(array: &[c_char]) -> String {
    array.iter().take_while(|c| **c != 0).map(|c| char::from(*c as u8)).collect()
}

/// The text of an error number of the library.
pub(super) fn reason(errno: c_int) -> String {
    // SAFETY: takes a number, returns a string of the library's or of this thread's.
    text(unsafe { sys::rte_strerror(errno) })
}

/// This thread's last error number.
pub(super) fn errno() -> c_int {
    // SAFETY: takes nothing.
    unsafe { sys::fw_errno() }
}

/// The library's name and release, e.g. `DPDK 22.11.11`.
pub(super) fn version() -> String {
    // SAFETY: takes nothing.
    text(unsafe { sys::rte_version() })
}

/// Year and month of the headers.
pub(super) fn built_release() -> (u8, u8) {
    // SAFETY: takes nothing.
    let [year, month, ..] = unsafe { sys::fw_version() }.to_be_bytes();
    (year, month)
}

/// The library writes its messages to `file` from now on.
pub(super) fn log_to(file: OwnedFd) {
    let fd = file.into_raw_fd();
    // SAFETY: needed because the library logs to a C stream. The descriptor is ours and open; the stream lives as long as the
    // process, as the library demands.
    unsafe {
        let stream = libc::fdopen(fd, c"w".as_ptr());
        if !stream.is_null() {
            sys::rte_openlog_stream(stream.cast());
        }
    }
}

/// Initialises the environment.
pub(super) fn eal_init(arguments: &[CString]) -> Result<(), c_int> {
    // The library keeps what it is given, and may reorder it.
    let mut pointers: Vec<*mut c_char> = arguments.iter().map(|a| a.clone().into_raw()).collect();
    pointers.push(std::ptr::null_mut());
    let pointers = Vec::leak(pointers);
    // SAFETY: an array of strings that end in zero, itself ended by a null pointer, all of them never freed.
    let rc = unsafe { sys::rte_eal_init(arguments.len() as c_int, pointers.as_mut_ptr()) };
    if rc < 0 { Err(errno()) } else { Ok(()) }
}

/// The folder that the library made for this process.
pub(super) fn runtime_folder() -> String {
    // SAFETY: takes nothing; called after the initialisation.
    text(unsafe { sys::rte_eal_get_runtime_dir() })
}

pub(super) fn iova_is_physical() -> bool {
    // SAFETY: takes nothing.
    unsafe { sys::fw_iova_is_physical() }
}

/// The address that a device uses for `at`, which must be mapped; `None` if nobody knows.
pub(super) fn iova(at: NonNull<u8>) -> Option<u64> {
    // SAFETY: the library looks the page up and does not follow the pointer.
    Some(unsafe { sys::fw_iova(at.as_ptr().cast()) }).filter(|iova| *iova != u64::MAX)
}

/// Tells the library of memory that is mapped for ever. Twice the same is no error.
pub(super) fn register(memory: NonNull<[u8]>, page: usize, iovas: Option<&[u64]>) -> Result<(), c_int> {
    let mut iovas = iovas.map(<[u64]>::to_vec);
    let addresses = iovas.as_mut().map_or(std::ptr::null_mut(), Vec::as_mut_ptr);
    let pages = memory.len() / page;
    assert!(iovas.as_ref().is_none_or(|v| v.len() == pages), "an address for each page");
    // SAFETY: needed so that drivers know memory that the library did not allocate. The mapping is never taken away; the array
    // has an entry for each page and is read during the call.
    let rc = unsafe { sys::rte_extmem_register(memory.as_ptr().cast(), memory.len(), addresses, pages as u32, page) };
    if rc == 0 || errno() == libc::EEXIST { Ok(()) } else { Err(errno()) }
}

/// Address family of a socket; `None` for what is no socket.
pub(super) fn family(fd: RawFd) -> Option<i32> {
    // SAFETY: needed to ask about a bare number; the borrowed descriptor lives for this call alone, and one that is closed
    // meanwhile is refused by the kernel.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    rustix::net::sockopt::socket_domain(fd).ok().map(|family| i32::from(family.as_raw()))
}

/// A program that this process starts does not get the descriptor.
pub(super) fn close_on_exec(fd: RawFd) {
    // SAFETY: as above.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let _ = rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC);
}

/// Closes a descriptor that the library has forgotten.
pub(super) fn close(fd: RawFd) {
    // SAFETY: needed because the library leaks it. Only sockets that it opened for a port that has been removed get here, seen to
    // be the same ones (`sockets`); nobody else knows them.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
}

/// Has the library find `device`, and a driver for it.
pub(super) fn probe(device: &CStr) -> Result<(), c_int> {
    // SAFETY: a string that ends in zero, read during the call.
    checked(unsafe { sys::rte_dev_probe(device.as_ptr()) }).map(|_| ())
}

/// A port of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Port(u16);

impl Port {
    /// As the library numbers it.
    pub(super) fn number(self) -> u16 {
        self.0
    }

    /// The port of the device `name`.
    pub(super) fn find(name: &CStr) -> Option<Self> {
        let mut port = 0;
        // SAFETY: a string that ends in zero and a place for the number.
        (unsafe { sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &raw mut port) } == 0).then_some(Self(port))
    }

    pub(super) fn info(self) -> Result<PortInfo, c_int> {
        let mut info = PortInfo::default();
        // SAFETY: a place for the structure; a number that is no port's is refused by the library, here and below.
        checked(unsafe { sys::fw_port_info(self.0, &raw mut info) })?;
        Ok(info)
    }

    /// Whether the link is up, and its speed in megabits per second; 0: unknown.
    pub(super) fn link(self) -> Option<(bool, u32)> {
        let (mut is_up, mut speed_mbps) = (false, 0);
        // SAFETY: places for a truth value and a number.
        let rc = unsafe { sys::fw_port_link(self.0, &raw mut is_up, &raw mut speed_mbps) };
        (rc == 0).then_some((is_up, speed_mbps))
    }

    /// Bytes from which on a queue of the started port may spread a frame over several buffers, if it does.
    pub(super) fn scatters_from(self, queue: u16) -> Option<u32> {
        // SAFETY: takes numbers.
        Some(unsafe { sys::fw_rx_scatters_from(self.0, queue) }).filter(|bytes| *bytes != 0)
    }

    pub(super) fn statistics(self) -> Option<PortStats> {
        let mut stats = PortStats::default();
        // SAFETY: a place for the structure.
        (unsafe { sys::fw_port_stats(self.0, &raw mut stats) } == 0).then_some(stats)
    }

    pub(super) fn mtu(self) -> Result<u16, c_int> {
        let mut mtu = 0;
        // SAFETY: a place for the number.
        checked(unsafe { sys::rte_eth_dev_get_mtu(self.0, &raw mut mtu) })?;
        Ok(mtu)
    }

    pub(super) fn set_mtu(self, mtu: u16) -> Result<(), c_int> {
        // SAFETY: takes numbers.
        checked(unsafe { sys::rte_eth_dev_set_mtu(self.0, mtu) }).map(|_| ())
    }

    pub(super) fn configure(self, config: &mut PortConfig) -> Result<(), c_int> {
        // SAFETY: a structure that is read and written during the call.
        checked(unsafe { sys::fw_port_configure(self.0, &raw mut *config) }).map(|_| ())
    }

    /// Numbers of descriptors that the port takes instead of these.
    pub(super) fn adjust(self, mut rx: u16, mut tx: u16) -> Result<(u16, u16), c_int> {
        // SAFETY: two numbers that are read and written during the call.
        checked(unsafe { sys::rte_eth_dev_adjust_nb_rx_tx_desc(self.0, &raw mut rx, &raw mut tx) })?;
        Ok((rx, tx))
    }

    pub(super) fn rx_queue(self, queue: u16, descriptors: u16, pool: &Pool) -> Result<(), c_int> {
        // SAFETY: the pool lives until the port is removed: `rx::DpdkRx` holds both, and drops the port first.
        let rc = unsafe { sys::fw_rx_queue_setup(self.0, queue, descriptors, sys::fw_pool_raw(pool.0.as_ptr())) };
        checked(rc).map(|_| ())
    }

    pub(super) fn rx_queue_plain(self, queue: u16, descriptors: u16, pool: &PlainPool) -> Result<(), c_int> {
        // SAFETY: the pool lives until the port is removed: `tx::DpdkTx` holds both, and drops the port first.
        checked(unsafe { sys::fw_rx_queue_setup(self.0, queue, descriptors, pool.0.as_ptr()) }).map(|_| ())
    }

    pub(super) fn tx_queue(self, queue: u16, descriptors: u16) -> Result<(), c_int> {
        // SAFETY: takes numbers.
        checked(unsafe { sys::fw_tx_queue_setup(self.0, queue, descriptors) }).map(|_| ())
    }

    pub(super) fn promiscuous(self) -> Result<(), c_int> {
        // SAFETY: takes a number.
        checked(unsafe { sys::rte_eth_promiscuous_enable(self.0) }).map(|_| ())
    }

    /// Frames to groups: neighbour solicitations (RFC 4861) go to one.
    pub(super) fn all_multicast(self) -> Result<(), c_int> {
        // SAFETY: takes a number.
        checked(unsafe { sys::rte_eth_allmulticast_enable(self.0) }).map(|_| ())
    }

    pub(super) fn start(self) -> Result<(), c_int> {
        // SAFETY: takes a number.
        checked(unsafe { sys::rte_eth_dev_start(self.0) }).map(|_| ())
    }

    /// Stops the port and takes its device away; mbufs in its queues go back to their pools, as far as the driver knows them.
    pub(super) fn remove(self) -> Result<(), c_int> {
        // SAFETY: takes a number.
        checked(unsafe { sys::fw_port_remove(self.0) }).map(|_| ())
    }

    /// Makes memory that is mapped for ever visible to the device at `iova`.
    pub(super) fn map(self, memory: NonNull<[u8]>, iova: u64) -> Result<(), c_int> {
        // SAFETY: needed so that the device's IOMMU knows the arena. The mapping is never taken away; what the device may write
        // there is what the pool is given.
        checked(unsafe { sys::fw_port_map(self.0, memory.as_ptr().cast(), iova, memory.len()) }).map(|_| ())
    }

    /// Receives into `packets`, at most its length and [`BURST`]; returns how many.
    #[inline]
    pub(super) fn receive(self, queue: u16, pool: &mut Pool, packets: &mut [Packet]) -> usize {
        let max = packets.len().min(BURST) as u16;
        // SAFETY: room for `max` packets; queue and port were started, and the pool is theirs.
        usize::from(unsafe { sys::fw_rx_burst(self.0, queue, pool.0.as_ptr(), packets.as_mut_ptr(), max) })
    }

    /// Packets that wait in a queue; `None` where the driver cannot tell.
    pub(super) fn waiting(self, queue: u16) -> Option<u32> {
        // SAFETY: takes numbers.
        u32::try_from(unsafe { sys::fw_rx_queue_count(self.0, queue) }).ok()
    }

    /// Hands frames over; returns how many went. Each lies in its buffer, and is the device's until [`Sender::take_done`] names it.
    #[inline]
    pub(super) fn send(self, queue: u16, sender: &mut Sender, frames: &[Frame]) -> usize {
        let inside = |f: &Frame| f.index < sender.buffers && u64::from(f.offset) + u64::from(f.len) <= BUFFER_BYTES;
        let count = frames.len().min(BURST);
        if !frames[..count].iter().all(inside) {
            return 0;
        }
        // SAFETY: `count` frames, each inside its buffer (just checked); the device reads there until it is done.
        let sent = unsafe { sys::fw_tx_burst(self.0, queue, sender.raw.as_ptr(), frames.as_ptr(), count as u16) };
        usize::from(sent)
    }

    /// Has the driver give back what has been sent. `false`: it cannot be asked.
    pub(super) fn clean_up(self, queue: u16) -> bool {
        // SAFETY: takes numbers.
        unsafe { sys::rte_eth_tx_done_cleanup(self.0, queue, 0) >= 0 }
    }

    /// Interrupts of a queue are told to `epoll` from now on.
    pub(super) fn add_interrupt(self, queue: u16, epoll: BorrowedFd<'_>) -> Result<(), c_int> {
        // SAFETY: takes numbers; the library checks the descriptor by using it.
        checked(unsafe { sys::fw_rx_interrupt_add(self.0, queue, epoll.as_raw_fd()) }).map(|_| ())
    }

    pub(super) fn enable_interrupt(self, queue: u16) {
        // SAFETY: takes numbers. A queue that cannot was refused by `add_interrupt`.
        unsafe { sys::rte_eth_dev_rx_intr_enable(self.0, queue) };
    }

    pub(super) fn disable_interrupt(self, queue: u16) {
        // SAFETY: as above.
        unsafe { sys::rte_eth_dev_rx_intr_disable(self.0, queue) };
    }
}

/// Takes the events that wait in an epoll instance of [`Port::add_interrupt`].
pub(super) fn take_interrupts(epoll: BorrowedFd<'_>) {
    // SAFETY: takes a number; only interrupts that the library added are in that instance.
    unsafe { sys::fw_rx_interrupt_take(epoll.as_raw_fd()) };
}

/// A part of the arena that a device is to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch<'a> {
    /// Where it begins; mapped for ever.
    pub base: NonNull<u8>,
    /// Buffers.
    pub buffers: u32,
    /// Addresses for DMA of each `page` bytes, or none. They live as long as the handle.
    pub iovas: Option<&'a [u64]>,
    pub page: usize,
}

impl Stretch<'_> {
    /// As the shim takes them: copied, for as long as the process lives, since the shim keeps the pointer.
    fn addresses(&self) -> *const u64 {
        let Some(iovas) = self.iovas else { return std::ptr::null() };
        let bytes = u64::from(self.buffers) * BUFFER_BYTES;
        assert!((iovas.len() * self.page) as u64 >= bytes, "an address for each page");
        Vec::leak(iovas.to_vec()).as_ptr()
    }
}

/// The mbufs of a part of the arena.
#[derive(Debug)]
pub(super) struct Pool(NonNull<sys::fw_pool>, u32);

impl Pool {
    /// Makes mbufs in each buffer. All are in the pool.
    pub(super) fn create(
        name: &CStr,
        stretch: Stretch<'_>,
        private_bytes: u16,
        cache: u32,
        numa_node: i32,
    ) -> Result<Self, c_int> {
        // SAFETY: the stretch is mapped writable for ever, and so are the addresses; only the first 192 bytes and the private
        // ones of each buffer are written, which no reader of packets looks at.
        let pool = unsafe {
            sys::fw_pool_create(
                name.as_ptr(),
                stretch.base.as_ptr().cast(),
                stretch.buffers,
                stretch.addresses(),
                stretch.page,
                private_bytes,
                cache,
                numa_node,
            )
        };
        NonNull::new(pool).map(|pool| Self(pool, stretch.buffers)).ok_or_else(errno)
    }

    /// Whether each mbuf lies where its buffer's number says, at an address that is its page's.
    pub(super) fn is_sound(&self) -> bool {
        // SAFETY: reads the pool.
        unsafe { sys::fw_pool_check(self.0.as_ptr()) == 0 }
    }

    /// Buffers that can be received into.
    #[inline]
    pub(super) fn available(&self) -> u32 {
        // SAFETY: reads the pool.
        unsafe { sys::fw_pool_available(self.0.as_ptr()) }
    }

    /// Takes out what is there; `indices` counts from the pool's first buffer. Returns how many.
    pub(super) fn take_out(&mut self, indices: &mut [u32]) -> usize {
        // SAFETY: room for as many as it says.
        unsafe { sys::fw_pool_get(self.0.as_ptr(), indices.as_mut_ptr(), indices.len() as u32) as usize }
    }

    /// Devices may receive into these buffers: handles end, and nobody can look at them any more. `first`: the pool's first.
    #[inline]
    pub(super) fn put(&mut self, first: u32, buffers: &mut Vec<Held>, numbers: &mut Vec<u32>) {
        numbers.clear();
        numbers.extend(buffers.drain(..).map(|held| held.release().wrapping_sub(first)));
        self.put_back(numbers);
    }

    /// The same for buffers that have no handle: their words name the device already. Numbers from the pool's first buffer.
    pub(super) fn put_back(&mut self, numbers: &mut Vec<u32>) {
        numbers.retain(|number| *number < self.1);
        // SAFETY: numbers of buffers of this pool (just checked) that nobody in this process can look at: a handle is made from
        // a word that names the process alone.
        unsafe { sys::fw_pool_put(self.0.as_ptr(), numbers.as_ptr(), numbers.len() as u32) };
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: made by `create`, freed once; its port is gone.
        unsafe { sys::fw_pool_free(self.0.as_ptr()) };
    }
}

/// mbufs without data that point into the arena's buffers.
#[derive(Debug)]
pub(super) struct Sender {
    raw: NonNull<sys::fw_sender>,
    buffers: u32,
}

impl Sender {
    pub(super) fn create(name: &CStr, stretch: Stretch<'_>, headers: u32, numa_node: i32) -> Result<Self, c_int> {
        // SAFETY: as for `Pool::create`; a device only reads there.
        let sender = unsafe {
            sys::fw_sender_create(
                name.as_ptr(),
                stretch.base.as_ptr().cast(),
                stretch.buffers,
                stretch.addresses(),
                stretch.page,
                headers,
                0,
                numa_node,
            )
        };
        NonNull::new(sender).map(|raw| Self { raw, buffers: stretch.buffers }).ok_or_else(errno)
    }

    /// Frames are copied to mbufs of `pool` from now on, and are done with when they have been handed over.
    pub(super) fn copy_to(&mut self, pool: &PlainPool) {
        // SAFETY: the pool lives as long as the sender: `tx::DpdkTx` holds both, and drops the sender first.
        unsafe { sys::fw_sender_copy(self.raw.as_ptr(), pool.0.as_ptr()) };
    }

    /// Buffers that the device is done with; returns how many.
    #[inline]
    pub(super) fn take_done(&mut self, indices: &mut [u32]) -> usize {
        // SAFETY: room for as many as it says.
        unsafe { sys::fw_sender_take_done(self.raw.as_ptr(), indices.as_mut_ptr(), indices.len() as u32) as usize }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // SAFETY: made by `create`, freed once; its port is gone.
        unsafe { sys::fw_sender_free(self.raw.as_ptr()) };
    }
}

/// mbufs in the library's own memory.
#[derive(Debug)]
pub(super) struct PlainPool(NonNull<sys::rte_mempool>);

impl PlainPool {
    pub(super) fn create(name: &CStr, mbufs: u32, numa_node: i32) -> Result<Self, c_int> {
        // SAFETY: a string that ends in zero.
        NonNull::new(unsafe { sys::fw_plain_pool(name.as_ptr(), mbufs, numa_node) }).map(Self).ok_or_else(errno)
    }
}

impl Drop for PlainPool {
    fn drop(&mut self) {
        // SAFETY: made by `create`, freed once; its port is gone.
        unsafe { sys::fw_plain_pool_free(self.0.as_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_end_at_their_zero() {
        assert_eq!(chars(&[110, 101, 116, 0, 120]), "net");
    }
}

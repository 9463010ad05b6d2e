//! The XDP program that `net_af_xdp` leaves on its interface when its process is killed. Others use the same library, and their
//! programs have the same names: what a living process still holds is no leftover, and is never taken away.

use super::machine::{Machine, Unknown};
use ports::xdp::{Foreign, Interface, detach, dispatched, program};

/// What the library's helper (libxdp) calls the program that fills sockets: the whole name, and as the kernel cuts it.
const FILLERS: [&str; 2] = ["xsk_def_prog", "xsk_def_xdp_pro"];
/// And the one that calls others in turn.
const DISPATCHER: &str = "xdp_dispatcher";

/// Whose the program at an interface is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// Nobody's any more: a killed process left it.
    Nobody,
    /// A living process's: its id and name.
    Process(String),
    /// Somebody's who needs no process for it; or that cannot be known.
    Other,
}

/// Whose program `id` at interface `ifindex` is.
pub(super) fn owner(machine: &Machine, ifindex: u32, id: u32) -> Owner {
    let Some(found) = program(id) else { return Owner::Other };
    let called = if found.name == DISPATCHER { dispatched(ifindex, id) } else { Some(Vec::new()) };
    called.map_or(Owner::Other, |called| judge(machine, &found, &called))
}

/// The same for a program and those that it calls.
pub(super) fn judge(machine: &Machine, found: &Foreign, called: &[Foreign]) -> Owner {
    let is_filler = |program: &Foreign| FILLERS.contains(&program.name.as_str());
    // A dispatcher that calls another program besides, or none, was not left by the library.
    let is_librarys = is_filler(found) || (found.name == DISPATCHER && !called.is_empty());
    if !is_librarys || !called.iter().all(is_filler) {
        return Owner::Other;
    }
    let all = || std::iter::once(found).chain(called);
    let programs: Vec<u32> = all().map(|program| program.id).collect();
    let maps: Vec<u32> = all().flat_map(|program| program.maps.iter().copied()).collect();
    match machine.bpf_holder(&programs, &maps) {
        Ok(None) => Owner::Nobody,
        Ok(Some(holder)) => Owner::Process(holder),
        Err(Unknown) => Owner::Other,
    }
}

/// Takes such programs from `interfaces`, whose stages have ended; says what could not be taken. What is somebody else's stays.
pub(crate) fn clear(interfaces: &[String]) -> Vec<String> {
    let machine = Machine::this();
    let left = interfaces.iter().filter_map(|name| {
        let interface = Interface::find(name).ok()?;
        let there = interface.xdp?;
        (owner(&machine, interface.index, there.program) == Owner::Nobody).then_some(interface)
    });
    let cleared = left.filter_map(|interface| {
        let error = detach(&interface).err()?;
        Some(format!("the XDP program stays on {0}: {error}; run: ip link set dev {0} xdp off", interface.name))
    });
    cleared.collect()
}

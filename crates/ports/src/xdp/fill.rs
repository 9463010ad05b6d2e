//! What the loader writes into the program's constants and maps: the other half of `flumeway.bpf.c`.

use super::error::XdpError;
use super::program::Filter;
use acl::{AclAction, Bits, Protocol, WORDS};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, Map};
use aya::{Ebpf, EbpfLoader};
use std::net::IpAddr;

type Words = [u64; WORDS];

/// The `volatile const` values.
pub(super) struct Constants {
    own_mac_first: u32,
    own_mac_last: u16,
    rule_count: u32,
    policy_denies: u32,
    has_sources: u32,
    has_source_ports: u32,
    has_vlans: u32,
    any_source_port: Words,
    any_vlan: Words,
}

impl Constants {
    pub(super) fn new(filter: &Filter<'_>) -> Self {
        let mac = filter.mac;
        let acl = filter.acl;
        Self {
            own_mac_first: u32::from_ne_bytes([mac[0], mac[1], mac[2], mac[3]]),
            own_mac_last: u16::from_ne_bytes([mac[4], mac[5]]),
            rule_count: acl.len() as u32,
            policy_denies: u32::from(acl.policy() == AclAction::Deny),
            has_sources: u32::from(!acl.sources().is_empty()),
            has_source_ports: u32::from(has_source_ports(filter)),
            has_vlans: u32::from(has_vlans(filter)),
            any_source_port: acl.any_source_port().0,
            any_vlan: acl.any_vlan().0,
        }
    }

    pub(super) fn set<'a>(&'a self, loader: &mut EbpfLoader<'a>) {
        loader
            .override_global("own_mac_first", &self.own_mac_first, true)
            .override_global("own_mac_last", &self.own_mac_last, true)
            .override_global("rule_count", &self.rule_count, true)
            .override_global("policy_denies", &self.policy_denies, true)
            .override_global("has_sources", &self.has_sources, true)
            .override_global("has_source_ports", &self.has_source_ports, true)
            .override_global("has_vlans", &self.has_vlans, true)
            .override_global("any_source_port", &self.any_source_port, true)
            .override_global("any_vlan", &self.any_vlan, true);
    }
}

/// Maps take memory only for what the filter uses: the largest are one entry without a rule that needs them.
pub(super) fn size_maps(loader: &mut EbpfLoader<'_>, filter: &Filter<'_>) {
    let or_one = |used: bool, entries: u32| if used { entries } else { 1 };
    let has_rates = filter.acl.rules().any(|rule| rule.rate.is_some());
    loader
        .map_max_entries("locals", (filter.addresses.len() as u32).max(1))
        .map_max_entries("ports", (filter.ports.len() as u32).max(1))
        .map_max_entries("source_ports", or_one(has_source_ports(filter), 1 << 16))
        .map_max_entries("vlans", or_one(has_vlans(filter), 1 << 12))
        .map_max_entries("rules", (filter.acl.len() as u32).max(1))
        .map_max_entries("hits", (filter.acl.len() as u32).max(1))
        .map_max_entries("rates", or_one(has_rates, acl::SOURCES as u32));
}

fn has_source_ports(filter: &Filter<'_>) -> bool {
    !filter.acl.source_port_ranges().is_empty()
}

fn has_vlans(filter: &Filter<'_>) -> bool {
    !filter.acl.named_vlans().is_empty()
}

/// Puts the filter into the maps.
pub(super) fn fill(ebpf: &mut Ebpf, filter: &Filter<'_>) -> Result<(), XdpError> {
    let acl = filter.acl;
    let mut locals: HashMap<_, [u8; 16], Words> =
        HashMap::try_from(map(ebpf, "locals")?).map_err(XdpError::map("locals"))?;
    for address in &filter.addresses {
        locals.insert(octets(*address), acl.destination(*address).0, 0).map_err(XdpError::map("locals"))?;
    }
    let mut ports: HashMap<_, u16, Words> = HashMap::try_from(map(ebpf, "ports")?).map_err(XdpError::map("ports"))?;
    let udp = acl.protocol(Protocol::UDP.0);
    for port in &filter.ports {
        ports.insert(port, (acl.port(*port) & udp).0, 0).map_err(XdpError::map("ports"))?;
    }
    fill_sources(ebpf, filter)?;
    let ranges = acl.source_port_ranges();
    fill_rows(ebpf, "source_ports", ranges.iter().flat_map(|(ports, rules)| ports.range().map(|port| (port, *rules))))?;
    fill_rows(ebpf, "vlans", acl.named_vlans().into_iter().map(|vlan| (vlan, acl.vlan(vlan))))?;
    let mut rules: Array<_, [u64; 3]> = Array::try_from(map(ebpf, "rules")?).map_err(XdpError::map("rules"))?;
    for (n, rule) in acl.rules().enumerate() {
        // `struct rule`: denies:32, is_limited:32, interval_ns:64, tolerance_ns:64.
        let denies = u64::from(rule.action == AclAction::Deny);
        let row = match rule.rate {
            Some(rate) => [denies | 1 << 32, rate.interval_ns, rate.tolerance_ns],
            None => [denies, 0, 0],
        };
        rules.set(n as u32, row, 0).map_err(XdpError::map("rules"))?;
    }
    Ok(())
}

fn fill_sources(ebpf: &mut Ebpf, filter: &Filter<'_>) -> Result<(), XdpError> {
    // The empty prefix first; a rule's own empty prefix says more, and takes its place.
    let any = filter.acl.any_source();
    let mut ipv4: LpmTrie<_, [u8; 4], Words> =
        LpmTrie::try_from(map(ebpf, "sources_ipv4")?).map_err(XdpError::map("sources_ipv4"))?;
    ipv4.insert(&Key::new(0, [0; 4]), any.0, 0).map_err(XdpError::map("sources_ipv4"))?;
    for source in filter.acl.sources() {
        if let IpAddr::V4(network) = source.network {
            let key = Key::new(source.length.into(), network.octets());
            ipv4.insert(&key, source.rules.0, 0).map_err(XdpError::map("sources_ipv4"))?;
        }
    }
    let mut ipv6: LpmTrie<_, [u8; 16], Words> =
        LpmTrie::try_from(map(ebpf, "sources_ipv6")?).map_err(XdpError::map("sources_ipv6"))?;
    ipv6.insert(&Key::new(0, [0; 16]), any.0, 0).map_err(XdpError::map("sources_ipv6"))?;
    for source in filter.acl.sources() {
        if let IpAddr::V6(network) = source.network {
            let key = Key::new(source.length.into(), network.octets());
            ipv6.insert(&key, source.rules.0, 0).map_err(XdpError::map("sources_ipv6"))?;
        }
    }
    Ok(())
}

/// Writes the rows of an array that some rule names; the program adds the rules that name none to each row.
fn fill_rows(ebpf: &mut Ebpf, name: &'static str, named: impl Iterator<Item = (u16, Bits)>) -> Result<(), XdpError> {
    let mut rows: Array<_, Words> = Array::try_from(map(ebpf, name)?).map_err(XdpError::map(name))?;
    for (value, rules) in named {
        rows.set(value.into(), rules.0, 0).map_err(XdpError::map(name))?;
    }
    Ok(())
}

/// The time that rate limits see; 0 is the clock's.
pub(super) fn set_time(ebpf: &mut Ebpf, now_ns: u64) -> Result<(), XdpError> {
    let mut control: Array<_, u64> = Array::try_from(map(ebpf, "control")?).map_err(XdpError::map("control"))?;
    control.set(0, now_ns, 0).map_err(XdpError::map("control"))
}

pub(super) fn map<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Map, XdpError> {
    ebpf.map_mut(name).ok_or_else(|| XdpError::Load(format!("the object has no map called {name}")))
}

/// As the program keeps addresses: IPv4 ones mapped into IPv6.
fn octets(address: IpAddr) -> [u8; 16] {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

//! Which drivers this build has.

/// Names of the drivers, and the versions of DPDK at build and now, as a line of JSON: what stages answer to `--drivers`.
///
/// `{"drivers":["udp","af_xdp","replay"],"dpdk":null}`, or `"dpdk":{"built":"22.11.11","library":"22.11.11"}`.
pub fn drivers() -> String {
    let dpdk = dpdk();
    let last = if dpdk.is_some() { ",\"dpdk\"" } else { "" };
    let dpdk = dpdk.unwrap_or_else(|| "null".to_owned());
    format!("{{\"drivers\":[\"udp\",\"af_xdp\",\"replay\"{last}],\"dpdk\":{dpdk}}}")
}

#[cfg(feature = "dpdk")]
fn dpdk() -> Option<String> {
    let crate::dpdk::Versions { built, library } = crate::dpdk::versions();
    Some(format!("{{\"built\":\"{built}\",\"library\":\"{library}\"}}"))
}

#[cfg(not(feature = "dpdk"))]
fn dpdk() -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_build_says_whether_it_has_dpdk() {
        let said = super::drivers();
        assert!(said.starts_with("{\"drivers\":[\"udp\",\"af_xdp\",\"replay\""), "{said}");
        assert_eq!(said.ends_with("\"dpdk\":null}"), !cfg!(feature = "dpdk"), "{said}");
    }
}

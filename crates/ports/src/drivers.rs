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

fn dpdk() -> Option<String> {
    #[cfg(feature = "dpdk")]
    let versions = Some(crate::dpdk::versions()).map(|v| (v.built, v.library));
    #[cfg(not(feature = "dpdk"))]
    let versions: Option<(String, String)> = None;
    versions.map(|(built, library)| format!("{{\"built\":\"{built}\",\"library\":\"{library}\"}}"))
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

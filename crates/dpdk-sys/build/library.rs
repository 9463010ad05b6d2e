//! Finds libdpdk by pkg-config, makes the bindings and compiles the shim.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

/// Releases that the shim was written for.
const RELEASES: (&str, &str) = ("22.11", "24.11");
/// Functions of libdpdk itself; all others are the shim's.
const FUNCTIONS: &str = "rte_(eal_init|eal_cleanup|version|strerror|openlog_stream|log_set_global_level|dev_probe|extmem_register|\
    extmem_unregister|eth_dev_get_port_by_name|eth_dev_adjust_nb_rx_tx_desc|eth_dev_start|eth_dev_stop|\
    eal_get_runtime_dir|eth_promiscuous_enable|eth_allmulticast_enable|eth_dev_set_mtu|eth_dev_get_mtu|eth_dev_rx_intr_enable|\
    eth_dev_rx_intr_disable|eth_tx_done_cleanup)|fw_.*";

/// Ends the build with a cause and a remedy, and no trace of this program's own.
fn stop(message: &str) -> ! {
    eprintln!("error: {message}");
    std::process::exit(1);
}

pub fn make() {
    for file in ["build.rs", "build/library.rs", "wrapper.h", "shim.h", "shim.c", "buffers.c", "filter.h", "filter.c"] {
        println!("cargo:rerun-if-changed={file}");
    }
    let absent = "Debian: apt install libdpdk-dev libclang-14-dev pkg-config; or build without the feature `dpdk`";
    let library = pkg_config::Config::new().cargo_metadata(false).probe("libdpdk");
    let library = library.unwrap_or_else(|e| stop(&format!("libdpdk is not found by pkg-config: {absent}\n{e}")));
    let release: Vec<_> = library.version.split('.').take(2).collect();
    let release = release.join(".");
    if release.as_str() < RELEASES.0 || release.as_str() > RELEASES.1 {
        stop(&format!(
            "libdpdk {} is installed, and releases {} to {} are supported: point PKG_CONFIG_PATH at one of them, or build \
             without the feature `dpdk`",
            library.version, RELEASES.0, RELEASES.1
        ));
    }
    let flags = flags();
    // Only what is called: of the sixty libraries that pkg-config names, each would be loaded at every start.
    for name in ["rte_acl", "rte_eal", "rte_ethdev", "rte_mbuf", "rte_mempool", "rte_ring"] {
        println!("cargo:rustc-link-lib=dylib={name}");
    }
    for path in &library.link_paths {
        println!("cargo:rustc-link-search=native={}", path.display());
    }
    println!("cargo:rustc-env=FLUMEWAY_DPDK_VERSION={}", library.version);
    compile(&flags);
    bindings(&flags);
}

/// Flags of the C compiler. The crate `pkg-config` leaves out those that are neither folders nor definitions (`-include
/// rte_config.h -march=…`), without which the headers mean something else.
fn flags() -> Vec<String> {
    let pkg_config = env::var_os("PKG_CONFIG").unwrap_or_else(|| "pkg-config".into());
    let output = Command::new(&pkg_config).args(["--cflags", "libdpdk"]).output();
    let output = output.unwrap_or_else(|e| stop(&format!("{} cannot be run: {e}", pkg_config.display())));
    String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect()
}

fn compile(flags: &[String]) {
    let mut build = cc::Build::new();
    build.files(["shim.c", "buffers.c", "filter.c"]).opt_level(2).warnings(true).extra_warnings(true);
    // DPDK's own headers use what is marked as experimental and deprecated.
    build.define("ALLOW_EXPERIMENTAL_API", None).flag("-Wno-unused-parameter");
    for flag in flags {
        build.flag(flag);
    }
    build.compile("flumeway_dpdk");
}

fn bindings(flags: &[String]) {
    let builder = bindgen::Builder::default()
        .header("wrapper.h")
        .clang_args(flags)
        .allowlist_function(FUNCTIONS)
        .allowlist_type("fw_.*")
        .allowlist_var("FW_.*")
        .opaque_type("rte_mempool|rte_device|_IO_FILE")
        .prepend_enum_name(false)
        .derive_default(true)
        .layout_tests(false)
        .generate_comments(false);
    let bindings = builder.generate();
    let bindings = bindings.unwrap_or_else(|e| stop(&format!("the headers of libdpdk cannot be read: {e}")));
    let Some(folder) = env::var_os("OUT_DIR") else { stop("cargo gave no OUT_DIR") };
    // All structures are plain C data.
    let call = "        unsafe {\n            ::std::ptr::write_bytes";
    let reason = format!("        // SAFETY: every byte is written, and zero is a value of each field.\n{call}");
    let text = bindings.to_string().replace(call, &reason);
    if let Err(e) = fs::write(PathBuf::from(folder).join("bindings.rs"), text) {
        stop(&format!("the bindings cannot be written: {e}"));
    }
}

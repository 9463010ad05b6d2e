//! Makes two joined network namespaces, says what they are called, and keeps them until its standard input ends: for trying
//! things by hand, and for the test that kills it.
//!
//! `hold-net [QUEUES]`
#![forbid(unsafe_code)]

use integration_tests::netns::{Net, Options, Side};
use std::io::{Read as _, Write as _};
use std::process::ExitCode;

fn main() -> ExitCode {
    let queues = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1);
    let net = match Net::with("hold-net", Options { queues, ..Options::default() }) {
        Ok(net) => net,
        Err(missing) => {
            eprintln!("hold-net: {missing}");
            return ExitCode::from(3);
        }
    };
    let told = serde_json::json!({
        "pipeline": {"namespace": net.name(Side::Pipeline), "interface": net.interface(Side::Pipeline), "v4": net.v4(Side::Pipeline)},
        "traffic": {"namespace": net.name(Side::Traffic), "interface": net.interface(Side::Traffic), "v4": net.v4(Side::Traffic)},
        "guard": net.guard_pid(),
    });
    println!("{told}");
    // Whoever reads may be gone; the namespaces are kept all the same.
    let _ = std::io::stdout().flush();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    ExitCode::SUCCESS
}

//! What DPDK cannot do here: `check` and `run` say cause and remedy, and leave nothing behind.

use crate::{Pmd, Wanted, both, client, ip, leftovers, names_in, two_ports};
use integration_tests::netns::{Side, Switched};
use integration_tests::pipeline::{PATIENCE, folder};
use integration_tests::shipped;
use integration_tests::traffic::{assert_right, tensor_of};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Exit codes.
const USAGE: i32 = 2;
const ENVIRONMENT: i32 = 3;
/// How often two commands are compared that may see the machine differently.
const ATTEMPTS: usize = 5;

/// The executables that a pipeline starts.
const EXECUTABLES: [&str; 4] = ["flumeway-rx-gateway", "flumeway-preprocess", "flumeway-infer", "flumeway-tx"];

/// Runs the command, and kills it if, against expectation, it goes on.
fn ended(mut command: Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("start flumeway");
    let until = Instant::now() + PATIENCE;
    while child.try_wait().expect("wait").is_none() {
        if Instant::now() > until {
            let _ = child.kill();
            panic!("flumeway did not end");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().expect("its output")
}

/// A desk: where a configuration lies, and what is done before `flumeway` starts.
struct Desk<'a> {
    net: &'a Switched,
    /// Shell commands in the process's own view of the file system.
    before: String,
    /// Where the stages' executables are.
    bin_dir: String,
}

impl<'a> Desk<'a> {
    fn new(net: &'a Switched) -> Self {
        Self { net, before: String::new(), bin_dir: shipped().display().to_string() }
    }

    /// `flumeway COMMAND` refuses this configuration with all of `words`; its message.
    fn refused(&self, command: &str, text: &str, code: i32, words: &[&str]) -> String {
        let dir = folder(&format!("dpdk-wrong-{}", self.net.net().name(Side::Pipeline)));
        let config = dir.join("pipeline.toml");
        let places = format!(
            "control_socket = \"{0}/control.sock\"\nquarantine_dir = \"{0}/quarantine\"\nbin_dir = {1:?}\n",
            dir.display(),
            self.bin_dir
        );
        fs::write(&config, format!("{text}\n[supervisor]\n{places}")).unwrap();
        // The library's folders of this command alone.
        let folders = dir.join("dpdk");
        fs::create_dir(&folders).unwrap();
        let own = format!("mkdir -p /var/run/dpdk && mount --bind {} /var/run/dpdk || exit 98", folders.display());
        let mut shell = self.net.net().command_in(Side::Pipeline, "sh");
        shell.args(["-c", &format!("{own}\n{}\nexec \"$0\" \"$@\"", self.before)]).arg(shipped().join("flumeway"));
        shell.args([command, "--json"]).arg(&config).current_dir("/");
        let out = ended(shell);
        let left_behind = names_in(&folders);
        let _ = fs::remove_dir_all(&dir);
        let (stdout, stderr) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        let message = stderr.lines().find_map(|l| l.strip_prefix("error: "));
        let message = message.unwrap_or_else(|| panic!("{command}: no error: {stderr}\n{stdout}\nof\n{text}"));
        println!("{command}: {message}");
        assert_eq!(out.status.code(), Some(code), "{command}: {message}");
        for word in words {
            assert!(message.contains(word), "{command}: the message lacks {word:?}: {message}");
        }
        assert!(!stderr.contains("panicked"), "{stderr}");
        let answer: Value = serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("no JSON ({e}): {stdout}"));
        assert_eq!((&answer["ok"], &answer["error"]), (&json!(false), &json!(message)), "{command}");
        // What `check` can still plan it shows with the problem.
        if let Some(problem) = answer["ingress"]["problem"].as_str() {
            assert_eq!((command, problem), ("check", message));
        }
        assert_eq!(leftovers(self.net), Vec::<String>::new(), "{command}: {words:?}");
        assert_eq!(left_behind, Vec::<String>::new(), "folders of the library, {command}: {words:?}");
        message.to_owned()
    }

    /// Both commands refuse it alike.
    fn refused_by_both(&self, text: &str, code: i32, words: &[&str]) {
        let both = || (self.refused("check", text, code, words), self.refused("run", text, code, words));
        // A message may tell of pages that are free, and other tests take and give some meanwhile.
        let mut said = both();
        for _ in 1..ATTEMPTS {
            if said.0 == said.1 {
                break;
            }
            said = both();
        }
        assert_eq!(said.0, said.1);
    }

    /// With another device to receive from.
    fn device_refused(&self, device: &str, words: &[&str]) {
        let good = Wanted::on(Pmd::AfPacket).text(self.net);
        let text = good.replace(&format!("{:?}", Pmd::AfPacket.device(self.net.port(0))), &format!("{device:?}"));
        assert_ne!(good, text);
        self.refused_by_both(&text, ENVIRONMENT, words);
    }
}

#[test]
fn devices_that_are_not_there_or_not_free() {
    let Some(net) = two_ports("wrong-devices", Pmd::AfPacket) else { return };
    let desk = Desk::new(&net);
    desk.device_refused("0000:7f:1f.6", &["no PCI device 0000:7f:1f.6"]);
    desk.device_refused("net_nonsense0", &["net_nonsense0", "no driver", "net_af_packet"]);
    desk.device_refused("net_af_packet0,iface=nope0", &["no interface nope0", "ip link"]);
    desk.device_refused("net_af_xdp0,iface=nope0", &["no interface nope0", "ip link"]);
    ip(&net, Side::Pipeline, "link add down0 type bridge");
    let words = ["down0 is down", "ip link set dev down0 up"];
    desk.device_refused("net_af_packet0,iface=down0", &words);
    ip(&net, Side::Pipeline, "link del down0");
}

#[test]
fn one_port_for_both_and_arguments_that_are_not_the_users() {
    let Some(net) = two_ports("wrong-words", Pmd::AfPacket) else { return };
    let desk = Desk::new(&net);
    let good = Wanted::on(Pmd::AfPacket).text(&net);
    let one = good.replace(net.port(1), net.port(0));
    desk.refused_by_both(&one, USAGE, &["two ports or functions", "driver = \"af_xdp\""]);
    let with = |dpdk| Wanted { dpdk, ..Wanted::on(Pmd::AfPacket) }.text(&net);
    let own = with("eal_args = [\"--file-prefix\", \"mine\"]");
    desk.refused_by_both(&own, USAGE, &["[dpdk] eal_args", "--file-prefix", "remove it"]);
    desk.refused_by_both(&with("pools = 1"), USAGE, &["[dpdk] pools is not a known key"]);
    // Only the library knows its arguments, and only a start asks it.
    let text = with("eal_args = [\"--no-such-argument\"]");
    desk.refused("run", &text, ENVIRONMENT, &["rx-gateway cannot start", "Invalid", "eal_args"]);
}

#[test]
fn a_machine_without_hugepages() {
    let Some(net) = two_ports("wrong-pages", Pmd::AfPacket) else { return };
    let dir = folder("dpdk-pages");
    let pages = dir.join("hugepages-2048kB");
    fs::create_dir_all(&pages).unwrap();
    for file in ["nr_hugepages", "free_hugepages", "resv_hugepages", "surplus_hugepages", "nr_overcommit_hugepages"] {
        fs::write(pages.join(file), "0\n").unwrap();
    }
    let mut desk = Desk::new(&net);
    // What this process and its children see, nobody else.
    desk.before = format!("mount --bind {} /sys/kernel/mm/hugepages || exit 99", dir.display());
    desk.refused_by_both(
        &Wanted::on(Pmd::AfPacket).text(&net),
        ENVIRONMENT,
        &["hugepages of 2 MiB", "0 are free", "host-setup hugepages"],
    );
    let _ = fs::remove_dir_all(dir);
    // More than there are.
    let all = fs::read_to_string("/proc/sys/vm/nr_hugepages").ok().and_then(|text| text.trim().parse::<u64>().ok());
    let dpdk = format!("eal_memory_mib = {}", (2 * all.unwrap_or(1024) + 100).min(65_000));
    let text = Wanted { dpdk: &dpdk, ..Wanted::on(Pmd::AfPacket) }.text(&net);
    Desk::new(&net).refused_by_both(&text, ENVIRONMENT, &["hugepages of 2 MiB", "host-setup hugepages"]);
}

/// Copies of the executables, for which the library has another name: that of a release which is not installed.
fn of_another_release(dir: &Path) {
    for name in EXECUTABLES {
        let mut bytes = fs::read(shipped().join(name)).unwrap();
        let (from, to) = (b"librte_eal.so.", b"librte_eal.so");
        let mut at = 0;
        while let Some(n) = bytes[at..].windows(from.len()).position(|w| w == from) {
            at += n + to.len();
            // The number of the release follows.
            bytes[at + 1..at + 3].copy_from_slice(b"99");
        }
        let path = dir.join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }
}

#[test]
fn a_library_that_is_missing_and_stages_without_dpdk() {
    let Some(net) = two_ports("wrong-library", Pmd::AfPacket) else { return };
    let dir = folder("dpdk-library");
    let mut desk = Desk::new(&net);
    desk.bin_dir = dir.display().to_string();
    of_another_release(&dir);
    let text = Wanted::on(Pmd::AfPacket).text(&net);
    desk.refused_by_both(&text, ENVIRONMENT, &["librte_eal.so.99", "apt install", "flumeway-rx-gateway"]);
    // Executables that say of themselves that they have no DPDK.
    for name in ["flumeway-rx-gateway", "flumeway-tx"] {
        let real = shipped().join(name);
        let script = format!(
            "#!/bin/sh\n[ \"$1\" = --drivers ] || exec {} \"$@\"\necho '{{\"drivers\":[\"udp\"],\"dpdk\":null}}'\n",
            real.display()
        );
        fs::write(dir.join(name), script).unwrap();
    }
    for name in ["flumeway-preprocess", "flumeway-infer"] {
        fs::copy(shipped().join(name), dir.join(name)).unwrap();
    }
    desk.refused_by_both(&text, ENVIRONMENT, &["flumeway-rx-gateway is built without DPDK", "libdpdk-dev"]);
    let _ = fs::remove_dir_all(dir);
}

#[test]
fn a_port_that_another_pipeline_has() {
    let Some(net) = two_ports("wrong-taken", Pmd::AfXdp) else { return };
    let wanted = Wanted::on(Pmd::AfXdp);
    let pipeline = wanted.start(&net, "taken");
    let mut client = client(&net, both(&net)[0], 1);
    let dir = folder("dpdk-second");
    let places = format!("[supervisor]\ncontrol_socket = \"{0}/c.sock\"\nquarantine_dir = \"{0}/q\"\n", dir.display());
    fs::write(dir.join("pipeline.toml"), format!("{}\n{places}", wanted.text(&net))).unwrap();
    let mut second = net.net().flumeway(Side::Pipeline, &["run", "--json"]);
    second.arg(dir.join("pipeline.toml"));
    let out = ended(second);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    let message = said.lines().find_map(|l| l.strip_prefix("error: ")).unwrap_or_else(|| panic!("no error: {said}"));
    println!("{message}");
    assert_eq!(out.status.code(), Some(ENVIRONMENT), "{message}");
    assert!(message.contains("in use") && message.contains(net.port(0)), "{message}");
    let _ = fs::remove_dir_all(dir);
    // Who has it, keeps it.
    for id in 0..20 {
        client.send_tensor(id, &tensor_of(id));
        client.receive_until(id as usize + 1);
        assert_right(&client, id);
    }
    let (code, last) = pipeline.stop();
    assert_eq!((code, leftovers(&net)), (0, vec![]), "{last}");
}

//! `[dpdk]`: what is read, what fits together, and what is refused with what remedy.

use config::{Auto, DpdkIdle, Driver, FlowRules, LinkAddress, Offloads, Pipeline};
use std::net::IpAddr;
use std::path::Path;

const PORTS: &str = "rx = [\"net_af_packet0,iface=eth1\"]\ntx = \"net_af_packet0,iface=eth2\"\n";

fn load(ingress: &str, dpdk: &str) -> Result<Pipeline, String> {
    let text = format!("[infer]\nengine = \"null\"\n[ingress]\n{ingress}\n[dpdk]\n{dpdk}");
    Pipeline::from_toml_str(&text, Path::new(""), "p.toml").map_err(|e| e.to_string())
}

fn on_ports(dpdk: &str) -> Result<Pipeline, String> {
    load("driver = \"dpdk\"\nlisten = \"192.0.2.1:9000\"", dpdk)
}

#[test]
fn every_key_is_read_and_survives_the_way_to_the_stages() {
    let text = "rx = [\"3b:00.1\"]\ntx = \"0000:3b:00.0\"\naddresses = [\"192.0.2.1\", \"2001:db8::1\"]\n\
         neighbours = [{ address = \"192.0.2.9\", mac = \"02:00:00:00:00:09\" }]\nqueues = 4\nrx_descriptors = 512\n\
         tx_descriptors = 2048\nburst = 64\npool_cache = 0\nmtu = 1500\npromiscuous = true\nverify_checksums = true\n\
         offloads = \"off\"\nflow_rules = \"require\"\nidle = \"interrupt\"\nidle_sleep_us = 50\neal_memory_mib = 64\n\
         eal_args = [\"-d\", \"/opt/pmds\", \"--log-level=lib.eal:debug\"]";
    let pipeline = on_ports(text).unwrap();
    let dpdk = &pipeline.dpdk;
    assert_eq!((dpdk.rx[0].as_str(), dpdk.tx.as_ref().unwrap().as_str()), ("0000:3b:00.1", "0000:3b:00.0"));
    assert_eq!(dpdk.neighbours[0].mac, LinkAddress([2, 0, 0, 0, 0, 9]));
    assert_eq!(dpdk.neighbours[0].mac.to_string(), "02:00:00:00:00:09");
    assert_eq!((dpdk.queues, dpdk.rx_descriptors, dpdk.tx_descriptors, dpdk.burst), (4, 512, 2048, 64));
    assert_eq!((dpdk.pool_cache, dpdk.mtu, dpdk.idle_sleep_us, dpdk.eal_memory_mib), (0, Auto::Fixed(1500), 50, 64));
    assert!(dpdk.promiscuous && dpdk.verify_checksums);
    let words = (dpdk.offloads, dpdk.flow_rules, dpdk.idle);
    assert_eq!(words, (Offloads::Off, FlowRules::Require, DpdkIdle::Interrupt));
    assert_eq!(dpdk.eal_args.len(), 3);
    assert_eq!(Pipeline::from_json(pipeline.to_json().as_bytes()).unwrap(), pipeline);
}

#[test]
fn addresses_are_those_configured_else_that_of_listen() {
    let listen: IpAddr = "192.0.2.1".parse().unwrap();
    let pipeline = on_ports(PORTS).unwrap();
    assert_eq!(pipeline.ingress.driver, Driver::Dpdk);
    assert_eq!(pipeline.dpdk.addresses(listen), [listen]);
    let other = on_ports(&format!("{PORTS}addresses = [\"2001:db8::1\"]")).unwrap();
    assert_eq!(other.dpdk.addresses(listen), ["2001:db8::1".parse::<IpAddr>().unwrap()]);
}

#[test]
fn only_what_a_start_may_take_must_fit() {
    let one_port = "rx = [\"net_null0\"]\ntx = \"net_null0\"";
    load("driver = \"udp\"", one_port).unwrap();
    load("driver = \"auto\"", "rx = [\"net_null0\"]").unwrap();
    assert!(load("driver = \"auto\"\nlisten = \"192.0.2.1:9000\"", one_port).unwrap_err().contains("same port"));
    let auto = load("driver = \"auto\"\nlisten = \"192.0.2.1:9000\"", PORTS).unwrap();
    assert!(auto.dpdk.may_serve(Driver::Auto) && !auto.dpdk.may_serve(Driver::AfXdp));
    assert_eq!(load("driver = \"auto\"", "tx = \"net_null0\"").unwrap().dpdk.without_device(), Some("rx"));
}

#[test]
fn ports_that_do_not_fit_are_refused_with_a_remedy() {
    let device = "write a PCI address such as";
    for (text, said) in [
        ("", device),
        ("rx = [\"net_null0\"]", device),
        ("rx = [\"eth0\"]\ntx = \"net_null0\"", "has an entry 1 that is no name of a device"),
        ("rx = [\"net_null0\"]\ntx = \"0000:00:20.0\"", device),
        ("rx = [\"net_null0\"]\ntx = \"net_null0\"", "[ingress] driver = \"af_xdp\""),
        (
            "rx = [\"net_af_packet0,iface=eth1\"]\ntx = \"net_af_packet1,iface=eth1\"",
            "rx and tx need two ports or functions",
        ),
        ("rx = [\"00:05.0\"]\ntx = \"0000:00:05.0\"", "is the same port as \"0000:00:05.0\""),
        ("rx = [\"net_null0\", \"net_null1\"]\ntx = \"net_null2\"", "names 2 devices for [rx_gateway] instances = 1"),
    ] {
        let error = on_ports(text).unwrap_err();
        assert!(error.contains(said), "{text}: {error}");
    }
    let gateways = "[rx_gateway]\ninstances = 2\n[dpdk]\n";
    let twice = "rx = [\"net_null0\", \"net_null0\"]\ntx = \"net_null1\"";
    let text =
        format!("[infer]\nengine = \"null\"\n[ingress]\ndriver = \"dpdk\"\nlisten = \"10.0.0.1:9\"\n{gateways}{twice}");
    let error = Pipeline::from_toml_str(&text, Path::new(""), "p.toml").unwrap_err();
    assert!(error.remedy.contains("name each once"), "{error}");
}

#[test]
fn values_that_cannot_be_are_refused_with_a_remedy() {
    for (text, said) in [
        ("queues = 0", "from 1 to 16"),
        ("queues = 17", "from 1 to 16"),
        ("rx_descriptors = 32", "from 64 to 4096"),
        ("tx_descriptors = 8192", "from 64 to 4096"),
        ("burst = 3", "from 4 to 256"),
        ("pool_cache = 513", "from 0 to 512"),
        ("idle_sleep_us = 2000", "from 1 to 1000"),
        ("mtu = 9000", "from 576 to 3626"),
        ("idle = \"poll\"", "\"interrupt\""),
        ("addresses = [\"192.0.2.300\"]", "has an entry 1 that is no address"),
        ("addresses = [\"224.0.0.1\"]", "which is no machine's"),
        ("neighbours = [{ address = \"192.0.2.9\" }]", "lacks the key mac"),
        ("neighbours = [{ address = \"192.0.2.9\", mac = \"02:00:00:00:09\" }]", "is no hardware address"),
        ("neighbours = [{ address = \"192.0.2.9\", mac = \"03:00:00:00:00:09\" }]", "of one station"),
        (
            "neighbours = [{ address = \"::1\", mac = \"02:00:00:00:00:09\" }, { address = \"::1\", mac = \"02:00:00:00:00:08\" }]",
            "has ::1 twice; write it once",
        ),
        ("queues = 16", "[arena] buffers = 33792"),
    ] {
        let error = on_ports(&format!("{PORTS}{text}")).unwrap_err();
        assert!(error.contains(said), "{text}: {error}");
    }
}

#[test]
fn arguments_that_flumeway_sets_itself_are_refused() {
    for (argument, said) in [
        ("-l", "use [pipeline] cores"),
        ("-l3", "use [pipeline] cores"),
        ("--lcores=0@1", "use [pipeline] cores"),
        ("--in-memory", "remove it"),
        ("--file-prefix", "remove it"),
        ("--proc-type=secondary", "remove it"),
        ("-a", "use [dpdk] rx and tx"),
        ("-b0000:00:05.0", "use [dpdk] rx and tx"),
        ("--vdev=net_null0", "use [dpdk] rx and tx"),
        ("--no-pci", "use [dpdk] rx and tx"),
        ("-m", "use [dpdk] eal_memory_mib"),
        ("--no-huge", "excludes --in-memory"),
        // Cut short, as the library takes them.
        ("--proc=secondary", "remove it"),
        ("--file-pref=x", "remove it"),
        ("--vde=net_null0", "use [dpdk] rx and tx"),
        ("--no-h", "excludes --in-memory"),
    ] {
        let error = on_ports(&format!("{PORTS}eal_args = [\"{argument}\"]")).unwrap_err();
        assert!(error.contains(said) && error.contains("Flumeway sets itself"), "{argument}: {error}");
    }
    on_ports(&format!("{PORTS}eal_args = [\"--no-shconf\", \"--log-level=8\"]")).unwrap();
}

#[test]
fn what_the_kernel_would_have_known_must_be_written() {
    let error = load("driver = \"dpdk\"", PORTS).unwrap_err();
    assert!(error.contains("[dpdk] addresses is empty") && error.contains("0.0.0.0:9000"), "{error}");
    load("driver = \"dpdk\"", &format!("{PORTS}addresses = [\"192.0.2.1\"]")).unwrap();
    let error = load("driver = \"dpdk\"\nlisten = \"192.0.2.1:0\"", PORTS).unwrap_err();
    assert!(error.contains("write a port"), "{error}");

    let fixed = "[[stream]]\nid = 7\nreply_to = \"192.0.2.9:9001\"";
    let error = on_ports(&format!("{PORTS}{fixed}")).unwrap_err();
    assert!(error.contains("[[stream]] id = 7: reply_to") && error.contains("{ address = \"192.0.2.9\""), "{error}");
    let known = "neighbours = [{ address = \"192.0.2.9\", mac = \"02:00:00:00:00:09\" }]\n";
    on_ports(&format!("{PORTS}{known}{fixed}")).unwrap();
}

#[test]
fn a_device_that_writes_the_arena_itself_needs_hugepages() {
    let pci = "rx = [\"00:05.0\"]\ntx = \"00:06.0\"\n";
    on_ports(pci).unwrap();
    let error = on_ports(&format!("{pci}[arena]\nhugepages = \"off\"")).unwrap_err();
    assert!(error.contains("[arena] hugepages") && error.contains("write \"require\""), "{error}");
    on_ports(&format!("{PORTS}[arena]\nhugepages = \"off\"")).unwrap();
}

#[test]
fn half_of_the_buffers_is_left_to_frames_in_flight() {
    let arena = "[arena]\nbuffers = ";
    let need = "[limits]\nmax_frame_bytes = 65536\n";
    on_ports(&format!("{PORTS}{need}{arena}3072")).unwrap();
    let error = on_ports(&format!("{PORTS}{need}{arena}3071")).unwrap_err();
    assert!(error.contains("keep 1536 of the 3071 buffers") && error.contains("buffers = 3072"), "{error}");
    // This driver fills its ring whatever is asked for.
    let xdp = PORTS.replace("net_af_packet0,iface=eth1", "net_af_xdp0,iface=eth1");
    let error = on_ports(&format!("{xdp}{need}{arena}4096")).unwrap_err();
    assert!(error.contains("its driver takes 2048") && error.contains("buffers = 5120"), "{error}");
}

#[test]
fn the_plan_shows_ports_and_the_hugepages_of_the_library() {
    use config::{MachineFacts, ModelFacts, TensorFacts, plan};
    let (inputs, outputs) = (vec![TensorFacts::f32([256])], vec![TensorFacts::f32([16])]);
    let model = [ModelFacts { input_bytes: 1024, output_bytes: 64, inputs, outputs, ..ModelFacts::default() }];
    let machine = |hugepages_free_2m| MachineFacts {
        cpus: vec![0, 1],
        hugepages_free_2m,
        memory_available_bytes: 4 << 30,
        rmem_max_bytes: 212_992,
    };
    let pipeline = on_ports(PORTS).unwrap();
    let enough = plan(&pipeline, &machine(100), &model).unwrap();
    let text = enough.to_string();
    let table: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("dpdk port")).take(3).collect();
    assert_eq!(
        table,
        [
            "dpdk port                  process     descriptors  buffers held   copies  library MiB",
            "net_af_packet0,iface=eth1  rx-gateway  1 x 1024     1536 of 16384  1       16",
            "net_af_packet0,iface=eth2  tx          1 x 1024     -              1       16",
        ]
    );
    assert!(!text.contains("rmem_max") && !text.contains("receive buffer"), "there is no socket:\n{text}");
    assert!(enough.can_start());

    let few = plan(&pipeline, &machine(10), &model).unwrap();
    assert!(
        !few.can_start() && few.to_string().contains("DPDK's library need 24 hugepages of 2 MiB, and 10 are free"),
        "{few}"
    );
    let pci = on_ports("rx = [\"00:05.0\"]\ntx = \"00:06.0\"").unwrap();
    let few = plan(&pci, &machine(20), &model).unwrap();
    assert!(few.to_string().contains("the arena and DPDK's library need"), "{few}");
    assert_eq!(few.ports[0].driver_copies, Some(0));
    assert_eq!(plan(&load("", "").unwrap(), &machine(0), &model).unwrap().ports, []);
}

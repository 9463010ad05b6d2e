//! The whole pipeline on huge pages, through a death.

use integration_tests::client::Client;
use integration_tests::pipeline::Pipeline;
use integration_tests::traffic::{assert_right, config, tensor_of};

const RESERVED: &str = "/proc/sys/vm/nr_hugepages";

/// Pages of a small pipeline with tiny tensors: control 2, packets 8, inputs 1, outputs 1; and as many again.
const PAGES: u64 = 24;

/// Reserves for the test, and gives back.
struct Reserved(String);

impl Reserved {
    fn new() -> Option<Self> {
        let before = std::fs::read_to_string(RESERVED).ok()?;
        let wanted = before.trim().parse::<u64>().ok()? + PAGES;
        std::fs::write(RESERVED, wanted.to_string()).ok()?;
        let reserved = Self(before);
        let now = std::fs::read_to_string(RESERVED).ok()?.trim().parse::<u64>().ok()?;
        (now == wanted).then_some(reserved)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let _ = std::fs::write(RESERVED, &self.0);
    }
}

#[test]
fn a_pipeline_on_huge_pages_survives_its_stages() {
    let Some(_reserved) = Reserved::new() else {
        eprintln!(
            "SKIPPED: {PAGES} huge pages cannot be reserved: that takes root and free memory in whole 2 MiB pages"
        );
        return;
    };
    let text = config("null", "").replace("[arena]\n", "[arena]\nhugepages = \"require\"\n");
    let pipeline = Pipeline::start("huge", &text);
    assert_eq!(pipeline.status()["arena"]["hugepages"], true);
    let smaps = std::fs::read_to_string(format!("/proc/{}/smaps", pipeline.pid("rx-gateway"))).expect("its memory map");
    let packets = smaps.split("flumeway-packets").nth(1).expect("the packets region");
    let size = packets.lines().find_map(|l| l.strip_prefix("KernelPageSize:")).map(str::trim);
    assert_eq!(size, Some("2048 kB"));
    let mut client = Client::new(pipeline.listen(), 1);
    for (n, stage) in ["rx-gateway", "preprocess.0", "infer.0", "tx"].into_iter().enumerate() {
        for id in n as u64 * 50..(n as u64 + 1) * 50 {
            if id % 50 == 25 {
                pipeline.kill_9(stage);
            }
            client.send_tensor(id, &tensor_of(id));
        }
    }
    client.receive_until(200);
    (0..200).for_each(|id| assert_right(&client, id));
    pipeline.assert_whole();
    let (code, last) = pipeline.stop();
    assert_eq!(code, 0, "{last}");
}

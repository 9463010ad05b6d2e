//! The program and the matcher in software decide alike, on random lists and packets.

use crate::{frames, load, random, xdp_socket};
use acl::{Compiled, List, Verdict};
use ports::xdp::{Action, Filter};
use proptest::prelude::*;
use std::os::fd::AsFd;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_program_and_the_list_agree(
        rules in random::rules(), policy in random::policy(), packets in prop::collection::vec(random::packet(), 1..120),
    ) {
        let acl = Compiled::new(&rules, policy).unwrap();
        let filter = Filter {
            mac: frames::OWN_MAC, addresses: random::LOCAL.to_vec(), ports: random::PORTS.to_vec(), acl: &acl,
        };
        let Some(mut program) = load(&filter) else { return Ok(()) };
        let socket = xdp_socket();
        program.set_socket(0, socket.as_fd()).unwrap();
        let mut list = List::new(&rules, policy).unwrap();
        let mut now_ns = 1_000;
        let (mut allowed, mut denied, mut limited) = (0, 0, 0);
        for (packet, gap_ns) in packets {
            now_ns += gap_ns;
            let decision = list.decide(&packet, now_ns);
            let expected = match decision.verdict {
                Verdict::Allowed => { allowed += 1; Action::Redirect }
                Verdict::Denied => { denied += 1; Action::Drop }
                Verdict::Limited => { limited += 1; Action::Drop }
            };
            let action = program.test_run(&frames::of(&packet), now_ns, None).unwrap();
            prop_assert_eq!(action, expected, "{:?} {:?}", packet, decision);
        }
        let counters = program.counters().unwrap();
        prop_assert_eq!(&counters.hits[..], list.hits());
        prop_assert_eq!(counters.policy_hits, list.policy_hits());
        prop_assert_eq!((counters.redirected, counters.denied, counters.limited), (allowed, denied, limited));
    }
}

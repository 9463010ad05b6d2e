//! What every engine must do, as one suite. A new engine is done when [`run`] returns.

use crate::engine::{Engine, Finished, Submitted, Ticket};
use crate::error::EngineError;
use crate::spec::{AREA_ALIGN_BYTES, Specs};
use std::time::{Duration, Instant};

/// How long a single frame may take on a slow, busy machine before the suite calls it lost.
const PATIENCE: Duration = Duration::from_mins(1);

/// Fills the bytes between and around tensors, to see that nobody writes there.
const CANARY: u8 = 0xA5;

/// Runs the whole suite on engines from `make`, which loads the same model each time.
///
/// # Panics
/// With the name of the first promise that the engine breaks.
pub fn run(mut make: impl FnMut() -> Box<dyn Engine>) {
    specs_are_sane(&*make());
    wrong_areas_are_refused(&mut *make());
    answers_repeat(&mut *make());
    every_ticket_comes_back_once(&mut *make());
    a_full_engine_says_so(&mut *make());
    warm_up_leaves_nothing_behind(&mut *make());
    reloading_gives_the_same_answers(&mut *make(), &mut *make());
}

/// An area at a multiple of [`AREA_ALIGN_BYTES`], as in the arena.
struct Area {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Area {
    fn new(len: usize) -> Self {
        // A tail beyond the area catches writes past its end.
        let bytes = vec![CANARY; len + 2 * AREA_ALIGN_BYTES];
        let start = bytes.as_ptr().align_offset(AREA_ALIGN_BYTES);
        assert!(start < AREA_ALIGN_BYTES, "align_offset of a byte pointer is exact");
        Self { bytes, start, len }
    }

    fn input(specs: &Specs, seed: usize) -> Self {
        let mut area = Self::new(specs.input_bytes());
        for index in 0..specs.inputs().len() {
            let range = specs.input_range(index).expect("index is in range");
            for (i, element) in area.get_mut()[range].chunks_exact_mut(4).enumerate() {
                // Values as a normalised image has them, different at each place and for each seed.
                let value = ((i * 7 + seed * 13) % 251) as f32 / 125.5 - 1.0;
                element.copy_from_slice(&value.to_ne_bytes());
            }
        }
        area
    }

    fn get(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }

    fn get_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

fn specs_are_sane(engine: &dyn Engine) {
    let specs = engine.specs();
    assert!(!specs.inputs().is_empty() && !specs.outputs().is_empty(), "specs: an input and an output");
    for spec in specs.inputs().iter().chain(specs.outputs()) {
        assert!(!spec.name.is_empty(), "specs: tensors have names");
        assert!(spec.bytes() > 0, "specs: tensor {} is not empty", spec.name);
    }
    let align = engine.align_bytes();
    assert!(align.is_power_of_two() && align <= AREA_ALIGN_BYTES, "specs: alignment {align}");
    let description = engine.describe();
    assert!(description.in_flight_max >= 1 && description.threads >= 1, "describe: {description:?}");
    assert_eq!(engine.in_flight(), 0, "a new engine has nothing in flight");
}

fn wrong_areas_are_refused(engine: &mut dyn Engine) {
    let specs = engine.specs().clone();
    let (input_bytes, output_bytes) = (specs.input_bytes(), specs.output_bytes());
    for (input_len, output_len) in [
        (0, output_bytes),
        (input_bytes - 4, output_bytes),
        (input_bytes + 4, output_bytes),
        (input_bytes, 0),
        (input_bytes, output_bytes - 4),
        (input_bytes, output_bytes + 4),
    ] {
        let refused = engine.submit(Ticket(1), Area::new(input_len).get(), Area::new(output_len).get_mut());
        let expected = if input_len == input_bytes {
            EngineError::OutputLength { expected_bytes: output_bytes, got_bytes: output_len }
        } else {
            EngineError::InputLength { expected_bytes: input_bytes, got_bytes: input_len }
        };
        assert_eq!(refused, Err(expected), "areas of {input_len} and {output_len} bytes");
    }
    if engine.align_bytes() > 1 {
        let (wide, mut output) = (Area::new(input_bytes + 1), Area::new(output_bytes));
        let refused = engine.submit(Ticket(1), &wide.get()[1..], output.get_mut());
        assert!(matches!(refused, Err(EngineError::Misaligned { area: "input", .. })), "misaligned input: {refused:?}");
        let (input, mut wide) = (Area::input(&specs, 0), Area::new(output_bytes + 1));
        let refused = engine.submit(Ticket(1), input.get(), &mut wide.get_mut()[1..]);
        assert!(
            matches!(refused, Err(EngineError::Misaligned { area: "output", .. })),
            "misaligned output: {refused:?}"
        );
    }
    assert_eq!(engine.in_flight(), 0, "a refused frame is not in flight");
    assert!(engine.poll().is_none(), "a refused ticket does not come back");
}

fn answers_repeat(engine: &mut dyn Engine) {
    let first = infer(engine, 1);
    let other = infer(engine, 2);
    assert_eq!(first, infer(engine, 1), "the same input gives the same answer, bit for bit");
    assert_ne!(first, other, "another input gives another answer");
}

fn every_ticket_comes_back_once(engine: &mut dyn Engine) {
    let specs = engine.specs().clone();
    let count = engine.describe().in_flight_max.min(4);
    let lone: Vec<_> = (0..count).map(|seed| infer(engine, seed)).collect();
    // Tickets are the caller's: neither small nor in order.
    let tickets: Vec<_> = (0..count).map(|i| Ticket(u64::MAX - 3 * i as u64)).collect();
    let inputs: Vec<_> = (0..count).map(|seed| Area::input(&specs, seed)).collect();
    let mut outputs: Vec<_> = (0..count).map(|_| Area::new(specs.output_bytes())).collect();
    for (i, output) in outputs.iter_mut().enumerate() {
        engine.submit(tickets[i], inputs[i].get(), output.get_mut()).expect("there is room");
        assert_eq!(engine.in_flight(), i + 1, "submitted frames are in flight");
    }
    let mut back: Vec<_> = (0..count).map(|_| wait(engine).ticket).collect();
    assert_eq!(engine.in_flight(), 0, "all came back");
    assert!(engine.poll().is_none(), "no ticket comes back twice");
    back.sort_by_key(|ticket| u64::MAX - ticket.0);
    assert_eq!(back, tickets, "exactly the submitted tickets come back");
    for (seed, output) in outputs.iter().enumerate() {
        assert_eq!(output.get(), lone[seed], "frame {seed} is answered as if it were alone");
    }
}

fn a_full_engine_says_so(engine: &mut dyn Engine) {
    let specs = engine.specs().clone();
    let limit = engine.describe().in_flight_max;
    if specs.input_bytes() > 1 << 16 {
        // Filling the engine with large frames costs minutes and shows nothing that small ones do not.
        return;
    }
    let (input, mut output) = (Area::input(&specs, 0), Area::new(specs.output_bytes()));
    for ticket in 0..limit as u64 {
        engine.submit(Ticket(ticket), input.get(), output.get_mut()).expect("there is room up to the limit");
    }
    let refused = engine.submit(Ticket(u64::MAX), input.get(), output.get_mut());
    assert_eq!(refused, Err(EngineError::Busy { in_flight: limit }));
    for _ in 0..limit {
        assert_ne!(wait(engine).ticket, Ticket(u64::MAX), "the refused ticket does not come back");
    }
    engine.submit(Ticket(7), input.get(), output.get_mut()).expect("there is room again");
    assert_eq!(wait(engine).ticket, Ticket(7));
}

fn warm_up_leaves_nothing_behind(engine: &mut dyn Engine) {
    engine.warm_up().expect("the model runs on zeros");
    assert_eq!(engine.in_flight(), 0, "warm-up takes its frames back");
    assert!(engine.poll().is_none(), "warm-up hands out no tickets");
}

fn reloading_gives_the_same_answers(first: &mut dyn Engine, second: &mut dyn Engine) {
    assert_eq!(first.specs(), second.specs(), "the same model has the same specs");
    assert_eq!(infer(first, 5), infer(second, 5), "the same model gives the same answer");
}

/// One frame through the engine; returns the output area.
fn infer(engine: &mut dyn Engine, seed: usize) -> Vec<u8> {
    let specs = engine.specs().clone();
    let (input, mut output) = (Area::input(&specs, seed), Area::new(specs.output_bytes()));
    let before = input.bytes.clone();
    let submitted = engine.submit(Ticket(42), input.get(), output.get_mut()).expect("a correct frame is taken");
    assert_eq!(engine.in_flight(), 1);
    let finished = if submitted == Submitted::Done {
        engine.poll().expect("a done frame comes back at the next poll")
    } else {
        wait(engine)
    };
    assert_eq!(finished.ticket, Ticket(42));
    assert_eq!(finished.result, Ok(()), "the frame is computed");
    assert_eq!(input.bytes, before, "the input is only read");
    let mut written = vec![false; output.bytes.len()];
    for index in 0..specs.outputs().len() {
        let range = specs.output_range(index).expect("index is in range");
        written[output.start + range.start..output.start + range.end].fill(true);
        for element in output.get()[range].chunks_exact(4) {
            assert_ne!(element, [CANARY; 4], "every element of output {index} is written");
        }
    }
    let untouched = output.bytes.iter().zip(written).all(|(&byte, written)| written || byte == CANARY);
    assert!(untouched, "nothing outside the output tensors is written");
    output.get().to_vec()
}

fn wait(engine: &mut dyn Engine) -> Finished {
    let started = Instant::now();
    loop {
        if let Some(finished) = engine.poll() {
            return finished;
        }
        assert!(started.elapsed() < PATIENCE, "a frame was lost: no ticket for {PATIENCE:?}");
        std::thread::yield_now();
    }
}

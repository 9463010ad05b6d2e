//! What every engine must do, as one suite. A new engine is done when [`run`] returns.

pub(crate) mod ffi;

pub(crate) use self::ffi::Leaked;
use crate::dtype::DType;
use crate::engine::{Engine, Finished, Frame, Submitted, Ticket};
use crate::error::EngineError;
use crate::regions::Regions;
use crate::spec::{AREA_ALIGN_BYTES, Specs};
use std::time::{Duration, Instant};

/// How long a single frame may take on a slow, busy machine before the suite calls it lost.
const PATIENCE: Duration = Duration::from_mins(1);

/// Fill the bytes between and around tensors, to see that nobody writes there, and the tensors, to see that all of them is written: what is left
/// over differs between two runs.
const CANARIES: [u8; 2] = [0xA5, 0x5A];

/// Runs the whole suite on engines from `make`, which loads the same model each time.
///
/// # Panics
/// With the name of the first promise that the engine breaks.
pub fn run(mut make: impl FnMut() -> Box<dyn Engine>) {
    specs_are_sane(&*make());
    wrong_areas_are_refused(&mut *make());
    wrong_batches_are_refused(&mut *make());
    answers_repeat(&mut *make());
    batches_are_answered_as_single_frames(&mut *make());
    every_ticket_comes_back_once(&mut *make());
    frames_in_lasting_memory_are_answered_the_same(&mut *make());
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
        Self::filled(len, CANARIES[0])
    }

    fn filled(len: usize, canary: u8) -> Self {
        // A tail beyond the area catches writes past its end.
        let bytes = vec![canary; len + 2 * AREA_ALIGN_BYTES];
        let start = bytes.as_ptr().align_offset(AREA_ALIGN_BYTES);
        assert!(start < AREA_ALIGN_BYTES, "align_offset of a byte pointer is exact");
        Self { bytes, start, len }
    }

    fn input(specs: &Specs, seed: usize) -> Self {
        let mut area = Self::new(specs.input_bytes());
        for (index, spec) in specs.inputs().iter().enumerate() {
            let range = specs.input_range(index).expect("index is in range");
            for (i, element) in area.get_mut()[range].chunks_exact_mut(spec.dtype.bytes()).enumerate() {
                // Values as a normalised image has them, different at each place and for each seed.
                let step = (i * 7 + seed * 13) % 251;
                match spec.dtype {
                    DType::F32 => element.copy_from_slice(&(step as f32 / 125.5 - 1.0).to_ne_bytes()),
                    // 1.0 plus `step` steps of the tenth bit (IEEE 754, five bits of exponent with bias 15): 1 to 1.25.
                    DType::F16 => element.copy_from_slice(&(0x3c00 + step as u16).to_ne_bytes()),
                    DType::U8 | DType::I8 => element[0] = step as u8,
                }
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
        (input_bytes - 1, output_bytes),
        (input_bytes + 1, output_bytes),
        (input_bytes, 0),
        (input_bytes, output_bytes - 1),
        (input_bytes, output_bytes + 1),
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

fn wrong_batches_are_refused(engine: &mut dyn Engine) {
    let specs = engine.specs().clone();
    let max = engine.batch_max();
    let input = Area::input(&specs, 0);
    for count in [0, max + 1] {
        let mut outputs: Vec<_> = (0..count).map(|_| Area::new(specs.output_bytes())).collect();
        let frames = outputs.iter_mut().map(|output| (input.get(), output.get_mut()));
        let mut frames: Vec<_> = frames.map(|(input, output)| Frame { ticket: Ticket(3), input, output }).collect();
        assert_eq!(engine.submit_batch(&mut frames), Err(EngineError::Batch { got: count, max }));
    }
    let mut output = Area::new(specs.output_bytes());
    let input = &input.get()[..specs.input_bytes() - 1];
    let refused = engine.submit_batch(&mut [Frame { ticket: Ticket(3), input, output: output.get_mut() }]);
    assert!(matches!(refused, Err(EngineError::InputLength { .. })), "{refused:?}");
    assert!(engine.in_flight() == 0 && engine.poll().is_none(), "a refused batch does not come back");
}

fn answers_repeat(engine: &mut dyn Engine) {
    let first = infer(engine, 1);
    let other = infer(engine, 2);
    let again = infer_over(engine, 1, CANARIES[1]);
    for index in 0..engine.specs().outputs().len() {
        let range = engine.specs().output_range(index).expect("index is in range");
        let (first, again) = (&first[range.clone()], &again[range]);
        assert_eq!(first, again, "output {index}: the same input gives the same answer, bit for bit, and all of it");
    }
    assert_ne!(first, other, "another input gives another answer");
}

/// Sums come in another order in a batch, so numbers may differ in their last digits.
fn batches_are_answered_as_single_frames(engine: &mut dyn Engine) {
    let specs = engine.specs().clone();
    for count in 1..=engine.batch_max().min(5) {
        let lone: Vec<_> = (0..count).map(|seed| infer(engine, seed)).collect();
        let inputs: Vec<_> = (0..count).map(|seed| Area::input(&specs, seed)).collect();
        let mut outputs: Vec<_> = (0..count).map(|_| Area::new(specs.output_bytes())).collect();
        let mut frames: Vec<_> = (inputs.iter().zip(&mut outputs).enumerate())
            .map(|(i, (input, output))| Frame {
                ticket: Ticket(i as u64),
                input: input.get(),
                output: output.get_mut(),
            })
            .collect();
        engine.submit_batch(&mut frames).expect("a correct batch is taken");
        assert_eq!(engine.in_flight(), count, "each frame of a batch is in flight");
        let mut back: Vec<_> = (0..count).map(|_| wait(engine)).collect();
        back.sort_by_key(|finished| finished.ticket.0);
        for (i, finished) in back.iter().enumerate() {
            assert_eq!((finished.ticket, &finished.result), (Ticket(i as u64), &Ok(())), "batch of {count}");
            assert_close(&specs, outputs[i].get(), &lone[i]);
        }
    }
}

fn assert_close(specs: &Specs, got: &[u8], expected: &[u8]) {
    for (index, spec) in specs.outputs().iter().enumerate() {
        let range = specs.output_range(index).expect("index is in range");
        let (got, expected) = (&got[range.clone()], &expected[range]);
        if spec.dtype != DType::F32 {
            assert_eq!(got, expected, "output {index} in a batch");
            continue;
        }
        let numbers = |bytes: &[u8]| -> Vec<f32> {
            bytes.chunks_exact(4).map(|b| f32::from_ne_bytes([b[0], b[1], b[2], b[3]])).collect()
        };
        let (got, expected) = (numbers(got), numbers(expected));
        let scale = expected.iter().fold(1e-3_f32, |max, number| max.max(number.abs()));
        for (got, expected) in got.iter().zip(&expected) {
            assert!((got - expected).abs() <= scale * 1e-4, "output {index} in a batch: {got}, alone {expected}");
        }
    }
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

/// With memory that lasts, an engine may go on after `submit`.
fn frames_in_lasting_memory_are_answered_the_same(engine: &mut dyn Engine) {
    let specs = engine.specs().clone();
    let count = engine.describe().in_flight_max.min(4);
    let lone: Vec<_> = (0..count).map(|seed| infer(engine, seed)).collect();
    let strides = [specs.input_bytes(), specs.output_bytes()].map(|bytes| bytes.next_multiple_of(AREA_ALIGN_BYTES));
    let [mut inputs, mut outputs] = strides.map(|stride| Leaked::new(count * stride, AREA_ALIGN_BYTES));
    let elsewhere = Leaked::new(AREA_ALIGN_BYTES, AREA_ALIGN_BYTES);
    engine
        .attach(&Regions::new([elsewhere.cells(), inputs.cells()], outputs.cells()))
        .expect("ordinary memory is taken");
    let range = |i: usize, which: usize, len: usize| i * strides[which]..i * strides[which] + len;
    for seed in 0..count {
        inputs.bytes_mut(range(seed, 0, specs.input_bytes())).copy_from_slice(Area::input(&specs, seed).get());
        let output = outputs.bytes_mut(range(seed, 1, specs.output_bytes()));
        output.fill(CANARIES[0]);
        let input = inputs.bytes(range(seed, 0, specs.input_bytes()));
        engine.submit(Ticket(seed as u64), input, output).expect("there is room");
    }
    assert_eq!(engine.in_flight(), count, "submitted frames are in flight");
    for _ in 0..count {
        let Finished { ticket, result, .. } = wait(engine);
        assert_eq!(result, Ok(()), "the frame is computed");
        let seed = ticket.0 as usize;
        let answer = outputs.bytes(range(seed, 1, specs.output_bytes()));
        assert_eq!(answer, lone[seed], "frame {seed} in lasting memory is answered as from a borrowed area");
    }
    assert!(engine.in_flight() == 0 && engine.poll().is_none(), "each came back once");
    // An area from elsewhere is still served.
    assert_eq!(infer(engine, 0), lone[0], "a frame outside the regions");
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
    infer_over(engine, seed, CANARIES[0])
}

/// The same, into an area that is full of `canary`.
fn infer_over(engine: &mut dyn Engine, seed: usize, canary: u8) -> Vec<u8> {
    let specs = engine.specs().clone();
    let (input, mut output) = (Area::input(&specs, seed), Area::filled(specs.output_bytes(), canary));
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
    }
    let untouched = output.bytes.iter().zip(written).all(|(&byte, written)| written || byte == canary);
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

//! The shape of what is measured: side A of a pair sends and waits for the echo, side B echoes.

use anyhow::Result;
use std::time::Instant;

/// One side of a pair of processes that hand something back and forth. A round trip is `trip` on side A, `echo` on side B.
pub trait Side {
    /// Sends, and waits until it has come back and been read.
    fn trip(&mut self) -> Result<()>;
    /// Waits until something has come and been read, and sends it back.
    fn echo(&mut self) -> Result<()>;
}

/// How long a round is, in round trips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    /// Before any clock.
    pub warm: u64,
    /// Timed together: one clock read before, one after.
    pub trips: u64,
    /// Timed one by one, clock reads included.
    pub clocked: u64,
}

/// What one round came to, in nanoseconds of a whole round trip.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Round {
    /// Mean over the trips that were timed together.
    pub mean_ns: f64,
    /// The trips timed one by one.
    pub clocked_ns: Vec<f64>,
}

/// Side A of a round.
pub fn drive(side: &mut impl Side, length: Length) -> Result<Round> {
    let mut clocked_ns = Vec::with_capacity(length.clocked as usize);
    for _ in 0..length.warm {
        side.trip()?;
    }
    let start = Instant::now();
    for _ in 0..length.trips {
        side.trip()?;
    }
    let mean_ns = start.elapsed().as_nanos() as f64 / length.trips as f64;
    let mut before = Instant::now();
    for _ in 0..length.clocked {
        side.trip()?;
        let now = Instant::now();
        clocked_ns.push((now - before).as_nanos() as f64);
        before = now;
    }
    Ok(Round { mean_ns, clocked_ns })
}

/// Side B of a round.
pub fn answer(side: &mut impl Side, length: Length) -> Result<()> {
    for _ in 0..length.warm + length.trips + length.clocked {
        side.echo()?;
    }
    Ok(())
}

/// What stands in the empty turn of a spinning wait.
#[inline]
pub fn idle<const PAUSE: bool>() {
    if PAUSE {
        std::hint::spin_loop();
    }
}

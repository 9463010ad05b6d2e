//! From a model's raw outputs to the answer: top classes, or boxes.
//!
//! Pure functions on slices, with all scratch memory allocated by [`PostProcessor::new`]: `run` allocates nothing. Outputs are
//! allegations of a model and of the process that ran it, so lengths are checked per frame and non-finite numbers never reach an answer.

pub mod config;

mod classes;
mod detections;
mod error;
mod nms;
mod score;

pub use config::{BoxForm, BoxUnit, ClassesConfig, DetectionsConfig, PostConfig, ScoreActivation};
pub use detections::Detection;
pub use error::{PostConfigError, PostError};

use classes::Classes;
use detections::Detections;

/// Most classes in an answer.
pub const TOP_K_MAX: usize = 32;

/// The answer for one frame; borrows the processor's scratch memory until the next `run`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PostResult<'a> {
    /// Class index and score, best first.
    Classes(&'a [(u32, f32)]),
    /// Boxes, best first.
    Detections(&'a [Detection]),
    /// The outputs are the answer, as they are.
    Tensor,
}

/// Turns the outputs of one model into answers.
#[derive(Debug)]
pub struct PostProcessor {
    kind: Kind,
    /// Elements of each output of the model.
    output_elements: Vec<usize>,
}

#[derive(Debug)]
enum Kind {
    Classes(Box<Classes>),
    Detections(Box<Detections>),
    Tensor,
}

impl PostProcessor {
    /// Checks `config` against the shapes of the model's outputs, in the model's order, and allocates the scratch memory.
    ///
    /// # Errors
    /// [`PostConfigError`] names the key, what it is and what it can be.
    pub fn new<S: AsRef<[usize]>>(config: &PostConfig, output_shapes: &[S]) -> Result<Self, PostConfigError> {
        let kind = match config {
            PostConfig::Classes(config) => Kind::Classes(Box::new(Classes::new(config, output_shapes)?)),
            PostConfig::Detections(config) => Kind::Detections(Box::new(Detections::new(config, output_shapes)?)),
            PostConfig::Tensor => Kind::Tensor,
        };
        let output_elements = output_shapes.iter().map(|shape| shape.as_ref().iter().product()).collect();
        Ok(Self { kind, output_elements })
    }

    /// Decodes one frame. `outputs` are the model's outputs, each flat and in row-major order.
    ///
    /// # Errors
    /// [`PostError`]: another number of outputs, or of elements, than the shapes given to `new`.
    pub fn run(&mut self, outputs: &[&[f32]]) -> Result<PostResult<'_>, PostError> {
        if outputs.len() != self.output_elements.len() {
            return Err(PostError::OutputCount { expected: self.output_elements.len(), got: outputs.len() });
        }
        for (index, (output, &expected)) in outputs.iter().zip(&self.output_elements).enumerate() {
            if output.len() != expected {
                return Err(PostError::OutputLength { index, expected, got: output.len() });
            }
        }
        Ok(match &mut self.kind {
            Kind::Classes(classes) => PostResult::Classes(classes.run(outputs)),
            Kind::Detections(detections) => PostResult::Detections(detections.run(outputs)),
            Kind::Tensor => PostResult::Tensor,
        })
    }
}

/// The shape of output `index`, or the error that names the configuration key.
fn shape_of<'a, S: AsRef<[usize]>>(
    shapes: &'a [S],
    key: &'static str,
    index: usize,
) -> Result<&'a [usize], PostConfigError> {
    let shape = shapes.get(index).ok_or(PostConfigError::NoSuchOutput { key, index, count: shapes.len() })?;
    Ok(shape.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_of_another_length_are_refused() {
        let config = PostConfig::Classes(ClassesConfig::default());
        let mut post = PostProcessor::new(&config, &[vec![1, 4]]).unwrap();
        assert_eq!(post.run(&[]), Err(PostError::OutputCount { expected: 1, got: 0 }));
        assert_eq!(post.run(&[&[0.0; 3]]), Err(PostError::OutputLength { index: 0, expected: 4, got: 3 }));
        assert!(post.run(&[&[0.0; 4]]).is_ok());
    }

    #[test]
    fn a_raw_tensor_is_passed_on() {
        let mut post = PostProcessor::new(&PostConfig::Tensor, &[[1, 2], [1, 3]]).unwrap();
        assert_eq!(post.run(&[&[1.0, 2.0], &[1.0, 2.0, 3.0]]), Ok(PostResult::Tensor));
    }
}

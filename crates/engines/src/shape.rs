//! Settling the dynamic dimensions of a model: a pipeline reserves memory once, so every size must be known at load.

use crate::error::LoadError;
use std::path::Path;

/// A dimension as the model file gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dim {
    /// A number.
    Fixed(usize),
    /// Left open, under a name that other tensors may share.
    Named(String),
}

/// Sizes settled so far, by the names of the dimensions.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    sizes: Vec<(String, usize)>,
}

impl Settled {
    /// The shape of input `index`. A dynamic batch, the outermost of at least two dimensions, becomes 1: one frame, one answer. Another
    /// dynamic dimension must be given by `wanted` or share its name with one that is settled.
    pub(crate) fn input(
        &mut self,
        path: &Path,
        name: &str,
        dims: Option<&[Dim]>,
        wanted: Option<&[usize]>,
    ) -> Result<Vec<usize>, LoadError> {
        let refuse = |reason: String| LoadError::UnsupportedShape { path: path.to_owned(), reason };
        let Some(dims) = dims else {
            return wanted
                .map(<[usize]>::to_vec)
                .ok_or_else(|| refuse(format!("input \"{name}\" has no shape: export the model with a fixed one")));
        };
        if let Some(wanted) = wanted.filter(|wanted| wanted.len() != dims.len()) {
            return Err(refuse(format!(
                "input \"{name}\" has {} dimensions and `input_shape` = {wanted:?} has {}: give one size per dimension",
                dims.len(),
                wanted.len()
            )));
        }
        let mut shape = Vec::with_capacity(dims.len());
        for (axis, dim) in dims.iter().enumerate() {
            let wanted = wanted.map(|wanted| wanted[axis]);
            shape.push(
                self.axis(axis, dims.len(), dim, wanted)
                    .map_err(|reason| refuse(format!("input \"{name}\" dimension {axis} {reason}")))?,
            );
        }
        if dims.len() == 4 && shape[0] != 1 {
            return Err(refuse(format!(
                "input \"{name}\" has shape {shape:?} with a batch of {}: export the model with batch 1 or a dynamic batch",
                shape[0]
            )));
        }
        Ok(shape)
    }

    fn axis(&mut self, axis: usize, rank: usize, dim: &Dim, wanted: Option<usize>) -> Result<usize, String> {
        match (dim, wanted) {
            (&Dim::Fixed(size), Some(wanted)) if wanted != size => {
                Err(format!("is fixed to {size} by the model and set to {wanted} by `input_shape`: make them agree"))
            }
            (&Dim::Fixed(size), _) => Ok(size),
            (Dim::Named(name), Some(size)) => self.bind(name, size),
            (Dim::Named(name), None) => match self.get(name) {
                Some(size) => Ok(size),
                None if axis == 0 && rank > 1 => self.bind(name, 1),
                None => Err(format!(
                    "(\"{name}\") is dynamic, and only the batch may be: export the model with a fixed size there"
                )),
            },
        }
    }

    fn bind(&mut self, name: &str, size: usize) -> Result<usize, String> {
        match self.get(name) {
            Some(other) if other != size => {
                Err(format!("(\"{name}\") would be both {other} and {size}: make them agree"))
            }
            Some(_) => Ok(size),
            None => {
                self.sizes.push((name.to_owned(), size));
                Ok(size)
            }
        }
    }

    fn get(&self, name: &str) -> Option<usize> {
        self.sizes.iter().find(|(known, _)| known == name).map(|&(_, size)| size)
    }

    /// The shape of an output, if the file and the settled inputs tell it.
    pub(crate) fn output(&self, dims: Option<&[Dim]>) -> Option<Vec<usize>> {
        dims?
            .iter()
            .map(|dim| match dim {
                Dim::Fixed(size) => Some(*size),
                Dim::Named(name) => self.get(name),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Dim {
        Dim::Named(name.to_owned())
    }

    fn settle(dims: &[Dim], wanted: Option<&[usize]>) -> Result<Vec<usize>, String> {
        let settled = Settled::default().input(Path::new("m.onnx"), "image", Some(dims), wanted);
        settled.map_err(|error| error.to_string())
    }

    #[test]
    fn a_dynamic_batch_becomes_one_and_outputs_follow() {
        let mut settled = Settled::default();
        let dims = [named("batch"), Dim::Fixed(3), Dim::Fixed(8), Dim::Fixed(8)];
        assert_eq!(settled.input(Path::new("m"), "x", Some(&dims), None).unwrap(), [1, 3, 8, 8]);
        assert_eq!(settled.output(Some(&[named("batch"), Dim::Fixed(10)])), Some(vec![1, 10]));
        assert_eq!(settled.output(Some(&[named("found"), Dim::Fixed(6)])), None);
        assert_eq!(settled.output(None), None);
    }

    #[test]
    fn other_dynamic_dimensions_are_named_in_the_error() {
        let dims = [Dim::Fixed(1), Dim::Fixed(3), named("height"), named("width")];
        let message = settle(&dims, None).unwrap_err();
        assert!(
            message.contains("\"image\" dimension 2 (\"height\")") && message.contains("a fixed size there"),
            "{message}"
        );
        assert_eq!(settle(&dims, Some(&[1, 3, 48, 64])).unwrap(), [1, 3, 48, 64]);
        // The only dimension of a vector is not a batch.
        assert!(settle(&[named("n")], None).is_err());
    }

    #[test]
    fn options_that_contradict_the_model_are_refused() {
        let dims = [Dim::Fixed(1), Dim::Fixed(3), named("side"), named("side")];
        assert!(settle(&dims, Some(&[1, 1, 8, 8])).unwrap_err().contains("fixed to 3"));
        assert!(settle(&dims, Some(&[1, 3, 8, 9])).unwrap_err().contains("both 8 and 9"));
        assert!(settle(&dims, Some(&[1, 3, 8])).unwrap_err().contains("4 dimensions"));
    }

    #[test]
    fn a_fixed_batch_of_several_images_is_refused() {
        let dims = [Dim::Fixed(8), Dim::Fixed(3), Dim::Fixed(4), Dim::Fixed(4)];
        assert!(settle(&dims, None).unwrap_err().contains("batch of 8"));
    }
}

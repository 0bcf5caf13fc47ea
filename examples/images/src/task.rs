//! What a worker does for one file of a folder.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use brigade::batch::Key;
use serde::{Deserialize, Serialize};

use crate::decode::{Header, decode};
use crate::encode::{has_alpha, output_name, write};
use crate::failure::Failure;
use crate::recipe::Recipe;
use crate::report::shown;

/// What every task of a batch needs to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    input: OsString,
    output: OsString,
    /// What is made of each picture.
    pub recipe: Recipe,
}

impl Job {
    /// A job that makes pictures of the folder `input` into those of the folder `output`.
    #[must_use]
    pub fn new(input: PathBuf, output: PathBuf, recipe: Recipe) -> Job {
        Job { input: input.into(), output: output.into(), recipe }
    }

    /// The folder of the inputs.
    #[must_use]
    pub fn input(&self) -> &Path {
        Path::new(&self.input)
    }

    /// The folder of the outputs.
    #[must_use]
    pub fn output(&self) -> &Path {
        Path::new(&self.output)
    }

    /// The settings that decide what the outputs are, and where: the label of a journal.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}, from {} to {}", self.recipe, shown(self.input()), shown(self.output()))
    }
}

/// Makes the output of one picture; the size of the output in bytes. The key is the path of the
/// picture in the job's folder.
///
/// # Errors
///
/// Whatever is wrong with the file.
pub fn process(job: &Job, key: &Key) -> Result<u64, Failure> {
    let (relative, recipe) = (key.as_path(), &job.recipe);
    let input = job.input().join(relative);
    let (decoded, found) = decode(&input, recipe)?;
    let format = recipe.format.of(found);
    let path = job.output().join(output_name(job.input(), relative, format)?);
    let Header { size, part, .. } = decoded.header;
    let target = recipe.target(size.0, size.1);
    let picture = decoded.to_picture().resized(part, target)?.filtered(recipe);
    let picture = if has_alpha(format) { picture } else { picture.over_white() };
    let mut image = picture.to_image();
    image.apply_orientation(decoded.orientation);
    write(image, format, recipe.quality, decoded.profile, &input, &path)
}

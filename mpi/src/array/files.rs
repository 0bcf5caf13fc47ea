//! Distributed arrays in `.npy` files.
#![allow(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use brigade::{Element, SharedArray};

use crate::array::DistArray;
use crate::array::layout::Layout;
use crate::cluster::Cluster;
use crate::error::{Error, Result};

impl<T: Element> DistArray<T> {
    /// Reads a `.npy` file, each rank its own rows. The file must be at this path on every node.
    ///
    /// # Safety
    ///
    /// - Nobody writes to the file or cuts it short during the call.
    ///
    /// # Errors
    ///
    /// [`Error::Brigade`] if this rank cannot read it, as
    /// [`SharedArray::map_npy`](brigade::SharedArray::map_npy); [`Error::RankFailed`] if another
    /// cannot; [`Error::Disagreement`] if it has another shape there.
    ///
    /// # Examples
    ///
    /// ```
    /// # use brigade::Pool;
    /// # let cluster = brigade_mpi::Cluster::new(Pool::builder().workers(1))?;
    /// use brigade_mpi::DistArray;
    /// let path = std::env::temp_dir().join(format!("brigade-mpi-doc-{}.npy", std::process::id()));
    /// DistArray::<f32>::zeroed(&cluster, &[4, 2], 0)?.write_npy(&cluster, &path)?;
    /// // SAFETY: no other program knows the file.
    /// let array = unsafe { DistArray::<f32>::read_npy(&cluster, &path, 0)? };
    /// assert_eq!(array.shape(), [4, 2]);
    /// std::fs::remove_file(path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub unsafe fn read_npy(
        cluster: &Cluster,
        path: impl AsRef<Path>,
        halo: usize,
    ) -> Result<DistArray<T>> {
        // SAFETY: by this function's contract nobody changes the file while it is mapped.
        let mapped = unsafe { SharedArray::<T>::map_npy(path) };
        let mapped = cluster.link.agree(mapped.map_err(Error::from))?;
        let shape = mapped.shape().dims();
        let shapes = cluster.link.all_gather(shape.to_vec())?;
        if let Some(rank) = shapes.iter().position(|other| *other != shapes[0]) {
            let (theirs, ours) = (format!("{:?}", shapes[rank]), format!("{:?}", shapes[0]));
            return Err(Error::Disagreement { what: "the shape of the file", rank, theirs, ours });
        }
        let layout = Layout::even(shape, cluster.rank(), cluster.size(), halo);
        let mut array = DistArray::of_layout(cluster, layout)?;
        let (held, row_len) = (array.local_rows(), array.layout.row_len());
        let rows = &mapped.as_slice()[held.start * row_len..held.end * row_len];
        array.local.as_mut_slice().copy_from_slice(rows);
        Ok(array)
    }

    /// Writes a `.npy` file, each rank its own rows. The path must be on a file system that all
    /// nodes share. The file appears when it is complete; until then it is `PATH.partial`.
    ///
    /// # Errors
    ///
    /// [`Error::File`] or [`Error::Brigade`] if this rank cannot write, and
    /// [`Error::RankFailed`] if another cannot. Then no file is left.
    ///
    /// # Examples
    ///
    /// See [`read_npy`](DistArray::read_npy).
    pub fn write_npy(&self, cluster: &Cluster, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let partial = partial(path);
        let link = &cluster.link;
        let outcome = self.write_partial(cluster, &partial);
        let renamed = match (&outcome, cluster.rank()) {
            (Ok(()), 0) => fs::rename(&partial, path).map_err(|source| at(path, source)),
            _ => Ok(()),
        };
        let outcome = outcome.and_then(|()| link.agree(renamed));
        if outcome.is_err() && cluster.rank() == 0 {
            // It may not exist.
            let _ = fs::remove_file(&partial);
        }
        outcome
    }

    /// Writes the file under another name. All ranks fail, or none.
    fn write_partial(&self, cluster: &Cluster, partial: &Path) -> Result<()> {
        let link = &cluster.link;
        let row_bytes = (self.layout.row_len() * size_of::<T>()) as u64;
        let made = if cluster.rank() == 0 { self.make_file(partial) } else { Ok(0) };
        let data_offset = link.broadcast(link.agree(made)?)?;
        let offset = data_offset + self.rows().start as u64 * row_bytes;
        let bytes = bytemuck::cast_slice::<T, u8>(self.as_slice());
        let written = OpenOptions::new().write(true).open(partial).and_then(|file| {
            file.write_all_at(bytes, offset)?;
            // An error of a network file system may come only now.
            file.sync_data()
        });
        link.agree(written.map_err(|source| at(partial, source)))
    }

    /// Makes a file of zeros with its header; returns where its data begin.
    fn make_file(&self, path: &Path) -> Result<u64> {
        // A file of an earlier run that was killed.
        let _ = fs::remove_file(path);
        // SAFETY: the mapping ends in this statement, and nothing refers to its elements.
        drop(unsafe { SharedArray::<T>::create_npy(path, self.shape()) }?);
        let len = File::open(path).and_then(|file| file.metadata()).map(|found| found.len());
        let data = (self.layout.rows() * self.layout.row_len() * size_of::<T>()) as u64;
        Ok(len.map_err(|source| at(path, source))?.saturating_sub(data))
    }
}

fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

fn at(path: &Path, source: std::io::Error) -> Error {
    Error::File { path: path.to_owned(), source }
}

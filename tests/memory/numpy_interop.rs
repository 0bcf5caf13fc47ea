//! Python and NumPy use named arrays and files without a binding.
//!
//! The interpreter is `$BRIGADE_PYTHON`, or `python3`. Without one, or without NumPy in it, these
//! tests are skipped with a message.

use crate::common::alone::alone;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::common::{Directory, skipped, unique};
use brigade::{Dtype, Error, SharedArray};

/// The interpreter, if it can run `import`.
fn python(import: &str) -> Option<String> {
    let python = std::env::var("BRIGADE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let probe = Command::new(&python).args(["-c", import]).output();
    if probe.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    skipped(&format!("{python} cannot `{import}`; set BRIGADE_PYTHON to one that can"));
    None
}

/// Runs a script, which must succeed, and returns what it printed.
fn run(python: &str, script: &str, arguments: &[&str]) -> String {
    let output = Command::new(python).args(["-c", script]).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A script that runs at the same time as the test; both take turns.
struct Beside {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Beside {
    fn start(python: &str, script: &str, arguments: &[&str]) -> Beside {
        let mut command = Command::new(python);
        command.args(["-c", script]).args(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Beside { child, output }
    }

    /// Waits for the script to print a line.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Lets a script that reads a line continue.
    fn go_on(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    fn succeeds(mut self) {
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn numpy_maps_a_named_array_and_writes_into_it() {
    alone(|| {
        let Some(python) = python("import numpy") else { return };
        let name = unique("numpy");
        let mut array = SharedArray::<f64>::named(&name, [2, 3]).unwrap();
        array.copy_from_slice(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        let script = "import numpy, sys
a = numpy.load('/dev/shm/' + sys.argv[1], mmap_mode='r+')
assert a.shape == (2, 3) and a.dtype == numpy.float64 and a.flags.c_contiguous
assert a[1, 0] == 4.0
a[0, 1] = 42.0
print(float(a.sum()))";
        assert_eq!(run(&python, script, &[&name]), "61.0");
        assert_eq!(array.get([0, 1]), Some(42.0));
    });
}

#[test]
fn pythons_shared_memory_attaches_a_named_array() {
    alone(|| {
        let Some(python) = python("from multiprocessing import shared_memory") else { return };
        let name = unique("python");
        let mut array = SharedArray::<i32>::named(&name, [4]).unwrap();
        array.copy_from_slice(&[10, 20, 30, 40]).unwrap();
        // Before 3.13 Python assumes that it owns the memory that it attaches, and removes it at
        // exit.
        let script = "import struct, sys
from multiprocessing import resource_tracker, shared_memory
if sys.version_info >= (3, 13):
    m = shared_memory.SharedMemory(sys.argv[1], track=False)
else:
    m = shared_memory.SharedMemory(sys.argv[1])
    resource_tracker.unregister(m._name, 'shared_memory')
assert bytes(m.buf[:6]) == b'\\x93NUMPY'
print(struct.unpack_from('<4i', m.buf, 4096))
struct.pack_into('<i', m.buf, 4096 + 4, 21)
m.close()";
        assert_eq!(run(&python, script, &[&name]), "(10, 20, 30, 40)");
        assert_eq!(array.copy_to_vec(), [10, 21, 30, 40]);
        assert!(SharedArray::<i32>::open(&name).is_ok(), "the name is still there");
    });
}

#[test]
fn arrays_that_numpy_publishes_are_attached() {
    alone(|| {
        let Some(python) = python("import numpy") else { return };
        let name = unique("from-numpy");
        let script = "import numpy, os, sys
path = '/dev/shm/' + sys.argv[1]
os.umask(0o077)
with open(path, 'wb') as f: numpy.save(f, numpy.arange(6, dtype='u2').reshape(3, 2))";
        run(&python, script, &[&name]);
        let mut array = SharedArray::<u16>::open(&name).unwrap();
        assert_eq!((array.get([2, 1]), array.shape().dims()), (Some(5), &[3, 2][..]));
        array.unlink().unwrap();
    });
}

#[test]
fn files_go_both_ways() {
    alone(|| {
        let directory = Directory::new();
        let Some(python) = python("import numpy") else { return };
        let (ours, theirs) = (directory.0.join("ours.npy"), directory.0.join("theirs.npy"));
        SharedArray::from_fn([2, 2, 2], |[i, j, k]| [i as f32, (j + k) as f32])
            .unwrap()
            .to_npy(&ours)
            .unwrap();
        let script = "import numpy, sys
a = numpy.load(sys.argv[1])
assert a.dtype == numpy.complex64 and a[1, 1, 1] == 1 + 2j
numpy.save(sys.argv[2], numpy.asfortranarray(numpy.arange(6.).reshape(2, 3).astype('>f8')))";
        run(&python, script, &[ours.to_str().unwrap(), theirs.to_str().unwrap()]);
        let read = SharedArray::<f64>::from_npy(&theirs).unwrap();
        assert_eq!(read.as_slice(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(read.shape().dims(), [2, 3]);
    });
}

#[test]
fn memory_that_pythons_shared_memory_made_is_attached_as_it_lies() {
    alone(|| {
        let Some(python) = python("from multiprocessing import shared_memory") else { return };
        let name = unique("python-made");
        let script = "import struct, sys
from multiprocessing import shared_memory
m = shared_memory.SharedMemory(sys.argv[1], create=True, size=40)
struct.pack_into('<q4d', m.buf, 0, 4, 1.5, 2.5, 3.5, 4.5)
print('made', flush=True)
sys.stdin.readline()
assert struct.unpack_from('<4d', m.buf, 8) == (1.5, 20.0, 3.5, 4.5)
struct.pack_into('<d', m.buf, 8 + 16, 30.0)
print('changed', flush=True)
sys.stdin.readline()
m.close()
m.unlink()";
        let mut beside = Beside::start(&python, script, &[&name]);
        assert_eq!(beside.line(), "made");
        // A header of one number, then the elements.
        let count = SharedArray::<i64>::attach_raw(&name, Dtype::I64, [1], 0).unwrap();
        assert_eq!(count.get([0]), Some(4));
        let mut array = SharedArray::<f64>::attach_raw(&name, Dtype::F64, [2, 2], 8).unwrap();
        assert_eq!(array.copy_to_vec(), [1.5, 2.5, 3.5, 4.5]);
        array.set([0, 1], 20.0).unwrap();
        beside.go_on();
        assert_eq!(beside.line(), "changed");
        assert_eq!(array.get([1, 0]), Some(30.0));
        // Python does not round the size up: one more element is beyond the end.
        let beyond = SharedArray::<f64>::attach_raw(&name, Dtype::F64, [5], 8);
        assert!(matches!(beyond, Err(Error::Layout { .. })), "{beyond:?}");
        assert!(matches!(SharedArray::<f64>::open(&name), Err(Error::Layout { .. })), "no header");
        assert!(!brigade::reclaim().unwrap().contains(&name));
        drop((count, array));
        beside.go_on();
        beside.succeeds();
        assert!(matches!(SharedArray::<f64>::open(&name), Err(Error::NotFound { .. })));
    });
}

#[test]
fn numpy_arrays_in_pythons_shared_memory_are_read_and_written_in_place() {
    alone(|| {
        let Some(python) = python("import numpy; from multiprocessing import shared_memory") else {
            return;
        };
        let name = unique("numpy-made");
        let script = "import numpy, sys
from multiprocessing import shared_memory
m = shared_memory.SharedMemory(sys.argv[1], create=True, size=4 * 12)
a = numpy.ndarray((3, 4), dtype='f4', buffer=m.buf)
a[:] = numpy.arange(12).reshape(3, 4)
print(a.dtype.str, flush=True)
sys.stdin.readline()
assert a[2, 3] == 99 and a.sum() == 66 - 11 + 99
del a
m.close()
m.unlink()";
        let mut beside = Beside::start(&python, script, &[&name]);
        assert_eq!(beside.line(), Dtype::F32.to_string());
        let mut array = SharedArray::<f32>::attach_raw(&name, Dtype::F32, [3, 4], 0).unwrap();
        assert_eq!(array.get([1, 2]), Some(6.0));
        array.set([2, 3], 99.0).unwrap();
        beside.go_on();
        beside.succeeds();
        assert_eq!(array.get([2, 3]), Some(99.0), "the name is gone, the memory is not");
    });
}

#[test]
fn what_numpy_has_mapped_outlives_the_name() {
    alone(|| {
        let Some(python) = python("import numpy") else { return };
        let name = unique("mapped");
        let array = SharedArray::<i32>::create(&name, [3]).unwrap();
        let script = "import numpy, sys
a = numpy.load('/dev/shm/' + sys.argv[1], mmap_mode='r+')
print('mapped', flush=True)
sys.stdin.readline()
a[:] = [7, 8, 9]
print(a.tolist(), flush=True)";
        let mut beside = Beside::start(&python, script, &[&name]);
        assert_eq!(beside.line(), "mapped");
        // NumPy takes no lock: this was the last handle, and the name is removed; the mapping
        // stays.
        drop(array);
        assert!(!std::path::Path::new("/dev/shm").join(&name).exists());
        beside.go_on();
        assert_eq!(beside.line(), "[7, 8, 9]");
        beside.succeeds();
    });
}

// The header is a page, and NumPy before 2.2 maps whole pages, starting with the last one before
// the elements; without elements that mapping is empty.
#[test]
fn numpy_maps_arrays_without_elements() {
    alone(|| {
        let directory = Directory::new();
        let Some(python) = python("import numpy") else { return };
        let (path, name) = (directory.0.join("empty.npy"), unique("empty"));
        SharedArray::<f64>::zeroed([0, 5]).unwrap().to_npy(&path).unwrap();
        let named = SharedArray::<f64>::create(&name, [3, 0]).unwrap();
        let script = "import numpy, sys
for path in sys.argv[1:]:
    for mode in ('r', 'r+', 'c', None): print(numpy.load(path, mmap_mode=mode).shape)";
        let shapes = run(&python, script, &[path.to_str().unwrap(), &format!("/dev/shm/{name}")]);
        let expected = [["(0, 5)"; 4], ["(3, 0)"; 4]].concat();
        assert_eq!(shapes.lines().collect::<Vec<_>>(), expected);
        assert_eq!(SharedArray::<f64>::from_npy(&path).unwrap().shape().dims(), [0, 5]);
        assert_eq!(SharedArray::<f64>::open(&name).unwrap().shape().dims(), [3, 0]);
        drop(named);
        assert!(
            !std::path::Path::new("/dev/shm").join(&name).exists(),
            "it is a region all the same"
        );
    });
}

//! What fuzzing attacks here: values of types without a bound.

use std::collections::{BTreeMap, LinkedList, VecDeque};
use std::fmt::Debug;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::array::codec;

/// Every kind of level, in one another.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Tree {
    Leaf,
    Newtype(Box<Tree>),
    Tuple(u8, Box<Tree>, ()),
    Struct { left: Option<Box<Tree>>, right: Link },
    Sequence(Vec<Tree>),
    Map(BTreeMap<u16, Tree>),
    Text(String, char),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Link(Option<Box<Link>>);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Forest {
    trees: Vec<Forest>,
    by_name: BTreeMap<String, Forest>,
}

/// Elements without bytes, alone and in elements that have some.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Empty {
    units: Vec<()>,
    arrays: VecDeque<[u64; 0]>,
    markers: LinkedList<PhantomData<u8>>,
    map: BTreeMap<(), ()>,
    nested: Vec<Vec<((), [(); 7])>>,
}

/// Decodes `bytes` as values of several types.
///
/// # Panics
///
/// If what was decoded is not encoded, or as a value that is another.
pub(crate) fn value(bytes: &[u8]) {
    as_a::<Tree>(bytes);
    as_a::<Link>(bytes);
    as_a::<Forest>(bytes);
    as_a::<Vec<()>>(bytes);
    as_a::<Vec<Vec<()>>>(bytes);
    as_a::<Empty>(bytes);
}

fn as_a<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    let Ok((value, _)) = codec::decode_first::<T>(bytes) else { return };
    let mut again = Vec::new();
    codec::encode_onto(&mut again, &value).expect("what was decoded");
    assert!(codec::decode::<T>(&again).expect("what was encoded") == value);
}

//! Values that exceed a limit, and values that do not.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::thread;

use proptest::prelude::*;
use serde::Deserialize;

use super::bounds::{EMPTY_MAX, LEVELS_MAX};
use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Tree {
    Leaf,
    Node(Box<Tree>),
    Pair { left: Box<Tree>, right: Vec<Tree> },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Wide {
    padding: [[u64; 32]; 8],
    next: Option<Box<Wide>>,
}

#[derive(Serialize, Deserialize)]
struct Wrapped(Option<Box<Wrapped>>);

#[derive(Serialize, Deserialize)]
struct Twice(Vec<Twice>, BTreeMap<u8, Twice>);

/// A chain of `nodes` nested nodes around a leaf.
fn chain(nodes: u32) -> Tree {
    (0..nodes).fold(Tree::Leaf, |inner, _| Tree::Node(Box::new(inner)))
}

/// Takes a tree apart without recursion.
fn dismantle(mut tree: Tree) {
    while let Tree::Node(inner) = tree {
        tree = *inner;
    }
}

fn encoded<T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    encode_onto(&mut bytes, value).map(|()| bytes)
}

fn refused<T: DeserializeOwned>(bytes: &[u8]) -> String {
    decode::<T>(bytes).err().unwrap()
}

#[test]
fn a_value_of_the_greatest_depth_is_encoded_and_decoded_and_a_deeper_one_neither() {
    let deepest = chain(LEVELS_MAX - 1);
    let bytes = encoded(&deepest).unwrap();
    assert_eq!(decode::<Tree>(&bytes).unwrap(), deepest);
    assert!(encoded(&chain(LEVELS_MAX)).unwrap_err().contains("512 levels"));
    let deeper = [[1].as_slice(), &bytes].concat();
    assert!(refused::<Tree>(&deeper).contains("512 levels"));
}

#[test]
fn no_kind_of_level_nests_without_a_bound() {
    // A million bytes, each of which is decoded as one more level.
    let ones = vec![1; 1 << 20];
    assert!(refused::<Tree>(&ones).contains("levels"));
    assert!(refused::<Wrapped>(&ones).contains("levels"));
    assert!(refused::<Twice>(&ones).contains("levels"));
    // A pair is the third variant: its left part is another pair, and so on.
    assert!(refused::<Tree>(&vec![2; 1 << 20]).contains("levels"));
    // No sequence, and maps of one entry with key 1.
    let maps: Vec<u8> = [0, 1, 1].repeat(1 << 18);
    assert!(refused::<Twice>(&maps).contains("levels"));
}

#[test]
fn a_value_far_too_deep_is_refused_before_the_stack_ends() {
    let deep = chain(1 << 20);
    assert!(encoded(&deep).unwrap_err().contains("levels"));
    dismantle(deep);
}

#[test]
fn a_thread_with_little_stack_refuses_what_another_decodes() {
    let wide = || Wide { padding: [[7; 32]; 8], next: None };
    let all = (0..120).fold(wide(), |inner, _| Wide { next: Some(Box::new(inner)), ..wide() });
    let bytes = encoded(&all).unwrap();
    let on_stack = |stack_bytes: usize| {
        let bytes = bytes.clone();
        let decoding = move || decode::<Wide>(&bytes).map(drop);
        thread::Builder::new().stack_size(stack_bytes).spawn(decoding).unwrap().join().unwrap()
    };
    assert_eq!(on_stack(64 << 20), Ok(()));
    assert!(on_stack(512 << 10).unwrap_err().contains("stack"));
}

#[test]
fn elements_without_bytes_are_counted_in_both_directions() {
    let most = vec![(); EMPTY_MAX];
    let bytes = encoded(&most).unwrap();
    assert_eq!(decode::<Vec<()>>(&bytes).unwrap().len(), most.len());
    // A vector of units may have any length and takes no bytes for them.
    assert!(encoded(&vec![(); usize::MAX]).unwrap_err().contains("no bytes"));
    let endless = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    assert!(refused::<Vec<()>>(&endless).contains("no bytes"));
    assert!(refused::<Vec<[u64; 0]>>(&endless).contains("no bytes"));
    assert!(refused::<BTreeMap<(), ()>>(&endless).contains("no bytes"));
    // The bound holds for all parts together; otherwise there would be one for each ten bytes.
    let half = encoded(&vec![(); EMPTY_MAX / 2]).unwrap();
    let thrice = [[3].as_slice(), &half, &half, &half].concat();
    assert!(refused::<Vec<Vec<()>>>(&thrice).contains("no bytes"));
}

#[test]
fn a_length_beyond_the_bytes_reserves_no_memory_for_it() {
    let mut bytes = encoded(&(u64::MAX >> 8)).unwrap();
    bytes.extend([7; 5]);
    assert!(decode::<Vec<[u128; 16]>>(&bytes).is_err());
    assert!(decode::<Vec<u8>>(&bytes).is_err());
    assert!(decode::<String>(&bytes).is_err());
    assert!(decode::<BTreeMap<u64, String>>(&bytes).is_err());
}

/// Every kind of value that the format knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Any {
    Unit,
    Numbers(u8, i16, u32, i64, u128, i128, bool, char),
    Floats { single: f32, double: f64 },
    Texts(Vec<String>, BTreeMap<String, Option<()>>),
    Nested(Box<Any>, Option<Box<Any>>),
    Newtype((Meters, Nothing)),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Meters(i32);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Nothing;

fn any_value() -> impl Strategy<Value = Any> {
    let flat = prop_oneof![
        Just(Any::Unit),
        any::<(u8, i16, u32, i64, u128, i128, bool, char)>()
            .prop_map(|(a, b, c, d, e, f, g, h)| Any::Numbers(a, b, c, d, e, f, g, h)),
        (-1e9f32..1e9, -1e9f64..1e9).prop_map(|(single, double)| Any::Floats { single, double }),
        any::<(Vec<String>, BTreeMap<String, Option<()>>)>().prop_map(|(a, b)| Any::Texts(a, b)),
        any::<i32>().prop_map(|meters| Any::Newtype((Meters(meters), Nothing))),
    ];
    flat.prop_recursive(4, 32, 2, |inner| {
        (inner.clone(), prop::option::of(inner))
            .prop_map(|(one, other)| Any::Nested(Box::new(one), other.map(Box::new)))
    })
}

proptest! {
    #[test]
    fn the_bytes_are_those_of_postcard(value in prop::collection::vec(any_value(), 0..4)) {
        let bytes = encoded(&value).unwrap();
        prop_assert_eq!(&bytes, &postcard::to_allocvec(&value).unwrap());
        prop_assert_eq!(decode::<Vec<Any>>(&bytes).unwrap(), value);
    }

    #[test]
    fn any_bytes_decode_as_by_postcard(bytes in prop::collection::vec(0u8..8, 0..64)) {
        let ours = decode_first::<Any>(&bytes).map(|(value, rest)| (value, rest.len())).ok();
        let theirs = postcard::take_from_bytes::<Any>(&bytes).ok();
        prop_assert_eq!(ours, theirs.map(|(value, rest)| (value, rest.len())));
    }
}

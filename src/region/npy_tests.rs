//! Tests of reading and writing `.npy` headers.

use proptest::prelude::*;

use super::*;

/// Parses a header as if it began a file.
fn parse(bytes: &[u8]) -> Result<NpyHeader> {
    super::parse(bytes, "test")
}

fn with_text(text: &str) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend_from_slice(&u16::try_from(text.len()).unwrap().to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

#[test]
fn a_header_is_a_page_and_reads_back() {
    for dims in [vec![], vec![0], vec![7], vec![2, 3], vec![usize::MAX, 0, 5], vec![1; 32]] {
        let shape = Shape::from(dims);
        let bytes = encode(Dtype::F64, &shape).unwrap();
        assert_eq!((bytes.len(), bytes[DATA_OFFSET - 1]), (DATA_OFFSET, b'\n'));
        let header = parse(&bytes).unwrap();
        assert_eq!((header.shape, header.data_offset), (shape, DATA_OFFSET));
        assert!(header.is_native && !header.is_fortran && header.dtype == Dtype::F64);
    }
    assert!(encode(Dtype::U8, &Shape::from([1; 33])).is_err());
}

#[test]
fn headers_of_numpy_are_read() {
    let text = "{'descr': '>i2', 'fortran_order': True, 'shape': (3, 4), }          \n";
    let header = parse(&with_text(text)).unwrap();
    assert_eq!((header.dtype, header.data_bytes), (Dtype::I16, 24));
    assert!(header.is_fortran && !header.is_native);
    let any_order = "{\"shape\":(5,),'fortran_order':False,'descr':'|u1'}";
    assert_eq!(parse(&with_text(any_order)).unwrap().shape, Shape::from([5]));
    let mut version_2 = b"\x93NUMPY\x02\x00".to_vec();
    version_2.extend_from_slice(&u32::try_from(any_order.len()).unwrap().to_le_bytes());
    version_2.extend_from_slice(any_order.as_bytes());
    assert_eq!(parse(&version_2).unwrap().data_offset, 12 + any_order.len());
}

#[test]
fn every_other_header_is_a_layout_error() {
    let texts = [
        "",
        "{",
        "{}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (3)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-3,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (3 4)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (3,)",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (3,)} 5",
        "{'descr': '<f8', 'fortran_order': False}",
        "{'descr': '<f8', 'fortran_order': 0, 'shape': (3,)}",
        "{'descr': '<f8', 'descr': '<f8', 'fortran_order': False, 'shape': (3,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (3,), 'more': True}",
        "{'descr': [('x', '<f8')], 'fortran_order': False, 'shape': (3,)}",
        "{'descr': '<f2', 'fortran_order': False, 'shape': (3,)}",
        "{'descr': '|f8', 'fortran_order': False, 'shape': (3,)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (3,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999999999,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (9223372036854775807, 2)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1152921504606846975,)}",
    ];
    for text in texts {
        let refused = parse(&with_text(text));
        assert!(matches!(refused, Err(Error::Layout { .. })), "{text}: {refused:?}");
    }
    for bytes in
        [&b""[..], b"\x93NUMPY", b"\x93NUMPY\x04\x00\x00\x00", b"PK\x03\x04", b"\x93NUMPY\x01"]
    {
        assert!(matches!(parse(bytes), Err(Error::Layout { .. })), "{bytes:?}");
    }
    let huge = b"\x93NUMPY\x02\x00\xff\xff\xff\xff";
    assert!(matches!(parse(huge), Err(Error::Layout { .. })));
}

proptest! {
    #[test]
    fn no_bytes_panic_or_give_anything_but_layout(
        bytes in prop::collection::vec(any::<u8>(), 0..99)
    ) {
        let mut prefixed = b"\x93NUMPY\x01\x00".to_vec();
        prefixed.extend_from_slice(&bytes);
        for bytes in [&bytes, &prefixed] {
            let is_layout = matches!(parse(bytes), Err(Error::Layout { .. }));
            prop_assert!(is_layout || parse(bytes).is_ok());
        }
    }

    #[test]
    fn a_damaged_header_never_panics(
        position in 0usize..120,
        byte in any::<u8>(),
        dims in prop::collection::vec(0usize..50, 0..5),
    ) {
        let mut bytes = encode(Dtype::I32, &Shape::from(dims)).unwrap();
        bytes[position] = byte;
        if let Ok(header) = parse(&bytes) {
            let size_bytes = header.shape.size_bytes(header.dtype.size_bytes());
            prop_assert_eq!(size_bytes, Some(header.data_bytes));
        }
    }
}

//! Writes a file of random measurements.

use std::io::{self, Write};

/// The number of stations.
const STATIONS: usize = 413;
/// Parts of which names are made; two of them are not ASCII.
const SYLLABLES: [&str; 32] = [
    "ba", "chi", "dor", "el", "fa", "gra", "ham", "is", "jo", "kar", "lu", "mon", "na", "os", "pe",
    "qua", "ri", "san", "tu", "ul", "ve", "wes", "xi", "yor", "za", "burg", "ton", "ville",
    " City", "s\u{e3}o", "\u{f6}r", "port",
];

/// Random numbers: SplitMix64, which gives each state one number.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is at most 2^32.
    fn below(&mut self, limit: usize) -> usize {
        (((self.next() >> 32) * limit as u64) >> 32) as usize
    }
}

/// A name with a capital letter, of 2 to about 20 bytes.
fn name(random: &mut Random) -> String {
    let syllables = 1 + random.below(3) + random.below(2);
    let name: String = (0..syllables).map(|_| SYLLABLES[random.below(32)]).collect();
    let name = name.trim_start();
    let mut letters = name.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).collect()
}

/// Writes `rows` lines, which depend on `seed` alone: 413 stations, each with a mean from -20 to
/// 40 degrees, and values up to 20 degrees from it.
///
/// # Errors
///
/// Those of `out`.
pub fn write(mut out: impl Write, rows: u64, seed: u64) -> io::Result<()> {
    let mut random = Random(seed);
    let mut stations: Vec<(String, usize)> = Vec::new();
    while stations.len() < STATIONS {
        let name = name(&mut random);
        if stations.iter().all(|(other, _)| *other != name) {
            stations.push((name, random.below(600)));
        }
    }
    // The text of every value, from -40.0 to 59.9.
    let value = |tenths: i32| {
        let sign = if tenths < 0 { "-" } else { "" };
        format!(";{sign}{}.{}\n", tenths.abs() / 10, tenths.abs() % 10)
    };
    let values: Vec<String> = (-400..600).map(value).collect();
    for _ in 0..rows {
        let (name, mean) = &stations[random.below(STATIONS)];
        let deviation = random.below(200) + random.below(201);
        out.write_all(name.as_bytes())?;
        out.write_all(values[mean + deviation].as_bytes())?;
    }
    out.flush()
}

//! Sixteen inputs at once: vectors of sixteen 32-bit lanes, of which each input has one.
//!
//! The names are those of FIPS 180-4, sections 4.1.2 and 6.2.2.
#![expect(unsafe_code, reason = "instructions that not every processor has")]

use core::arch::x86_64::*;
use core::array;

use crate::Block;

cpufeatures::new!(avx512, "avx512f", "avx512bw");
cpufeatures::new!(sha, "sha", "sse2", "ssse3", "sse4.1");

/// How many inputs are hashed at once.
pub const LANES: usize = 16;

/// One word of each input.
type Words = __m512i;

/// Says that this processor has the instructions. Only [`Wide::detected`] makes one.
#[derive(Clone, Copy, Debug)]
pub struct Wide(());

impl Wide {
    pub fn detected() -> Option<Wide> {
        avx512::get().then_some(Wide(()))
    }

    /// From how many inputs on this takes less time than two at a time: measured on an AMD EPYC of
    /// family 26, where sixteen blocks take as long as 7.5 do by SHA instructions.
    pub fn pays_from(self) -> usize {
        if sha::get() { 8 } else { 2 }
    }

    /// Takes all blocks of each input into its state; each has as many. States are word by word.
    pub fn compress(self, states: &mut [[u32; LANES]; 8], blocks: [&[Block]; LANES]) {
        // SAFETY: this processor has the instructions, or there would be no `self`.
        unsafe { compress(states, blocks) }
    }
}

/// The constants of the rounds, section 4.2.2, by sixteen.
#[rustfmt::skip]
const K: [[u32; 16]; 4] = [
    [
        0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5,
        0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
        0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3,
        0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    ],
    [
        0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc,
        0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
        0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7,
        0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    ],
    [
        0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13,
        0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
        0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3,
        0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    ],
    [
        0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5,
        0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
        0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208,
        0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
    ],
];

#[target_feature(enable = "avx512f,avx512bw")]
fn compress(states: &mut [[u32; LANES]; 8], blocks: [&[Block]; LANES]) {
    let mut before: [Words; 8] = array::from_fn(|word| load(&states[word]));
    let count = blocks.iter().map(|blocks| blocks.len()).min().unwrap_or_default();
    for at in 0..count {
        let mut w = [_mm512_setzero_si512(); 16];
        for (row, blocks) in w.iter_mut().zip(blocks) {
            *row = load(&blocks[at]);
        }
        words_of(&mut w);
        let mut state = before;
        for (sixteen, k) in K.iter().enumerate() {
            // Written out, every place in `w` and `state` is a constant: they stay in registers.
            macro_rules! rounds {
                ($($t:literal)*) => {$(
                    if sixteen > 0 {
                        w[$t] = scheduled::<$t>(&w);
                    }
                    round::<$t>(&mut state, add(w[$t], _mm512_set1_epi32(k[$t].cast_signed())));
                )*};
            }
            rounds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        }
        before = array::from_fn(|word| add(before[word], state[word]));
    }
    for (to, words) in states.iter_mut().zip(before) {
        // SAFETY: there is room for sixteen words, and nothing asks for an alignment.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), words) }
    }
}

/// Section 6.2.2, step 3. Instead of moving eight variables along, it renames them: what is `a` in
/// one round stands where `b` is looked for in the next.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn round<const T: usize>(state: &mut [Words; 8], kw: Words) {
    let place = |variable: usize| (variable + 16 - T) % 8;
    let [a, b, c, d, e, f, g, h] = array::from_fn(|variable| state[place(variable)]);
    let ch = _mm512_ternarylogic_epi32::<0xca>(e, f, g);
    let maj = _mm512_ternarylogic_epi32::<0xe8>(a, b, c);
    let sum0 = xor(rotated::<2>(a), rotated::<13>(a), rotated::<22>(a));
    let sum1 = xor(rotated::<6>(e), rotated::<11>(e), rotated::<25>(e));
    let t1 = add(add(add(h, kw), ch), sum1);
    state[place(3)] = add(d, t1);
    state[place(7)] = add(add(maj, t1), sum0);
}

/// Section 6.2.2, step 1: a word of the schedule from the sixteen before it, whose place it takes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn scheduled<const T: usize>(w: &[Words; 16]) -> Words {
    let back = |words: usize| w[(T + 16 - words) % 16];
    let (of_15, of_2) = (back(15), back(2));
    let sum0 = xor(rotated::<7>(of_15), rotated::<18>(of_15), _mm512_srli_epi32::<3>(of_15));
    let sum1 = xor(rotated::<17>(of_2), rotated::<19>(of_2), _mm512_srli_epi32::<10>(of_2));
    add(add(back(16), sum0), add(back(7), sum1))
}

/// From the bytes of one block a vector, to one word of each block a vector.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn words_of(w: &mut [Words; 16]) {
    // A byte's place in each group of four, turned round: words are big-endian.
    let swap = _mm512_set4_epi32(0x0c0d_0e0f, 0x0809_0a0b, 0x0405_0607, 0x0001_0203);
    w.iter_mut().for_each(|row| *row = _mm512_shuffle_epi8(*row, swap));
    // Within each quarter, four words of four rows change places; then the quarters do.
    let mut quarters = *w;
    for at in 0..4 {
        let [a, b, c, d] = [w[4 * at], w[4 * at + 1], w[4 * at + 2], w[4 * at + 3]];
        let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
        quarters[4 * at] = _mm512_unpacklo_epi64(ab, cd);
        quarters[4 * at + 1] = _mm512_unpackhi_epi64(ab, cd);
        let (ab, cd) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
        quarters[4 * at + 2] = _mm512_unpacklo_epi64(ab, cd);
        quarters[4 * at + 3] = _mm512_unpackhi_epi64(ab, cd);
    }
    for at in 0..4 {
        let [a, b, c, d] = [quarters[at], quarters[4 + at], quarters[8 + at], quarters[12 + at]];
        let (ab, cd) = (_mm512_shuffle_i32x4::<0x44>(a, b), _mm512_shuffle_i32x4::<0x44>(c, d));
        w[at] = _mm512_shuffle_i32x4::<0x88>(ab, cd);
        w[4 + at] = _mm512_shuffle_i32x4::<0xdd>(ab, cd);
        let (ab, cd) = (_mm512_shuffle_i32x4::<0xee>(a, b), _mm512_shuffle_i32x4::<0xee>(c, d));
        w[8 + at] = _mm512_shuffle_i32x4::<0x88>(ab, cd);
        w[12 + at] = _mm512_shuffle_i32x4::<0xdd>(ab, cd);
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn add(one: Words, other: Words) -> Words {
    _mm512_add_epi32(one, other)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn xor(a: Words, b: Words, c: Words) -> Words {
    _mm512_ternarylogic_epi32::<0x96>(a, b, c)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn rotated<const RIGHT: i32>(words: Words) -> Words {
    _mm512_ror_epi32::<RIGHT>(words)
}

/// All of an array of integers.
#[inline]
#[target_feature(enable = "avx512f")]
fn load<T>(integers: &T) -> Words {
    const { assert!(size_of::<T>() == size_of::<Words>()) };
    // SAFETY: as many bytes are there, any of which make a vector; nothing asks for an alignment.
    unsafe { _mm512_loadu_si512(core::ptr::from_ref(integers).cast()) }
}

// Vectors as wide as the machine's registers, in the compiler's own extension: one source for AVX-512, AVX2
// and NEON. All arithmetic is in float; bfloat16 is widened on the way in and rounded on the way out.
#pragma once

#include <c10/util/BFloat16.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX__)
#include <immintrin.h>
#endif

namespace lsbench {

#if defined(__AVX512F__)
constexpr int kRegisterBytes = 64;
#elif defined(__AVX__)
constexpr int kRegisterBytes = 32;
#else
constexpr int kRegisterBytes = 16;
#endif
constexpr int kLanes = kRegisterBytes / 4;

template <int n>
struct Wide {
  typedef float floats __attribute__((vector_size(4 * n)));
  typedef uint16_t halves __attribute__((vector_size(2 * n)));
  typedef uint32_t words __attribute__((vector_size(4 * n)));
  typedef int32_t integers __attribute__((vector_size(4 * n)));
};
using Floats = Wide<kLanes>::floats;
using Halves = Wide<kLanes>::halves;
using Words = Wide<kLanes>::words;
using Integers = Wide<kLanes>::integers;
using BFloat16 = c10::BFloat16;

using std::bit_cast;

// The next kLanes numbers; they may stand anywhere.
inline Floats load(const float* from) {
  Floats loaded;
  std::memcpy(&loaded, from, sizeof loaded);
  return loaded;
}

inline Floats load(const BFloat16* from) {
  Halves loaded;
  std::memcpy(&loaded, from, sizeof loaded);
#if defined(__AVX512F__)  // one instruction, of which compilers make several
  const Words widened = bit_cast<Words>(_mm512_cvtepu16_epi32(bit_cast<__m256i>(loaded)));
#else
  const Words widened = __builtin_convertvector(loaded, Words);
#endif
  return bit_cast<Floats>(widened << 16);
}

inline void store(float* to, Floats value) { std::memcpy(to, &value, sizeof value); }

// The next `count` numbers, fewer than a register holds, and zeros: what is left of a row is computed as the rest
// of it is, so that the same operations give the same bits.
template <class Number>
inline Floats load_part(const Number* from, int64_t count) {
  Number whole[kLanes] = {};
  std::memcpy(whole, from, count * sizeof(Number));
  return load(whole);
}

inline void store_part(float* to, Floats value, int64_t count) { std::memcpy(to, &value, count * sizeof(float)); }

// Both halves of a vector of n, added.
template <int n>
inline typename Wide<n / 2>::floats folded(typename Wide<n>::floats value) {
#if defined(__AVX512F__)  // in registers, where compilers go through memory
  if constexpr (n == 16)
    return bit_cast<typename Wide<8>::floats>(
        _mm256_add_ps(_mm512_castps512_ps256(bit_cast<__m512>(value)),
                      _mm256_castpd_ps(_mm512_extractf64x4_pd(bit_cast<__m512d>(value), 1))));
#endif
#if defined(__AVX__)
  if constexpr (n == 8)
    return bit_cast<typename Wide<4>::floats>(_mm_add_ps(_mm256_castps256_ps128(bit_cast<__m256>(value)),
                                                         _mm256_extractf128_ps(bit_cast<__m256>(value), 1)));
#endif
  struct Halves {
    typename Wide<n / 2>::floats low, high;
  };
  const auto halves = bit_cast<Halves>(value);
  return halves.low + halves.high;
}

template <int n = kLanes>
inline float sum(typename Wide<n>::floats value) {
  if constexpr (n == 4)
    return (value[0] + value[2]) + (value[1] + value[3]);
  else
    return sum<n / 2>(folded<n>(value));
}

// The sums of four, each added up in the order of `sum`, in fewer steps than one by one.
template <int n = kLanes>
inline Wide<4>::floats sums_of(const typename Wide<n>::floats (&values)[4]) {
  if constexpr (n == 4) {
    const auto pair = [](const Wide<4>::floats& a, const Wide<4>::floats& b) {
      return Wide<4>::floats{a[0], b[0], a[1], b[1]} + Wide<4>::floats{a[2], b[2], a[3], b[3]};
    };
    const Wide<4>::floats ab = pair(values[0], values[1]), cd = pair(values[2], values[3]);
    return Wide<4>::floats{ab[0], ab[1], cd[0], cd[1]} + Wide<4>::floats{ab[2], ab[3], cd[2], cd[3]};
  } else {
    const typename Wide<n / 2>::floats halved[4] = {folded<n>(values[0]), folded<n>(values[1]), folded<n>(values[2]),
                                                    folded<n>(values[3])};
    return sums_of<n / 2>(halved);
  }
}

// e^x to within 2 units in the last place, and 0 where that is below the smallest normal number. e^x = 2^k e^r
// with |r| <= ln(2) / 2; ln(2) is taken off in two parts, and e^r is its Taylor polynomial of degree 7.
inline Floats exp(Floats x) {
  constexpr float kLowest = -87.0f, kHighest = 88.0f, kRound = 12582912.0f;  // 1.5 * 2^23
  const Integers too_low = x < kLowest;
  x = x < kLowest ? Floats{} + kLowest : x;
  x = x > kHighest ? Floats{} + kHighest : x;
  const Floats rounded = x * 1.44269504f + kRound;
  const Floats k = rounded - kRound;
  const Floats r = (x - k * 0.693359375f) + k * 2.12194440e-4f;
  Floats p = r * (1.0f / 5040) + (1.0f / 720);
  p = p * r + (1.0f / 120);
  p = p * r + (1.0f / 24);
  p = p * r + (1.0f / 6);
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const Integers exponent = bit_cast<Integers>(rounded) - bit_cast<int32_t>(kRound);
  const Floats power = bit_cast<Floats>((exponent + 127) << 23);
  return too_low ? Floats{} : p * power;
}

}  // namespace lsbench

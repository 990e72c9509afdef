// int8 weights where the machine multiplies bytes itself, 64 at a time: widening every weight to float would take
// longer than reading it.
//
// A row of inputs is rounded to 24 bits, against its largest; each of their three bytes is multiplied by the weights
// and added up in integers, exactly.
#pragma once

#include "product.h"

#if defined(__AVX512VNNI__)
#include <immintrin.h>

namespace lsbench {

template <>
struct Kernel<int8_t> {
  using Input = uint8_t;
  static constexpr int kStep = 64, kDigits = 3;
  static constexpr float kLargest = (1 << 23) - 4;  // 24 bits, however the factor is rounded

  // Three bytes an input, a step at a time, the highest first; then what a unit of the lowest is worth.
  static constexpr int64_t width(int64_t in) { return (in + kStep - 1) / kStep * kStep * kDigits + kStep; }

  static void arrange(const float* row, int64_t in, Input* to) {
    const auto read = [row, in](int64_t i) {
      return i + kLanes <= in ? load(row + i) : i < in ? load_part(row + i, in - i) : Floats{};
    };
    Floats largest = {}, nothing = {};
    for (int64_t i = 0; i < in; i += kLanes) {
      const Floats x = read(i), size = x < 0.0f ? -x : x;
      largest = size > largest ? size : largest;
      nothing += x * 0.0f;
    }
    float most = 0;
    for (int lane = 0; lane < kLanes; lane++) most = std::max(most, largest[lane]);
    // Where an input is no finite number, no output is one; a row whose factor would be none counts as zeros.
    const float unit = most / kLargest + sum(nothing), factor = most > 1e-30f ? kLargest / most : 0.0f;
    int64_t i = 0;
    for (; i < in; i += kStep, to += kDigits * kStep)
      for (int part = 0; part < kStep; part += kLanes) {
        const __m512i fixed = _mm512_cvtps_epi32(bit_cast<__m512>(read(i + part) * factor));
        // The highest byte is signed; products take it as 128 more, which is taken off again.
        store_bytes(to + part, _mm512_add_epi32(_mm512_srai_epi32(fixed, 16), _mm512_set1_epi32(128)));
        store_bytes(to + kStep + part, _mm512_srli_epi32(fixed, 8));
        store_bytes(to + 2 * kStep + part, fixed);
      }
    std::memcpy(to, &unit, sizeof unit);
  }

  static constexpr int kRows = 4;  // whose sums fit into registers
  static constexpr int together_of(int count) { return std::clamp((kRegisters - 6) / (kDigits * count + 2), 1, 4); }

  template <int count, int together>
  static inline void dot(const Matrix<int8_t>& weight, int64_t row, const Input* input, float (*outputs)[kMostRows]) {
    if constexpr (count > kRows) {
      // The others find the weights near.
      dot<kRows, together>(weight, row, input, outputs);
      dot<count - kRows, together>(weight, row, input + kRows * width(weight.in),
                                   reinterpret_cast<float (*)[kMostRows]>(&outputs[0][kRows]));
    } else {
      dot_of<count, together>(weight, row, input, outputs);
    }
  }

 private:
  template <int count, int together>
  static inline void dot_of(const Matrix<int8_t>& weight, int64_t row, const Input* input,
                            float (*outputs)[kMostRows]) {
    __m512i sums[together][count][kDigits] = {}, excess[together] = {};
    const int64_t in = weight.in, whole = in - in % kStep, wide = width(in);
    const __m512i offset = _mm512_set1_epi8(char(128));
    const auto add = [&](const __m512i* weights, const Input* digits) {
      for (int o = 0; o < together; o++) excess[o] = _mm512_dpbusd_epi32(excess[o], offset, weights[o]);
      for (int r = 0; r < count; r++)
        for (int digit = 0; digit < kDigits; digit++) {
          const __m512i bytes = _mm512_loadu_si512(digits + r * wide + digit * kStep);
          for (int o = 0; o < together; o++)
            sums[o][r][digit] = _mm512_dpbusd_epi32(sums[o][r][digit], bytes, weights[o]);
        }
    };
    const int8_t* const base = weight.row(row);
    const char* ahead = ahead_of<together>(weight, base);
    __m512i weights[together];
    for (int64_t k = 0; k < whole; k += kStep) {
      for (int o = 0; o < together; o++) {
        weights[o] = _mm512_loadu_si512(base + o * weight.stride + k);
        ask<kStep>(ahead);
      }
      add(weights, input + kDigits * k);
    }
    if (whole < in) {
      const __mmask64 left = (uint64_t(1) << (in - whole)) - 1;
      for (int o = 0; o < together; o++) weights[o] = _mm512_maskz_loadu_epi8(left, base + o * weight.stride + whole);
      add(weights, input + kDigits * whole);
    }
    for (int r = 0; r < count; r++) {
      float unit;
      std::memcpy(&unit, input + r * wide + wide - kStep, sizeof unit);
      Floats added[4] = {};
      for (int o = 0; o < together; o++) {
        const auto& own = sums[o][r];
        added[o] = (floats_of(_mm512_sub_epi32(own[0], excess[o])) * 256.0f + floats_of(own[1])) * 256.0f +
                   floats_of(own[2]);
      }
      if constexpr (together == 4) {
        const auto four = sums_of(added);
        for (int o = 0; o < together; o++) outputs[o][r] = four[o] * unit;
      } else {
        for (int o = 0; o < together; o++) outputs[o][r] = sum(added[o]) * unit;
      }
    }
  }

  static void store_bytes(Input* to, __m512i words) {
    const __m128i bytes = _mm512_cvtepi32_epi8(words);
    std::memcpy(to, &bytes, sizeof bytes);
  }
  static Floats floats_of(__m512i words) { return bit_cast<Floats>(_mm512_cvtepi32_ps(words)); }
};

}  // namespace lsbench
#endif

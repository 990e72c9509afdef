// Products of a few rows with a weight matrix, at the speed at which memory gives the weights.
//
// Every thread walks its own contiguous share of the output rows, a few at a time against all input rows,
// and asks for memory kAhead bytes before it is needed: hardware prefetching alone leaves a third of the
// bandwidth unused. One accumulator serves one output, and what is added to it, in which order, does not depend
// on how many rows are multiplied: a row gives the same bits alone and among others.
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#include "vectors.h"

namespace lsbench {

constexpr int kMostRows = 8;         // input rows that go through the weights together
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kRegisters = 32;
#else
constexpr int kRegisters = 16;
#endif
constexpr int64_t kAhead = 2048;     // bytes
constexpr int64_t kTile = 1 << 16;   // bytes of weights that stay near while all input rows meet them
constexpr int64_t kGrain = 1 << 15;  // multiplications that are worth a thread

// [out, in], rows `stride` apart.
template <class Weight>
struct Matrix {
  const Weight* data;
  int64_t out, in, stride;

  const Weight* row(int64_t index) const { return data + index * stride; }
  Matrix rows(int64_t first, int64_t count) const { return {row(first), count, in, stride}; }
};

// How weights meet inputs: `kStep` of a row are read together and multiplied in `kParts` parts of `kPart`. An input is
// arranged in the form that this wants; products are added up in kLanes sums.
template <class Weight>
struct Terms;

template <>
struct Terms<float> {
  static constexpr int kStep = 2 * kLanes, kParts = 1, kPart = kStep;
  using Input = float;
  struct Read {
    Floats first, second;
  };
  using Part = Read;
  static const Part& part(const Read& weights, int) { return weights; }
  static void arrange(const float* from, Input* to) { std::memcpy(to, from, kStep * sizeof(float)); }
  static Read weights(const float* from) { return {load(from), load(from + kLanes)}; }
  static Read inputs(const Input* from) { return {load(from), load(from + kLanes)}; }
  static void add(Floats& sums, const Read& weights, const Read& inputs) {
    sums += weights.first * inputs.first;
    sums += weights.second * inputs.second;
  }
};

// Four neighbouring weights share a word, and shifts give the one of each place. What the scale of a row makes of its
// sum is left to whoever asked for the product.
template <>
struct Terms<int8_t> {
  static constexpr int kParts = 4, kPart = kLanes, kStep = kParts * kPart;
  using Input = float;
  using Read = Integers;
  static void arrange(const float* from, Input* to) {
    for (int i = 0; i < kLanes; i++)
      for (int part = 0; part < kParts; part++) to[part * kLanes + i] = from[kParts * i + part];
  }
  static Read weights(const int8_t* from) {
    Read words;
    std::memcpy(&words, from, sizeof words);
    return words;
  }
  using Part = Floats;
  static Part part(const Read& words, int part) {
    return __builtin_convertvector((words << (24 - 8 * part)) >> 24, Floats);
  }
  static Floats inputs(const Input* from) { return load(from); }
  static void add(Floats& sums, const Part& weights, const Floats& inputs) { sums += weights * inputs; }
};

#if defined(__AVX512BF16__)
// The machine multiplies pairs of bfloat16 itself, and adds them up in float.
template <>
struct Terms<BFloat16> {
  static constexpr int kStep = 2 * kLanes, kParts = 1, kPart = kStep;
  using Input = BFloat16;
  using Read = __m512bh;
  using Part = Read;
  static const Part& part(const Read& weights, int) { return weights; }
  static void arrange(const float* from, Input* to) {
    for (int i = 0; i < kStep; i++) to[i] = BFloat16(from[i]);
  }
  static Read weights(const BFloat16* from) { return bit_cast<Read>(_mm512_loadu_si512(from)); }
  static Read inputs(const Input* from) { return weights(from); }
  static void add(Floats& sums, const Read& weights, const Read& inputs) {
    sums = bit_cast<Floats>(_mm512_dpbf16_ps(bit_cast<__m512>(sums), weights, inputs));
  }
};
#else
template <>
struct Terms<BFloat16> {
  static constexpr int kStep = 2 * kLanes, kParts = 1, kPart = kStep;
  using Input = float;
  using Read = Terms<float>::Read;
  using Part = Read;
  static const Part& part(const Read& weights, int) { return weights; }
  // Two neighbouring weights share a word: a shift gives those of even places, a mask those of odd ones.
  static void arrange(const float* from, Input* to) {
    for (int i = 0; i < kLanes; i++) {
      to[i] = rounded(from[2 * i]);
      to[kLanes + i] = rounded(from[2 * i + 1]);
    }
  }
  static Read weights(const BFloat16* from) {
    Words words;
    std::memcpy(&words, from, sizeof words);
    return {bit_cast<Floats>(words << 16), bit_cast<Floats>(words & 0xffff0000u)};
  }
  static Read inputs(const Input* from) { return Terms<float>::inputs(from); }
  static void add(Floats& sums, const Read& weights, const Read& inputs) { Terms<float>::add(sums, weights, inputs); }
  // As on machines that multiply bfloat16.
  static float rounded(float value) { return float(BFloat16(value)); }
};
#endif

// Memory is asked for in its own order, whatever the order of use: the next rows at the soonest.
template <int together, class Weight>
inline const char* ahead_of(const Matrix<Weight>& weight, const Weight* base) {
  const int64_t next = together == 1 ? kAhead : std::max<int64_t>(kAhead, together * weight.stride * sizeof(Weight));
  return reinterpret_cast<const char*>(base) + next;
}

template <int64_t bytes>
inline void ask(const char*& ahead) {
  for (int64_t line = 0; line < bytes; line += 64) __builtin_prefetch(ahead + line, 0, 2);
  ahead += bytes;
}

// How rows of weights are multiplied: in which form the inputs are wanted, and a few products of rows.
template <class Weight>
struct Kernel {
  using T = Terms<Weight>;
  using Input = typename T::Input;
  static constexpr int kStep = T::kStep;

  // Inputs that `arrange` makes of a row.
  static constexpr int64_t width(int64_t in) { return (in + kStep - 1) / kStep * kStep; }

  // A row of floats in the form in which products want it, filled up with zeros to whole steps.
  static void arrange(const float* row, int64_t in, Input* to) {
    const int64_t whole = in - in % kStep;
    for (int64_t k = 0; k < whole; k += kStep) T::arrange(row + k, to + k);
    if (whole < in) {
      float last[kStep] = {};
      std::memcpy(last, row + whole, (in - whole) * sizeof(float));
      T::arrange(last, to + whole);
    }
  }

  // Output rows that share the loads of `count` input rows: as many as leave registers for what is loaded.
  static constexpr int together_of(int count) { return std::clamp((kRegisters - 8) / count, 1, 4); }

  // `together` output rows from `row` on, of `count` input rows: outputs[o][r].
  template <int count, int together>
  static inline void dot(const Matrix<Weight>& weight, int64_t row, const Input* input, float (*outputs)[kMostRows]) {
    Floats sums[together][count] = {};
    const int64_t in = weight.in, whole = in - in % kStep, wide = width(in);
    const auto add = [&](const typename T::Read* weights, int64_t k) {
#pragma GCC unroll 4
      for (int part = 0; part < T::kParts; part++) {
        typename T::Part parts[together];
        for (int o = 0; o < together; o++) parts[o] = T::part(weights[o], part);
        for (int r = 0; r < count; r++) {
          const auto inputs = T::inputs(input + r * wide + k + part * T::kPart);
          for (int o = 0; o < together; o++) T::add(sums[o][r], parts[o], inputs);
        }
      }
    };
    const Weight* const base = weight.row(row);
    const char* ahead = ahead_of<together>(weight, base);
    typename T::Read weights[together];
    for (int64_t k = 0; k < whole; k += kStep) {
      for (int o = 0; o < together; o++) {
        weights[o] = T::weights(base + o * weight.stride + k);
        ask<kStep * sizeof(Weight)>(ahead);
      }
      add(weights, k);
    }
    if (whole < in) {
      for (int o = 0; o < together; o++) {
        Weight last[kStep] = {};
        std::memcpy(last, base + o * weight.stride + whole, (in - whole) * sizeof(Weight));
        weights[o] = T::weights(last);
      }
      add(weights, whole);
    }
    for (int o = 0; o < together; o++)
      for (int r = 0; r < count; r++) outputs[o][r] = sum(sums[o][r]);
  }
};

template <class Weight>
using Input = typename Kernel<Weight>::Input;

// Rows [count, in] of floats in the form in which products want them.
template <class Weight>
void arrange(const float* rows, int64_t count, int64_t in, Input<Weight>* arranged) {
  for (int64_t row = 0; row < count; row++)
    Kernel<Weight>::arrange(rows + row * in, in, arranged + row * Kernel<Weight>::width(in));
}

// Output rows `begin` to `end` of `count` input rows: `done(row, o, value)`.
template <class Weight, int count, class Done>
void rows_of(const Matrix<Weight>& weight, int64_t begin, int64_t end, const Input<Weight>* input, const Done& done) {
  constexpr int together = Kernel<Weight>::together_of(count);
  float outputs[together][kMostRows];
  int64_t o = begin;
  for (; o + together <= end; o += together) {
    Kernel<Weight>::template dot<count, together>(weight, o, input, outputs);
    for (int i = 0; i < together; i++)
      for (int r = 0; r < count; r++) done(r, o + i, outputs[i][r]);
  }
  for (; o < end; o++) {
    Kernel<Weight>::template dot<count, 1>(weight, o, input, outputs);
    for (int r = 0; r < count; r++) done(r, o, outputs[0][r]);
  }
}

// The same for any number of arranged input rows.
template <class Weight, class Done>
void span(const Matrix<Weight>& weight, int64_t begin, int64_t end, const Input<Weight>* input, int64_t count,
          const Done& done) {
  const int64_t tile = std::max<int64_t>(12, kTile / (weight.stride * sizeof(Weight)) / 12 * 12);
  for (int64_t o = begin; o < end; o += tile) {
    const int64_t until = count <= kMostRows ? end : std::min(end, o + tile);
    for (int64_t r = 0; r < count; r += kMostRows) {
      const Input<Weight>* const rows = input + r * Kernel<Weight>::width(weight.in);
      const auto shifted = [&done, r](int64_t row, int64_t at, float value) { done(r + row, at, value); };
      switch (std::min<int64_t>(kMostRows, count - r)) {
        case 1: rows_of<Weight, 1>(weight, o, until, rows, shifted); break;
        case 2: rows_of<Weight, 2>(weight, o, until, rows, shifted); break;
        case 3: rows_of<Weight, 3>(weight, o, until, rows, shifted); break;
        case 4: rows_of<Weight, 4>(weight, o, until, rows, shifted); break;
        case 5: rows_of<Weight, 5>(weight, o, until, rows, shifted); break;
        case 6: rows_of<Weight, 6>(weight, o, until, rows, shifted); break;
        case 7: rows_of<Weight, 7>(weight, o, until, rows, shifted); break;
        default: rows_of<Weight, kMostRows>(weight, o, until, rows, shifted);
      }
    }
    if (until == end) break;
  }
}

// All output rows, side by side on torch's threads.
template <class Weight, class Done>
void multiply(const Matrix<Weight>& weight, const Input<Weight>* input, int64_t count, const Done& done) {
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, weight.in * count));
  at::parallel_for(0, weight.out, grain, [&](int64_t begin, int64_t end) {
    span(weight, begin, end, input, count, done);
  });
}

}  // namespace lsbench

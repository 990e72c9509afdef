// Attention of a few queries over the cache: each by itself, so that it gives the same bits alone and among
// others. Scores are made position by position, then weighted values.
#pragma once

#include <algorithm>
#include <vector>

#include "vectors.h"

namespace lsbench {

// [positions, width] of one sequence's key or value head, contiguous.
template <class Number>
struct Head {
  Number* data;
  int64_t width;

  Number* at(int64_t position) const { return data + position * width; }
};

// e^(score - highest) in place of each of `count` scores, a multiple of kLanes; returns their sum.
inline Floats larger(Floats one, Floats other) { return one > other ? one : other; }

inline float exponentials(float* scores, int64_t count) {
  Floats several = load(scores);
  for (int64_t i = kLanes; i < count; i += kLanes) several = larger(several, load(scores + i));
  float highest = several[0];
  for (int lane = 1; lane < kLanes; lane++) highest = std::max(highest, several[lane]);
  Floats sums = {};
  for (int64_t i = 0; i < count; i += kLanes) {
    const Floats powers = exp(load(scores + i) - highest);
    store(scores + i, powers);
    sums += powers;
  }
  return sum(sums);
}

// One query [width], already scaled; it sees the positions `begin` to `end`, and `outcome` [width] is its.
struct Query {
  const float* query;
  int64_t begin, end;
  float* outcome;
};

// What was left out of the cache, of a sequence at a layer: `states` are of its positions, so far apart; none where
// every position is seen.
struct Seen {
  static constexpr uint8_t kMasked = 2;  // as Python's MASKED

  const uint8_t* states;
  int64_t stride;

  bool operator()(int64_t position) const { return states[position * stride] != kMasked; }
};

constexpr int kQueries = 4;  // that share what is read of the cache

// The sums of `count` registers, each added up in the same order.
template <int count>
inline void sums_into(const Floats (&sums)[kQueries], float* scores, int64_t stride) {
  if constexpr (count == kQueries) {
    const auto four = sums_of(sums);
    for (int q = 0; q < count; q++) scores[q * stride] = four[q];
  } else {
    for (int q = 0; q < count; q++) scores[q * stride] = sum(sums[q]);
  }
}

// Scores of the keys from `begin` to before `end`, each of so many registers, which the queries stay in:
// scores[q * stride + position - begin].
template <int count, int registers, class Number>
inline void score(const Query* queries, Head<Number> keys, int64_t begin, int64_t end, float* scores, int64_t stride) {
  Floats held[count][registers];
  for (int q = 0; q < count; q++)
    for (int i = 0; i < registers; i++) held[q][i] = load(queries[q].query + i * kLanes);
  for (int64_t position = begin; position < end; position++, scores++) {
    const Number* const key = keys.at(position);
    __builtin_prefetch(key + 16 * keys.width, 0, 3);
    Floats sums[kQueries] = {};
    for (int i = 0; i < registers; i++) {
      const Floats read = load(key + i * kLanes);
      for (int q = 0; q < count; q++) sums[q] += held[q][i] * read;
    }
    sums_into<count>(sums, scores, stride);
  }
}

// The same of keys of any width.
template <int count, class Number>
inline void score_any(const Query* queries, Head<Number> keys, int64_t begin, int64_t end, float* scores,
                      int64_t stride) {
  const int64_t width = keys.width;
  for (int64_t position = begin; position < end; position++, scores++) {
    const Number* const key = keys.at(position);
    __builtin_prefetch(key + 16 * width, 0, 3);
    Floats sums[kQueries] = {};
    int64_t i = 0;
    for (; i + kLanes <= width; i += kLanes) {
      const Floats read = load(key + i);
      for (int q = 0; q < count; q++) sums[q] += load(queries[q].query + i) * read;
    }
    if (i < width) {
      const Floats read = load_part(key + i, width - i);
      for (int q = 0; q < count; q++) sums[q] += load_part(queries[q].query + i, width - i) * read;
    }
    sums_into<count>(sums, scores, stride);
  }
}

// Outcomes of `count` queries, in `columns` registers from `column` on, of the last of which `last` numbers count;
// scores are [count, stride].
template <int count, int columns, class Number>
inline void weigh(const Query* queries, Head<Number> values, const float* scores, int64_t stride, const float* shares,
                  int64_t begin, int64_t end, int64_t column, int64_t last = kLanes) {
  Floats sums[count][columns] = {};
  for (int64_t position = begin; position < end; position++) {
    const Number* const value = values.at(position) + column;
    Floats read[columns];
    for (int j = 0; j < columns; j++) read[j] = last < kLanes ? load_part(value, last) : load(value + j * kLanes);
    for (int q = 0; q < count; q++) {
      const float weight = scores[q * stride + position - begin];
      for (int j = 0; j < columns; j++) sums[q][j] += weight * read[j];
    }
  }
  for (int q = 0; q < count; q++)
    for (int j = 0; j < columns; j++)
      store_part(queries[q].outcome + column + j * kLanes, sums[q][j] * shares[q], j + 1 < columns ? kLanes : last);
}

template <int count, class Number>
void attend(const Query* queries, Head<Number> keys, Head<Number> values, Seen seen) {
  static thread_local std::vector<float> buffer;
  int64_t begin = queries[0].begin, end = queries[0].end;
  for (int q = 1; q < count; q++) begin = std::min(begin, queries[q].begin), end = std::max(end, queries[q].end);
  begin -= begin % kLanes;  // a position falls on the same lane whoever else is there
  const int64_t stride = end - begin + kLanes, width = keys.width;
  if (int64_t(buffer.size()) < count * stride) buffer.resize(count * stride);
  float* const scores = buffer.data();
  switch (width) {
    case 4 * kLanes: score<count, 4>(queries, keys, begin, end, scores, stride); break;
    case 8 * kLanes: score<count, 8>(queries, keys, begin, end, scores, stride); break;
    default: score_any<count>(queries, keys, begin, end, scores, stride);
  }
  if (seen.states)
    for (int64_t position = begin; position < end; position++)
      if (!seen(position))
        for (int q = 0; q < count; q++) scores[q * stride + position - begin] = -INFINITY;
  float shares[count];
  for (int q = 0; q < count; q++) {
    // What a query does not see weighs nothing.
    float* const own = scores + q * stride;
    std::fill(own, own + (queries[q].begin - begin), -INFINITY);
    std::fill(own + (queries[q].end - begin), own + stride, -INFINITY);
    shares[q] = 1.0f / exponentials(own, stride / kLanes * kLanes);
  }
  int64_t column = 0;
  for (; column + 4 * kLanes <= width; column += 4 * kLanes)
    weigh<count, 4>(queries, values, scores, stride, shares, begin, end, column);
  for (; column + kLanes <= width; column += kLanes)
    weigh<count, 1>(queries, values, scores, stride, shares, begin, end, column);
  if (column < width)
    weigh<count, 1>(queries, values, scores, stride, shares, begin, end, column, width - column);
}

template <class Number>
void attend(const Query* queries, int count, Head<Number> keys, Head<Number> values, Seen seen) {
  switch (count) {
    case 1: return attend<1>(queries, keys, values, seen);
    case 2: return attend<2>(queries, keys, values, seen);
    case 3: return attend<3>(queries, keys, values, seen);
    default: return attend<kQueries>(queries, keys, values, seen);
  }
}

}  // namespace lsbench

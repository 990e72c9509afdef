// The two sub-layers of a standard decoder layer on a few rows: RMS norms, fused products of query, key and
// value, rotary positions paired by halves, grouped-query attention, a gated MLP of SiLU.
#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <type_traits>
#include <vector>

#include "attention.h"
#include "product.h"
#include "product_int8.h"

namespace lsbench {

// Where the rows of a step are kept, and what turns their heads.
template <class Number>
struct Rows {
  int64_t count;
  const int64_t *cache, *sequence, *position;  // [count] each
  const float *cosines, *sines;                // [count, turned], signed
  int64_t turned;
};

// One layer's keys and values in several caches, [sequences, heads, capacity, width], and the states of all layers'
// [sequences, capacity, layers]; no states where nothing is masked.
template <class Number>
struct Caches {
  const at::Tensor *keys, *values, *states;
  int64_t layer;

  static Head<Number> head(const at::Tensor& tensor, int64_t sequence, int64_t index) {
    Number* data = tensor.data_ptr<Number>() + sequence * tensor.stride(0) + index * tensor.stride(1);
    return {data, tensor.size(3)};
  }
  Seen seen(int64_t cache, int64_t sequence) const {
    if (!states) return {nullptr, 0};
    return {states[cache].data_ptr<uint8_t>() + sequence * states[cache].stride(0) + layer, states[cache].stride(1)};
  }
};

struct RmsNorm {
  std::vector<float> weight;
  float epsilon = 0;

  template <class Number>
  void operator()(const Number* from, float* to) const {
    const int64_t width = int64_t(weight.size()), whole = width - width % kLanes;
    const auto read = [whole, width](const auto* numbers, int64_t i) {
      return i < whole ? load(numbers + i) : load_part(numbers + i, width - i);
    };
    Floats sums = {};
    for (int64_t i = 0; i < width; i += kLanes) {
      const Floats x = read(from, i);
      sums += x * x;
    }
    const float factor = 1.0f / std::sqrt(sum(sums) / width + epsilon);
    for (int64_t i = 0; i < width; i += kLanes)
      store_part(to + i, read(from, i) * factor * read(weight.data(), i), i < whole ? kLanes : width - i);
  }
};

inline std::vector<float> floats(const at::Tensor& tensor) {
  const at::Tensor wide = tensor.to(at::kFloat).contiguous();
  return {wide.data_ptr<float>(), wide.data_ptr<float>() + wide.numel()};
}

// Rounded once where the machine can, which compilers would otherwise decide anew for every number of rows.
inline float scaled(float value, float scale, float bias) {
#if defined(FP_FAST_FMAF)
  return std::fma(value, scale, bias);
#else
  return value * scale + bias;
#endif
}

// What goes with weights: hidden states, biases, keys and values.
template <class Weight>
struct NumberOf {
  using Kind = Weight;
};
template <>
struct NumberOf<int8_t> {
  using Kind = float;
};

// A weight matrix, the scales of its rows where it is int8, and its bias, which may be missing.
template <class Weight>
struct Linear {
  using Number = typename NumberOf<Weight>::Kind;

  at::Tensor kept, kept_bias, kept_scales;
  Matrix<Weight> weight{};
  const Number* bias = nullptr;
  const float* scales = nullptr;

  Linear(const at::Tensor& matrix, const std::optional<at::Tensor>& added, const std::optional<at::Tensor>& scaled)
      : kept(matrix) {
    weight = {matrix.data_ptr<Weight>(), matrix.size(0), matrix.size(1), matrix.stride(0)};
    if (added.has_value()) {
      kept_bias = added->contiguous();
      bias = kept_bias.data_ptr<Number>();
    }
    if constexpr (std::is_same_v<Weight, int8_t>) {
      kept_scales = scaled.value().contiguous();
      scales = kept_scales.data_ptr<float>();
    }
  }
  // What the sum of output row `o` comes to.
  float finished(int64_t o, float value) const {
    if constexpr (std::is_same_v<Weight, int8_t>)
      return bias ? scaled(value, scales[o], bias[o]) : value * scales[o];
    else
      return bias ? value + float(bias[o]) : value;
  }
};

template <class Weight>
struct Layer {
  using Number = typename NumberOf<Weight>::Kind;

  RmsNorm attention_norm, mlp_norm;
  std::optional<RmsNorm> query_norm, key_norm;  // of each head
  Linear<Weight> qkv, output, gate_up, down;
  int64_t heads, kv_heads, width, window;  // window: positions that a row sees; 0 for all
  float scale, residual;                   // of the scores; of what is added
  bool carries;                            // whether what it is added to is in what comes out
  bool turns;                              // whether it has rotary positions

  void attention(Number* hidden, const Rows<Number>& rows, Caches<Number> caches) const {
    const int64_t in = qkv.weight.in, all = qkv.weight.out, attended = heads * width;
    static thread_local std::vector<float> normed, projected, mixed;
    static thread_local std::vector<Input<Weight>> arranged;
    float* const p = sized(projected, rows.count * all);
    float* const m = sized(mixed, rows.count * attended);
    multiply(qkv.weight, norm(attention_norm, hidden, rows.count, in, normed, arranged), rows.count,
             [&, p](int64_t r, int64_t o, float value) { p[r * all + o] = qkv.finished(o, value); });
    for (int64_t r = 0; r < rows.count; r++) {
      turn_heads(p + r * all, 0, rows, r);
      keep(p + r * all, rows, r, caches);
    }
    // Queries that look at the same keys stand together: of one key-value head, row by row.
    const int64_t group = heads / kv_heads, together = rows.count * group;
    at::parallel_for(0, kv_heads * together, 1, [&, p, m](int64_t begin, int64_t end) {
      Query queries[kQueries];
      for (int64_t i = begin; i < end;) {
        const int64_t head = i / together, r = i % together / group;
        const int64_t sequence = rows.sequence[r], cache = rows.cache[r];
        int count = 0;
        for (; count < kQueries && i < end && i / together == head; count++, i++) {
          const int64_t row = i % together / group, h = head * group + i % group, seen = rows.position[row] + 1;
          if (rows.sequence[row] != sequence || rows.cache[row] != cache) break;
          queries[count] = {p + row * all + h * width, window ? std::max<int64_t>(0, seen - window) : 0, seen,
                            m + row * attended + h * width};
        }
        attend(queries, count, Caches<Number>::head(caches.keys[cache], sequence, head),
               Caches<Number>::head(caches.values[cache], sequence, head), caches.seen(cache, sequence));
      }
    });
    add(output, m, rows.count, hidden, arranged);
  }

  // Keys and values alone, in the cache, of rows that leave the attention out.
  void fill(const Number* hidden, const Rows<Number>& rows, Caches<Number> caches) const {
    const int64_t in = qkv.weight.in, all = qkv.weight.out, queries = heads * width;
    static thread_local std::vector<float> normed, projected;
    static thread_local std::vector<Input<Weight>> arranged;
    float* const p = sized(projected, rows.count * all);
    multiply(qkv.weight.rows(queries, all - queries), norm(attention_norm, hidden, rows.count, in, normed, arranged),
             rows.count, [&, p](int64_t r, int64_t o, float value) {
               p[r * all + queries + o] = qkv.finished(queries + o, value);
             });
    for (int64_t r = 0; r < rows.count; r++) {
      turn_heads(p + r * all, heads, rows, r);
      keep(p + r * all, rows, r, caches);
    }
  }

  void mlp(Number* hidden, int64_t count) const {
    const int64_t in = gate_up.weight.in, inner = down.weight.in;
    static thread_local std::vector<float> normed, gated;
    static thread_local std::vector<Input<Weight>> arranged;
    float* const g = sized(gated, count * 2 * inner);
    const Input<Weight>* const input = norm(mlp_norm, hidden, count, in, normed, arranged);
    const int64_t grain = std::max<int64_t>(1, kGrain / (2 * in * count));
    // A thread makes both products of its own components, and goes on to multiply them.
    at::parallel_for(0, inner, grain, [&, g](int64_t begin, int64_t end) {
      const auto into = [&, count](float* to, int64_t first) {
        return [=, this](int64_t r, int64_t o, float value) { to[r * inner + o - first] = gate_up.finished(o, value); };
      };
      span(gate_up.weight, begin, end, input, count, into(g, 0));
      span(gate_up.weight, inner + begin, inner + end, input, count, into(g + count * inner, inner));
      for (int64_t r = 0; r < count; r++) {
        float *const gate = g + r * inner, *const up = g + (count + r) * inner;
        int64_t i = begin;
        for (; i + kLanes <= end; i += kLanes) store(gate + i, gated_by(load(gate + i), load(up + i)));
        // What is left is rounded alike: where a thread's share ends depends on how many rows there are.
        for (; i < end; i++) gate[i] = gated_by(Floats{} + gate[i], Floats{} + up[i])[0];
      }
    });
    add(down, g, count, hidden, arranged);
  }

 private:
  static Floats gated_by(Floats x, Floats up) { return x / (1.0f + exp(-x)) * up; }

  template <class Kind>
  static Kind* sized(std::vector<Kind>& buffer, int64_t size) {
    if (int64_t(buffer.size()) < size) buffer.resize(size);
    return buffer.data();
  }

  // Normed rows, as products want them.
  static const Input<Weight>* norm(const RmsNorm& norm, const Number* hidden, int64_t count, int64_t in,
                           std::vector<float>& normed, std::vector<Input<Weight>>& arranged) {
    float* const n = sized(normed, count * in);
    for (int64_t r = 0; r < count; r++) norm(hidden + r * in, n + r * in);
    return as_wanted(n, count, in, arranged);
  }

  static const Input<Weight>* as_wanted(const float* rows, int64_t count, int64_t in,
                                        std::vector<Input<Weight>>& arranged) {
    if constexpr (std::is_same_v<Weight, float>)
      if (in % Terms<float>::kStep == 0) return rows;
    Input<Weight>* const a = sized(arranged, count * Kernel<Weight>::width(in));
    arrange<Weight>(rows, count, in, a);
    return a;
  }

  // hidden += residual * (linear of rows), or hidden = that where it is not carried
  void add(const Linear<Weight>& linear, const float* rows, int64_t count, Number* hidden,
           std::vector<Input<Weight>>& arranged) const {
    const int64_t out = linear.weight.out;
    multiply(linear.weight, as_wanted(rows, count, linear.weight.in, arranged), count,
             [&](int64_t r, int64_t o, float value) {
               Number& to = hidden[r * out + o];
               to = Number((carries ? float(to) : 0.0f) + residual * linear.finished(o, value));
             });
  }

  // Norms and turns the queries and keys of one row from head `first` on, and scales its queries.
  void turn_heads(float* row, int64_t first, const Rows<Number>& rows, int64_t r) const {
    for (int64_t h = first; h < heads + kv_heads; h++) {
      float* const head = row + h * width;
      const auto& norm = h < heads ? query_norm : key_norm;
      if (norm.has_value()) (*norm)(head, head);
      if (turns) turn(head, rows.cosines + r * rows.turned, rows.sines + r * rows.turned, rows.turned);
      if (h < heads)
        for (int64_t i = 0; i < width; i++) head[i] *= scale;
    }
  }

  // Puts the keys and values of one row into the cache.
  void keep(const float* row, const Rows<Number>& rows, int64_t r, Caches<Number> caches) const {
    for (int64_t h = 0; h < kv_heads; h++) {
      const float* const key = row + (heads + h) * width;
      const float* const value = key + kv_heads * width;
      Number* const k = Caches<Number>::head(caches.keys[rows.cache[r]], rows.sequence[r], h).at(rows.position[r]);
      Number* const v = Caches<Number>::head(caches.values[rows.cache[r]], rows.sequence[r], h).at(rows.position[r]);
      for (int64_t i = 0; i < width; i++) k[i] = Number(key[i]), v[i] = Number(value[i]);
    }
  }

  static void turn(float* head, const float* cosines, const float* sines, int64_t turned) {
    const int64_t half = turned / 2;
    for (int64_t i = 0; i < half; i++) {
      const float one = head[i], other = head[i + half];
      head[i] = one * cosines[i] + other * sines[i];
      head[i + half] = other * cosines[i + half] + one * sines[i + half];
    }
  }
};

}  // namespace lsbench

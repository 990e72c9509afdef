// What torch sees: the operators `lsbench::product`, `lsbench::product_int8`, `lsbench::rms_norm` and
// `lsbench::likeliest`, and the class `lsbench.Decoder` that runs sub-layers.
#include <ATen/ATen.h>
#include <torch/custom_class.h>
#include <torch/library.h>

#include <memory>

#include "layer.h"

namespace lsbench {
namespace {

using at::Tensor;

template <class Weight>
void product_of(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& scale,
                const std::optional<Tensor>& bias, Tensor& out) {
  using Number = typename NumberOf<Weight>::Kind;
  const Linear<Weight> linear(weight, bias, scale);
  const int64_t in = weight.size(1), width = weight.size(0), count = out.numel() / std::max<int64_t>(1, width);
  const Tensor wide = x.to(at::kFloat);
  std::vector<Input<Weight>> arranged(count * Kernel<Weight>::width(in));
  arrange<Weight>(wide.data_ptr<float>(), count, in, arranged.data());
  Number* const to = out.data_ptr<Number>();
  multiply(linear.weight, arranged.data(), count,
           [&](int64_t r, int64_t o, float value) { to[r * width + o] = Number(linear.finished(o, value)); });
}

bool is_per_output(const Tensor& tensor, const Tensor& weight) {
  return tensor.dim() == 1 && tensor.size(0) == weight.size(0);
}

void check_shapes(const char* name, const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias) {
  TORCH_CHECK(weight.dim() == 2 && x.dim() >= 1 && x.size(-1) == weight.size(1), name, ": [..., in] and [out, in], got ",
              x.sizes(), " and ", weight.sizes());
  TORCH_CHECK(!bias.has_value() || is_per_output(*bias, weight), name, ": bias must be [out]");
}

// Rows that may be any number of weights apart, but whose weights stand together.
Tensor in_rows(const Tensor& weight) {
  return weight.stride(1) == 1 || weight.size(1) == 1 ? weight : weight.contiguous();
}

Tensor empty_like_outcome(const Tensor& x, const Tensor& weight) {
  auto sizes = x.sizes().vec();
  sizes.back() = weight.size(0);
  return at::empty(sizes, x.options());
}

// x [..., in] times weight [out, in] transposed, plus bias [out]; x and weight of one dtype.
Tensor product(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias) {
  check_shapes("product", x, weight, bias);
  TORCH_CHECK(x.scalar_type() == weight.scalar_type(), "product: ", x.scalar_type(), " with ", weight.scalar_type());
  Tensor out = empty_like_outcome(x, weight);
  if (x.scalar_type() == at::kFloat)
    product_of<float>(x.contiguous(), in_rows(weight), {}, bias, out);
  else if (x.scalar_type() == at::kBFloat16)
    product_of<BFloat16>(x.contiguous(), in_rows(weight), {}, bias, out);
  else
    TORCH_CHECK(false, "product: float32 or bfloat16, got ", x.scalar_type());
  return out;
}

// x [..., in] times int8 weight [out, in] transposed, every output times its scale [out], plus bias [out]; all but the
// weight float32.
Tensor product_int8(const Tensor& x, const Tensor& weight, const Tensor& scale, const std::optional<Tensor>& bias) {
  check_shapes("product_int8", x, weight, bias);
  TORCH_CHECK(is_per_output(scale, weight), "product_int8: scale must be [out]");
  TORCH_CHECK(weight.scalar_type() == at::kChar, "product_int8: int8 weights, got ", weight.scalar_type());
  TORCH_CHECK(x.scalar_type() == at::kFloat && scale.scalar_type() == at::kFloat,
              "product_int8: float32 with a float32 scale, got ", x.scalar_type(), " and ", scale.scalar_type());
  Tensor out = empty_like_outcome(x, weight);
  product_of<int8_t>(x.contiguous(), in_rows(weight), scale, bias, out);
  return out;
}

template <class Number>
void norm_of(const Tensor& x, const Tensor& weight, float epsilon, Tensor& out) {
  const int64_t width = x.size(-1), count = x.numel() / std::max<int64_t>(1, width);
  const RmsNorm norm{floats(weight), epsilon};
  std::vector<float> row(width);
  const Number* const from = x.data_ptr<Number>();
  Number* const to = out.data_ptr<Number>();
  for (int64_t r = 0; r < count; r++) {
    norm(from + r * width, row.data());
    for (int64_t i = 0; i < width; i++) to[r * width + i] = Number(row[i]);
  }
}

// x [..., D] over its root mean square, times weight [D]; a few rows, all of one dtype.
Tensor rms_norm(const Tensor& x, const Tensor& weight, double epsilon) {
  TORCH_CHECK(x.dim() >= 1 && weight.dim() == 1 && x.size(-1) == weight.size(0), "rms_norm: [..., D] and [D], got ",
              x.sizes(), " and ", weight.sizes());
  TORCH_CHECK(x.scalar_type() == weight.scalar_type(), "rms_norm: ", x.scalar_type(), " with ", weight.scalar_type());
  Tensor out = at::empty(x.sizes(), x.options());
  if (x.scalar_type() == at::kFloat)
    norm_of<float>(x.contiguous(), weight, float(epsilon), out);
  else if (x.scalar_type() == at::kBFloat16)
    norm_of<BFloat16>(x.contiguous(), weight, float(epsilon), out);
  else
    TORCH_CHECK(false, "rms_norm: float32 or bfloat16, got ", x.scalar_type());
  return out;
}

template <class Number>
int64_t likeliest_of(const Number* logits, int64_t count) {
  const int64_t whole = count - count % kLanes;
  Floats several = Floats{} - INFINITY;
  for (int64_t i = 0; i < whole; i += kLanes) several = larger(load(logits + i), several);
  float highest = several[0];
  for (int lane = 1; lane < kLanes; lane++) highest = std::max(highest, several[lane]);
  for (int64_t i = whole; i < count; i++) highest = std::max(highest, float(logits[i]));
  int64_t i = 0;
  while (i < count && float(logits[i]) != highest) i++;
  return i < count ? i : 0;
}

// The place of the largest of each row of [N, V], of several alike the first.
Tensor likeliest(const Tensor& logits) {
  TORCH_CHECK(logits.dim() == 2 && logits.size(1) > 0, "likeliest: [N, V >= 1], got ", logits.sizes());
  const Tensor rows = logits.contiguous();
  Tensor out = at::empty({rows.size(0)}, rows.options().dtype(at::kLong));
  for (int64_t r = 0; r < rows.size(0); r++) {
    const int64_t begin = r * rows.size(1);
    if (rows.scalar_type() == at::kFloat)
      out.data_ptr<int64_t>()[r] = likeliest_of(rows.data_ptr<float>() + begin, rows.size(1));
    else if (rows.scalar_type() == at::kBFloat16)
      out.data_ptr<int64_t>()[r] = likeliest_of(rows.data_ptr<BFloat16>() + begin, rows.size(1));
    else
      TORCH_CHECK(false, "likeliest: float32 or bfloat16, got ", rows.scalar_type());
  }
  return out;
}

struct Runner {
  virtual ~Runner() = default;
  virtual Tensor run(const Tensor& hidden, int64_t begin, int64_t end, const Tensor& rows, const Tensor& cosines,
                     const Tensor& sines, at::TensorList keys, at::TensorList values, at::TensorList states) const = 0;
  virtual void fill(const Tensor& hidden, int64_t first, const Tensor& rows, const Tensor& cosines, const Tensor& sines,
                    at::TensorList keys, at::TensorList values) const = 0;
};

template <class Weight>
struct RunnerOf : Runner {
  using Number = typename NumberOf<Weight>::Kind;
  std::vector<Layer<Weight>> layers;

  Tensor run(const Tensor& hidden, int64_t begin, int64_t end, const Tensor& rows, const Tensor& cosines,
             const Tensor& sines, at::TensorList keys, at::TensorList values,
             at::TensorList states) const override {
    Tensor out = hidden.clone(at::MemoryFormat::Contiguous);
    const int64_t count = out.size(0), *const table = rows.data_ptr<int64_t>();
    const Tensor cos = cosines.to(at::kFloat).contiguous(), sin = sines.to(at::kFloat).contiguous();
    const Rows<Number> where{count,     table,  table + count, table + 2 * count, cos.data_ptr<float>(), sin.data_ptr<float>(),
                             cos.size(-1)};
    const int64_t with_attention = end / 2 - begin / 2 + end % 2 - begin % 2;
    const int64_t caches = with_attention ? int64_t(keys.size()) / with_attention : 0;
    int64_t cache = 0;
    for (int64_t index = begin; index < end; index++) {
      const Layer<Weight>& layer = layers.at(index / 2);
      if (index % 2) {
        layer.mlp(out.data_ptr<Number>(), count);
      } else {
        layer.attention(out.data_ptr<Number>(), where,
                        {&keys[cache], &values[cache], states.empty() ? nullptr : states.data(), index / 2});
        cache += caches;
      }
    }
    return out;
  }

  void fill(const Tensor& hidden, int64_t first, const Tensor& rows, const Tensor& cosines, const Tensor& sines,
            at::TensorList keys, at::TensorList values) const override {
    const Tensor entering = hidden.contiguous();
    const int64_t count = entering.size(0), *const table = rows.data_ptr<int64_t>();
    const Tensor cos = cosines.to(at::kFloat).contiguous(), sin = sines.to(at::kFloat).contiguous();
    const Rows<Number> where{count,     table,  table + count, table + 2 * count, cos.data_ptr<float>(), sin.data_ptr<float>(),
                             cos.size(-1)};
    for (size_t i = 0; i < keys.size(); i++)
      layers.at(first + i).fill(entering.data_ptr<Number>(), where, {&keys[i], &values[i], nullptr, 0});
  }
};

// Decoder layers that are run a few rows at a time.
struct Decoder : torch::CustomClassHolder {
  std::unique_ptr<Runner> runner;

  // Each layer brings 8 weights (attention norm, qkv, output, MLP norm, gate and up, down, query norm, key norm; the
  // last two may be missing), 4 biases (qkv, output, gate and up, down; any may be missing), 4 scales (of the same, for
  // int8), 3 norm epsilons (attention, MLP, heads), 4 sizes (heads, key-value heads, head width, window or 0), 2
  // factors (of the scores, of what is added), and 2 choices (whether what it adds to is in what comes out, and whether
  // it has rotary positions).
  Decoder(const std::vector<std::vector<std::optional<Tensor>>>& weights,
          const std::vector<std::vector<std::optional<Tensor>>>& biases,
          const std::vector<std::vector<std::optional<Tensor>>>& scales, const std::vector<std::vector<double>>& epsilons,
          const std::vector<std::vector<int64_t>>& sizes, const std::vector<std::vector<double>>& factors,
          const std::vector<std::vector<int64_t>>& choices) {
    const auto dtype = weights.at(0).at(1)->scalar_type();
    const auto make = [&](auto weight) {
      using Weight = decltype(weight);
      auto made = std::make_unique<RunnerOf<Weight>>();
      for (size_t i = 0; i < weights.size(); i++) {
        const auto& w = weights[i];
        const auto norm = [&](int at, int epsilon) { return RmsNorm{floats(*w.at(at)), float(epsilons[i].at(epsilon))}; };
        const auto head_norm = [&](int at) { return w.at(at).has_value() ? std::optional(norm(at, 2)) : std::nullopt; };
        const auto linear = [&](int at, int which) {
          return Linear<Weight>(*w.at(at), biases[i].at(which), scales[i].at(which));
        };
        made->layers.push_back(Layer<Weight>{
            norm(0, 0), norm(3, 1), head_norm(6), head_norm(7), linear(1, 0), linear(2, 1), linear(4, 2), linear(5, 3),
            sizes[i].at(0), sizes[i].at(1), sizes[i].at(2), sizes[i].at(3),
            float(factors[i].at(0)), float(factors[i].at(1)), choices[i].at(0) != 0, choices[i].at(1) != 0});
      }
      runner = std::move(made);
    };
    if (dtype == at::kFloat)
      make(float());
    else if (dtype == at::kBFloat16)
      make(BFloat16());
    else if (dtype == at::kChar)
      make(int8_t());
    else
      TORCH_CHECK(false, "Decoder: float32, bfloat16 or int8 weights, got ", dtype);
  }

  Tensor run(const Tensor& hidden, int64_t begin, int64_t end, const Tensor& rows, const Tensor& cosines,
             const Tensor& sines, const std::vector<Tensor>& keys, const std::vector<Tensor>& values,
             const std::vector<Tensor>& states) const {
    return runner->run(hidden, begin, end, rows, cosines, sines, keys, values, states);
  }

  void fill(const Tensor& hidden, int64_t first, const Tensor& rows, const Tensor& cosines, const Tensor& sines,
            const std::vector<Tensor>& keys, const std::vector<Tensor>& values) const {
    runner->fill(hidden, first, rows, cosines, sines, keys, values);
  }
};

}  // namespace

TORCH_LIBRARY(lsbench, m) {
  m.def("product(Tensor x, Tensor weight, Tensor? bias) -> Tensor");
  m.def("product_int8(Tensor x, Tensor weight, Tensor scale, Tensor? bias) -> Tensor");
  m.def("rms_norm(Tensor x, Tensor weight, float epsilon) -> Tensor");
  m.def("likeliest(Tensor logits) -> Tensor");
  m.class_<Decoder>("Decoder")
      .def(torch::init<const std::vector<std::vector<std::optional<Tensor>>>&,
                       const std::vector<std::vector<std::optional<Tensor>>>&,
                       const std::vector<std::vector<std::optional<Tensor>>>&, const std::vector<std::vector<double>>&,
                       const std::vector<std::vector<int64_t>>&, const std::vector<std::vector<double>>&,
                       const std::vector<std::vector<int64_t>>&>())
      .def("run", &Decoder::run)
      .def("fill", &Decoder::fill);
}

TORCH_LIBRARY_IMPL(lsbench, CPU, m) {
  m.impl("product", &product);
  m.impl("product_int8", &product_int8);
  m.impl("rms_norm", &rms_norm);
  m.impl("likeliest", &likeliest);
}

}  // namespace lsbench

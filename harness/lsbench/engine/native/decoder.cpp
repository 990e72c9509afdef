// What torch sees: the operator `lsbench::product`, and the class `lsbench.Decoder` that runs sub-layers.
#include <ATen/ATen.h>
#include <torch/custom_class.h>
#include <torch/library.h>

#include <memory>

#include "layer.h"

namespace lsbench {
namespace {

using at::Tensor;

template <class Number>
void product_of(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, Tensor& out) {
  const Linear<Number> linear(weight, bias);
  const int64_t in = weight.size(1), width = weight.size(0), count = out.numel() / std::max<int64_t>(1, width);
  const Tensor wide = x.to(at::kFloat);
  std::vector<Input<Number>> arranged(count * arranged_width(in));
  arrange<Number>(wide.data_ptr<float>(), count, in, arranged.data());
  Number* const to = out.data_ptr<Number>();
  multiply(linear.weight, arranged.data(), count,
           [&](int64_t r, int64_t o, float value) { to[r * width + o] = Number(linear.biased(o, value)); });
}

// x [..., in] times weight [out, in] transposed, plus bias [out]; x and weight of one dtype.
Tensor product(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias) {
  TORCH_CHECK(weight.dim() == 2 && x.dim() >= 1 && x.size(-1) == weight.size(1), "product: [..., in] and [out, in], got ",
              x.sizes(), " and ", weight.sizes());
  TORCH_CHECK(x.scalar_type() == weight.scalar_type(), "product: ", x.scalar_type(), " with ", weight.scalar_type());
  TORCH_CHECK(!bias.has_value() || (bias->dim() == 1 && bias->size(0) == weight.size(0)), "product: bias must be [out]");
  const Tensor rows = x.contiguous(), matrix = weight.stride(1) == 1 || weight.size(1) == 1 ? weight : weight.contiguous();
  auto sizes = x.sizes().vec();
  sizes.back() = weight.size(0);
  Tensor out = at::empty(sizes, x.options());
  if (x.scalar_type() == at::kFloat)
    product_of<float>(rows, matrix, bias, out);
  else if (x.scalar_type() == at::kBFloat16)
    product_of<BFloat16>(rows, matrix, bias, out);
  else
    TORCH_CHECK(false, "product: float32 or bfloat16, got ", x.scalar_type());
  return out;
}

struct Runner {
  virtual ~Runner() = default;
  virtual Tensor run(const Tensor& hidden, int64_t begin, int64_t end, const Tensor& rows, const Tensor& cosines,
                     const Tensor& sines, at::TensorList keys, at::TensorList values) const = 0;
};

template <class Number>
struct RunnerOf : Runner {
  std::vector<Layer<Number>> layers;

  Tensor run(const Tensor& hidden, int64_t begin, int64_t end, const Tensor& rows, const Tensor& cosines,
             const Tensor& sines, at::TensorList keys, at::TensorList values) const override {
    Tensor out = hidden.clone(at::MemoryFormat::Contiguous);
    const int64_t count = out.size(0), *const table = rows.data_ptr<int64_t>();
    const Tensor cos = cosines.to(at::kFloat).contiguous(), sin = sines.to(at::kFloat).contiguous();
    const Rows<Number> where{count,     table,  table + count, table + 2 * count, cos.data_ptr<float>(), sin.data_ptr<float>(),
                             cos.size(-1)};
    const int64_t with_attention = end / 2 - begin / 2 + end % 2 - begin % 2;
    const int64_t caches = with_attention ? int64_t(keys.size()) / with_attention : 0;
    int64_t cache = 0;
    for (int64_t index = begin; index < end; index++) {
      const Layer<Number>& layer = layers.at(index / 2);
      if (index % 2) {
        layer.mlp(out.data_ptr<Number>(), count);
      } else {
        layer.attention(out.data_ptr<Number>(), where, {&keys[cache], &values[cache]});
        cache += caches;
      }
    }
    return out;
  }
};

// Decoder layers that are run a few rows at a time.
struct Decoder : torch::CustomClassHolder {
  std::unique_ptr<Runner> runner;

  // Each layer brings 8 weights (attention norm, qkv, output, MLP norm, gate and up, down, query norm, key norm; the
  // last two may be missing), 4 biases (qkv, output, gate and up, down; any may be missing), 3 norm epsilons
  // (attention, MLP, heads), 4 sizes (heads, key-value heads, head width, window or 0), 2 factors (of the scores, of
  // what is added), and whether it has rotary positions.
  Decoder(const std::vector<std::vector<std::optional<Tensor>>>& weights,
          const std::vector<std::vector<std::optional<Tensor>>>& biases, const std::vector<std::vector<double>>& epsilons,
          const std::vector<std::vector<int64_t>>& sizes, const std::vector<std::vector<double>>& factors,
          const std::vector<int64_t>& turns) {
    const auto dtype = weights.at(0).at(1)->scalar_type();
    TORCH_CHECK(dtype == at::kFloat || dtype == at::kBFloat16, "Decoder: float32 or bfloat16, got ", dtype);
    const auto make = [&](auto number) {
      using Number = decltype(number);
      auto made = std::make_unique<RunnerOf<Number>>();
      for (size_t i = 0; i < weights.size(); i++) {
        const auto& w = weights[i];
        const auto norm = [&](int at, int epsilon) { return RmsNorm{floats(*w.at(at)), float(epsilons[i].at(epsilon))}; };
        const auto head_norm = [&](int at) { return w.at(at).has_value() ? std::optional(norm(at, 2)) : std::nullopt; };
        made->layers.push_back(Layer<Number>{
            norm(0, 0), norm(3, 1), head_norm(6), head_norm(7),
            {*w.at(1), biases[i].at(0)}, {*w.at(2), biases[i].at(1)}, {*w.at(4), biases[i].at(2)}, {*w.at(5), biases[i].at(3)},
            sizes[i].at(0), sizes[i].at(1), sizes[i].at(2), sizes[i].at(3),
            float(factors[i].at(0)), float(factors[i].at(1)), turns[i] != 0});
      }
      runner = std::move(made);
    };
    if (dtype == at::kFloat)
      make(float());
    else
      make(BFloat16());
  }

  Tensor run(const Tensor& hidden, int64_t begin, int64_t end, const Tensor& rows, const Tensor& cosines,
             const Tensor& sines, const std::vector<Tensor>& keys, const std::vector<Tensor>& values) const {
    return runner->run(hidden, begin, end, rows, cosines, sines, keys, values);
  }
};

}  // namespace

TORCH_LIBRARY(lsbench, m) {
  m.def("product(Tensor x, Tensor weight, Tensor? bias) -> Tensor");
  m.class_<Decoder>("Decoder")
      .def(torch::init<const std::vector<std::vector<std::optional<Tensor>>>&,
                       const std::vector<std::vector<std::optional<Tensor>>>&, const std::vector<std::vector<double>>&,
                       const std::vector<std::vector<int64_t>>&, const std::vector<std::vector<double>>&,
                       const std::vector<int64_t>&>())
      .def("run", &Decoder::run);
}

TORCH_LIBRARY_IMPL(lsbench, CPU, m) { m.impl("product", &product); }

}  // namespace lsbench

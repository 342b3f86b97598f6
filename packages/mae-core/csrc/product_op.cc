// Operands of bfloat16 and their products as Paddle operators, on the CPU: `mae_round` and `mae_product`.
#include "paddle/extension.h"

#include "cpu_block.h"
#include "gemm.h"

namespace {

using paddle::DataType;
using paddle::Tensor;

#define MAE_REQUIRE(condition, message) \
  if (!(condition)) PD_THROW("mae_core: ", message)

std::vector<Tensor> Round(const Tensor& x) {
  MAE_REQUIRE(x.is_cpu() && x.dtype() == DataType::FLOAT32, "what is rounded is float32 on the CPU");
  Tensor out = paddle::empty(x.shape(), DataType::BFLOAT16, x.place());
  mae::cpu::round(x.numel(), x.data<float>(), static_cast<mae::Bfloat16*>(out.data()));
  return {out};
}

// a b in float32, each operand [rows, columns] or, where it is transposed, [columns, rows].
std::vector<Tensor> Product(const Tensor& a, const Tensor& b, bool transposes_a, bool transposes_b) {
  MAE_REQUIRE(mae::gemm_takes_bfloat16(), "there are no products of bfloat16 on this processor");
  for (const Tensor* t : {&a, &b}) {
    MAE_REQUIRE(t->is_cpu() && t->dtype() == DataType::BFLOAT16 && t->shape().size() == 2,
                "operands are bfloat16 matrices on the CPU");
  }
  const int64_t m = a.shape()[transposes_a], k = a.shape()[!transposes_a], n = b.shape()[!transposes_b];
  MAE_REQUIRE(b.shape()[transposes_b] == k, "the operands' inner sizes differ");
  Tensor out = paddle::empty({m, n}, DataType::FLOAT32, a.place());
  const auto side = [](bool is) { return is ? mae::Side::kTransposed : mae::Side::kPlain; };
  const auto data = [](const Tensor& t) { return static_cast<const mae::Bfloat16*>(t.data()); };
  if (m && n) {
    mae::gemm(side(transposes_a), side(transposes_b), m, n, k, data(a), a.shape()[1], data(b), b.shape()[1], 0.0f,
              out.data<float>(), n);
  }
  return {out};
}

}  // namespace

PD_BUILD_OP(mae_round).Inputs({"x"}).Outputs({"out"}).SetKernelFn(PD_KERNEL(Round));

PD_BUILD_OP(mae_product)
    .Inputs({"a", "b"})
    .Outputs({"out"})
    .Attrs({"transposes_a: bool", "transposes_b: bool"})
    .SetKernelFn(PD_KERNEL(Product));

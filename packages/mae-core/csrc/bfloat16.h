// The upper half of a float32, as operands of matrix products are stored.
#pragma once

#include <cstdint>

namespace mae {

struct Bfloat16 {
  uint16_t bits;
};

}  // namespace mae

// One set of kernels, for the instruction set of the file that includes this.
#include "lanes.h"

#include "attention.inl"
#include "rows.inl"

namespace mae {

const BlockKernels MAE_KERNELS = {layer_norm, normalize, layer_norm_backward, add_bias,
                                  gelu, gelu_backward, sum_rows,
                                  attention_scratch, attention, attention_backward};

}  // namespace mae

// One set of kernels, for the instruction set of the file that includes this.
#include "lanes.h"

#include "attention.inl"
#include "attention_pairs.inl"
#include "rows.inl"

namespace mae {

const BlockKernels MAE_KERNELS = {
    {layer_norm<float>, normalize<float>, gelu<float>, gelu_backward<float>},
    {layer_norm<Bfloat16>, normalize<Bfloat16>, gelu<Bfloat16>, gelu_backward<Bfloat16>},
    attention, attention_backward, attention_scratch,
    rounded_attention, rounded_attention_backward, rounded_attention_scratch,
    layer_norm_backward, add_bias, sum_rows};

}  // namespace mae

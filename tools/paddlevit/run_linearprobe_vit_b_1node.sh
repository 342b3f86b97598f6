#!/bin/sh
# PaddleViT's run_linearprobe_vit_b_1node.sh: the same command; further words are passed on, such as -output or KEY VALUE pairs.
exec python3 "$(dirname "$0")/main_multi_gpu_linearprobe.py" -cfg="vit_base_patch16_224_linearprobe_single_node" -dataset=imagenet2012 -batch_size=512 \
  -data_path="${DATA_PATH:-/dataset/imagenet}" -pretrained="${PRETRAINED:-./mae_pretrain_vit_base}" -amp "$@"

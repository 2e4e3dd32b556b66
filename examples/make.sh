#!/usr/bin/env bash
# Makes examples/results anew from real runs of the harness:
#
#     bash examples/make.sh MODELS BOOKS
#
# MODELS is a folder with books-llama-5m, books-swa64-5m and books-mamba2-1m (the last from examples/train_mamba.py),
# BOOKS a folder of .txt files. The runs are made from a folder of links, so that results name models and corpus as
# the commands below do; strip_results.py then drops what the harness says of the machine. About fifteen minutes on
# two cores.
set -euo pipefail
examples=$(cd "$(dirname "$0")" && pwd)
models=$(cd "$1" && pwd)
books=$(cd "$2" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
ln -s "$books" books
for model in books-llama-5m books-swa64-5m books-mamba2-1m; do ln -s "$models/$model" "$model"; done

for model in books-llama-5m books-swa64-5m books-mamba2-1m; do
  lm_eval run --model hf --model_args "pretrained=$model,dtype=float32" --device cpu --batch_size 4 \
    --tasks l2m_bipartite_text,l2m_position_nll_text \
    --metadata '{"corpus": "books/*.txt", "documents": 48, "blocks": 1, "fit": "auto"}' --output_path out --log_samples
done
# The check, on those curves: each model's own state, by its own law or by the one that books-llama-5m expresses.
lm_eval run --model hf --model_args pretrained=books-llama-5m,dtype=float32 --device cpu --tasks l2m_condition_text \
  --metadata '{"results": "out/books-llama-5m"}' --output_path out/check
for model in books-swa64-5m books-mamba2-1m; do
  lm_eval run --model hf --model_args "pretrained=$model,dtype=float32" --device cpu --tasks l2m_condition_text \
    --metadata "{\"results\": \"out/$model\", \"reference\": \"out/books-llama-5m\"}" --output_path out/check
done
# What smaller states keep.
for model in books-llama-5m books-swa64-5m; do
  lm_eval run --model hf --model_args "pretrained=$model,dtype=float32" --device cpu --batch_size 4 \
    --tasks l2m_state_text --metadata '{"corpus": "books/*.txt", "documents": 32, "lengths": [256, 1024, 2048]}' \
    --output_path out/state --log_samples
done
lm_eval run --model hf --model_args pretrained=books-llama-5m,dtype=float32 --device cpu --batch_size 4 \
  --tasks l2m_two_point_text --metadata '{"corpus": "books/*.txt"}' --output_path out
lm_eval run --model l2m-oracle --model_args process=santa_fe,beta=0.75,facts=4096,flip_rate=0.1 \
  --tasks l2m_bipartite_process,l2m_position_nll_process --metadata '{"documents": 64, "blocks": 1, "fit": "auto"}' --output_path out --log_samples
lm_eval run --model l2m-oracle --model_args process=santa_fe,beta=0.75,facts=4096,flip_rate=0.1 \
  --tasks l2m_two_point_process --metadata '{"documents": 1000}' --output_path out

rm -rf "$examples/results"
python "$examples/strip_results.py" out "$examples/results"

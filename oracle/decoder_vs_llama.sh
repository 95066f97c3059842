#!/usr/bin/env bash
# Times a decoder step against llama.cpp on the same weights, alternating three times; prints the medians.
#
#   decoder_vs_llama.sh COREML LLAMA_BENCH DIR      DIR has decoder_*.mlpackage, decode.npz, step.npz and the GGUF files
#
# One thread, 64 tokens of prefill and 64 single tokens on both sides. Needs jq.
set -euo pipefail
coreml=$1 llama=$2 dir=$3
median() { sort -n | awk '{v[NR]=$1} END {print v[int((NR+1)/2)]}'; }
declare -A ms
for round in 1 2 3; do
  for gguf in decoder-Q4_0 decoder-f16; do
    [ -f "$dir/$gguf.gguf" ] || continue
    ms[$gguf]+=$("$llama" -m "$dir/$gguf.gguf" -p 64 -n 64 -t 1 -r 3 -o json 2>/dev/null | jq '.[] | select(.n_gen == 64) | 1000 / .avg_ts')$'\n'
  done
  for form in int4 pal4 fp16; do
    ms[$form]+=$("$coreml" bench "$dir/decoder_$form.mlpackage" --inputs "$dir/decode.npz" --threads 1 --seconds 3 --json | jq .p50_ms)$'\n'
  done
  ms[int4_fixed_length]+=$("$coreml" bench "$dir/decoder_int4.mlpackage" --inputs "$dir/step.npz" --threads 1 --seconds 3 --json | jq .p50_ms)$'\n'
done
for k in "${!ms[@]}"; do
  printf '%-20s %8.3f ms a token\n' "$k" "$(printf '%s' "${ms[$k]}" | median)"
done | sort

#!/usr/bin/env bash
# tests/gpu/run.sh WHEELDIR [OUTDIR]: on a machine with an NVIDIA GPU, run the GPU tests and the benchmark `gpu` within
# 8 minutes and write OUTDIR/gpu-MODEL.json and .md (docs/measurements unless given). WHEELDIR is what tests/gpu/wheels.sh
# made for this machine's python3, which has numpy and llvmlite; no network and no compiler are needed. `-` as WHEELDIR:
# all packages are there. Exits 1 when a test fails or something could not be measured; the files are written anyway.
set -uo pipefail

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." && pwd)
wheels=${1:?WHEELDIR is missing}
out=${2:-$root/docs/measurements}
tests_s=${TESTS_S:-260}
bench_s=${BENCH_S:-190}
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ "$wheels" != - ]; then
  if ! "$python" -m pip install --quiet --no-index --no-deps --target "$work/site" "$wheels"/*.whl 2>"$work/pip"; then
    cat "$work/pip" >&2
    for wheel in "$wheels"/*.whl; do # a wheel is an archive; none of these needs more than unpacking
      "$python" -m zipfile -e "$wheel" "$work/site" || exit 1
    done
  fi
fi
export PYTHONPATH="$work/site:$root" PYTHONDONTWRITEBYTECODE=1 P2PCOMPUTE_REQUIRE_GPU=1
export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 # whatever plugins that machine has
mkdir -p "$out" && out=$(cd "$out" && pwd)
cd "$root" || exit 1

# A fake device shows that this works; its figures are none (tests/compute/test_gpu_suite.py).
fake=()
[ -z "${P2PCOMPUTE_FAKE_PYCUDA:-}" ] || fake=(--fake-pycuda "$P2PCOMPUTE_FAKE_PYCUDA")
select=()
[ -z "${P2PCOMPUTE_GPU_SELECT:-}" ] || select=(-k "$P2PCOMPUTE_GPU_SELECT")
small=()
[ ${#fake[@]} = 0 ] || small=(--small)

timeout -s INT -k 10 "$tests_s" "$python" -m pytest -q -c tests/gpu/pytest.ini --rootdir tests/gpu \
  --junitxml="$work/junit.xml" --notes="$work/notes.json" "${fake[@]}" "${select[@]}" tests/gpu
tested=$?
timeout -k 10 "$bench_s" "$python" -m tests.gpu.report "$out" --junit "$work/junit.xml" --notes "$work/notes.json" \
  "${fake[@]}" "${small[@]}"
reported=$?
[ $tested = 0 ] && [ $reported = 0 ]

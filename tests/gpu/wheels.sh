#!/usr/bin/env bash
# tests/gpu/wheels.sh OUTDIR [PYTHON]: all wheels that tests/gpu/run.sh needs on a machine with a GPU but no network, for
# that Python (default python3.12). PyCUDA comes as source only, so it is built here, in some minutes, against the CUDA
# headers of a wheel and a stub of libcuda that only satisfies the linker; on the other machine it finds the driver's.
# Needs gcc, g++, the headers of that Python, and a package index. numpy and llvmlite are expected there.
set -euo pipefail

here=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
root=$(cd "$here/../.." && pwd)
out=$(mkdir -p "$1" && cd "$1" && pwd)
base=${2:-python3.12}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

travels=(
  msgspec blake3 nvidia-cuda-nvrtc-cu12 nvidia-cuda-runtime-cu12 nvidia-ml-py
  pytest pluggy iniconfig packaging pygments
)
# What PyCUDA asks for beside numpy, pycuda.driver does not import.

for name in "${travels[@]}"; do
  rm -f "$out/${name//-/_}"-*.whl # another run's, perhaps of another version
done
"$base" -m venv "$work/venv"
python="$work/venv/bin/python"
"$python" -m pip install --quiet --disable-pip-version-check setuptools wheel numpy
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
  -c "$root/constraints.txt" -d "$out" "${travels[@]}"

tag=$("$python" -c 'import sys; print(f"cp{sys.version_info[0]}{sys.version_info[1]}")')
if ! ls "$out/pycuda-2026.1-$tag-"*.whl >/dev/null 2>&1; then
  "$python" -m zipfile -e "$out"/nvidia_cuda_runtime_cu12-*.whl "$work/headers"
  include="$work/headers/nvidia/cuda_runtime/include"
  cp "$here/stub/cudaProfiler.h" "$include"
  (cd "$root" && "$python" -m tests.gpu.stub "$work/stub" "$include" nothing >&2)
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary pycuda --no-build-isolation \
    -d "$work" pycuda==2026.1
  tar -xzf "$work"/pycuda-2026.1.tar.gz -C "$work"
  cd "$work/pycuda-2026.1"
  "$python" configure.py --cuda-root= --cuda-inc-dir="$include" --cudadrv-lib-dir="$work/stub" --no-cuda-enable-curand >&2
  CFLAGS="-O1" "$python" -m pip wheel --quiet --disable-pip-version-check --no-deps \
    --no-build-isolation -w "$out" . >&2
fi

du -cm "$out"/*.whl | tail -n 1 | awk '{ print $1 " MiB of wheels" }' >&2

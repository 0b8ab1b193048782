#include "kernels/dot_kernels.hpp"
#include "kernels/simd/vec_avx512_bf16.hpp"

namespace regard::kernels {

const DotKernels avx512_bf16_kernels = dot_kernels_of<Avx512F32, Avx512Bf16>;

}  // namespace regard::kernels

#include "kernels/kernels.hpp"
#include "kernels/simd/vec_avx512.hpp"

namespace regard::kernels {

const FloatKernels avx512_kernels = {kernels_of<Avx512F32>(), kernels_of<Avx512F64>()};

}  // namespace regard::kernels

#include "kernels/kernels.hpp"
#include "kernels/simd/vec_avx2.hpp"

namespace regard::kernels {

const FloatKernels avx2_kernels = {kernels_of<Avx2F32>(), kernels_of<Avx2F64>()};

}  // namespace regard::kernels

#include "kernels/kernels.hpp"
#include "kernels/simd/vec_neon.hpp"

namespace regard::kernels {

const FloatKernels neon_kernels = {kernels_of<NeonF32>(), kernels_of<NeonF64>()};

}  // namespace regard::kernels

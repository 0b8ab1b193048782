#include "kernels/kernels.hpp"
#include "kernels/simd/vec_generic.hpp"

namespace regard::kernels {

const FloatKernels generic_kernels = {kernels_of<Generic<float, 4>>(),
                                      kernels_of<Generic<double, 2>>()};

}  // namespace regard::kernels

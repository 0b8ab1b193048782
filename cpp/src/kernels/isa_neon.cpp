#include "forward.hpp"
#include "roofline.hpp"
#include "vec_neon.hpp"

namespace regard::kernels {

const KernelTable neon_kernels = {
    "neon",
    forward_kernel<NeonF32>(),
    forward_kernel<NeonF64>(),
    fma_loop<NeonF32>,
    fma_loop<NeonF64>,
};

}  // namespace regard::kernels

#include "forward.hpp"
#include "roofline.hpp"
#include "vec_avx2.hpp"

namespace regard::kernels {

const KernelTable avx2_kernels = {
    "avx2",
    forward_kernel<Avx2F32>(),
    forward_kernel<Avx2F64>(),
    fma_loop<Avx2F32>,
    fma_loop<Avx2F64>,
};

}  // namespace regard::kernels

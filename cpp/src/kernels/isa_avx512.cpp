#include "forward.hpp"
#include "roofline.hpp"
#include "vec_avx512.hpp"

namespace regard::kernels {

const KernelTable avx512_kernels = {
    "avx512",
    forward_kernel<Avx512F32>(),
    forward_kernel<Avx512F64>(),
    fma_loop<Avx512F32>,
    fma_loop<Avx512F64>,
};

}  // namespace regard::kernels
